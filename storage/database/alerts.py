"""Alerts in PostgreSQL: each from its first finding to its end, whom it was told to, and what is silenced.

1. An alert is a rule and a subject; while it lasts, it is one row.
2. It opens once it was found for as long as its rule waits, and closes when it was not found for CLOSE_AFTER.
3. What could not be checked neither opens nor closes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from sqlalchemy import Connection, RowMapping, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from market.clock import format_iso, to_ns
from storage.database.connections import open_engine, transaction
from storage.database.schema import ALERT_SILENCES, ALERTS

CLOSE_AFTER: Final = timedelta(seconds=60)
"""One that comes and goes stays one."""
ANY: Final = "*"
OPEN: Final = "open"
CLOSED: Final = "closed"
State = Literal["open", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What breaks a rule now. after: how long it must last before the alert opens."""

    rule: str
    subject: str
    severity: str
    summary: str
    action: str
    after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. silenced_until: None where it is not silenced."""

    alert_id: int
    rule: str
    subject: str
    severity: str
    summary: str
    action: str
    opened_at: datetime
    seen_at: datetime
    closed_at: datetime | None
    silenced_until: datetime | None

    @property
    def state(self) -> State:
        return OPEN if self.closed_at is None else CLOSED

    def document(self) -> dict[str, Any]:
        """As a JSON object, which is also what is sent."""
        return {
            "id": self.alert_id,
            "state": self.state,
            "rule": self.rule,
            "subject": self.subject,
            "severity": self.severity,
            "summary": self.summary,
            "action": self.action,
            "opened_at": _iso(self.opened_at),
            "closed_at": _iso(self.closed_at),
            "silenced_until": _iso(self.silenced_until),
        }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else format_iso(to_ns(at))


class AlertStore:
    """The tables behind one SQLAlchemy URL; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def take(self, found: Sequence[Found], *, unknown: Collection[str], now: datetime) -> None:
        """Open, keep and close alerts by what was found. unknown: rules that could not be checked."""
        by_key = {(each.rule, each.subject): each for each in found}
        with transaction(self._engine) as connection:
            lasting = select(ALERTS).where(ALERTS.c.closed_at.is_(None)).with_for_update()
            for row in connection.execute(lasting).mappings().all():
                each = by_key.pop((row["rule"], row["subject"]), None)
                if each is not None:
                    _keep(connection, row, each, now)
                elif row["rule"] not in unknown:
                    _let_go(connection, row, now)
            for each in by_key.values():
                connection.execute(
                    insert(ALERTS).values(
                        rule=each.rule,
                        subject=each.subject,
                        severity=each.severity,
                        summary=each.summary,
                        action=each.action,
                        found_at=now,
                        seen_at=now,
                        opened_at=None if each.after else now,
                        told={},
                    )
                )

    def open_alerts(self, now: datetime) -> list[Alert]:
        """Those that are open, the oldest first."""
        return self._alerts(ALERTS.c.closed_at.is_(None), now)

    def since(self, begin: datetime, now: datetime) -> list[Alert]:
        """Those that are open or were closed since ``begin``, the oldest first."""
        return self._alerts(or_(ALERTS.c.closed_at.is_(None), ALERTS.c.closed_at >= begin), now)

    def untold(self, channel: str, now: datetime, *, limit: int) -> list[Alert]:
        """Those whose state a channel is to be told, the oldest first.

        Not what is silenced, and no end of what it was never told to have begun.
        """
        told = ALERTS.c.told[channel].astext
        due = or_(
            and_(ALERTS.c.closed_at.is_(None), told.is_(None)), and_(ALERTS.c.closed_at.is_not(None), told == OPEN)
        )
        waiting = self._alerts(due, now)
        return [each for each in waiting if each.state == CLOSED or each.silenced_until is None][:limit]

    def mark_told(self, alert: Alert, channel: str) -> None:
        """That a channel knows the alert's state."""
        told = ALERTS.c.told.op("||")(func.jsonb_build_object(channel, alert.state))
        with transaction(self._engine) as connection:
            connection.execute(update(ALERTS).where(ALERTS.c.id == alert.alert_id).values(told=told))

    def silence(self, *, rule: str, subject: str, until: datetime, reason: str) -> None:
        """Mute alerts of a rule, ANY for all, whose subject matches a pattern, until then.

        Silenced again, the new end and reason hold.
        """
        new = upsert(ALERT_SILENCES).values(rule=rule, subject=subject, until=until, reason=reason)
        new = new.on_conflict_do_update(
            index_elements=[ALERT_SILENCES.c.rule, ALERT_SILENCES.c.subject],
            set_={name: new.excluded[name] for name in ("until", "reason")},
        )
        with transaction(self._engine) as connection:
            connection.execute(new)

    def _alerts(self, which: Any, now: datetime) -> list[Alert]:  # noqa: ANN401  # a condition of SQLAlchemy
        query = select(ALERTS).where(which, ALERTS.c.opened_at.is_not(None)).order_by(ALERTS.c.opened_at, ALERTS.c.id)
        with transaction(self._engine) as connection:
            silences = connection.execute(select(ALERT_SILENCES).where(ALERT_SILENCES.c.until > now)).mappings().all()
            return [_alert(row, silences) for row in connection.execute(query).mappings()]


def _keep(connection: Connection, row: RowMapping, each: Found, now: datetime) -> None:
    opened_at = row["opened_at"]
    if opened_at is None and now - row["found_at"] >= each.after:
        opened_at = now
    connection.execute(
        update(ALERTS)
        .where(ALERTS.c.id == row["id"])
        .values(seen_at=now, opened_at=opened_at, severity=each.severity, summary=each.summary, action=each.action)
    )


def _let_go(connection: Connection, row: RowMapping, now: datetime) -> None:
    """What never opened is forgotten at once."""
    if row["opened_at"] is None:
        connection.execute(delete(ALERTS).where(ALERTS.c.id == row["id"]))
    elif now - row["seen_at"] >= CLOSE_AFTER:
        connection.execute(update(ALERTS).where(ALERTS.c.id == row["id"]).values(closed_at=now))


def _alert(row: RowMapping, silences: Sequence[RowMapping]) -> Alert:
    return Alert(
        alert_id=row["id"],
        rule=row["rule"],
        subject=row["subject"],
        severity=row["severity"],
        summary=row["summary"],
        action=row["action"],
        opened_at=row["opened_at"],
        seen_at=row["seen_at"],
        closed_at=row["closed_at"],
        silenced_until=max(
            (
                each["until"]
                for each in silences
                if each["rule"] in {ANY, row["rule"]} and fnmatchcase(row["subject"], each["subject"])
            ),
            default=None,
        ),
    )
