"""Alerting: a violated rule becomes an alert, and every channel is notified once when it opens and once when it closes.

1. Every check is made; one that fails leaves its rules as they are, because what could not be checked is neither
   well nor broken.
2. What more than MOST_SUBJECTS subjects have in common is found once, of MANY: it has one cause.
3. The table takes what was found: it opens, keeps and closes.
4. Each channel is sent what it has not received yet. What it does not accept stays due; a process that dies between
   telling and marking lets it be told again, with the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from market.errors import FeatureServiceError, StoreUnavailable
from storage.database.alerts import AlertStore, Found
from upkeep.alert_rules import RULES, Finding
from upkeep.tasks import Reach

MOST_NOTICES: Final = 50
"""Told in one run to one channel; the rest in the next."""
MOST_SUBJECTS: Final = 20
"""Of one rule and severity, that are an alert each."""
MANY: Final = "many"
_NAMED: Final = 3


class Channel(Protocol):
    """Where alerts are sent."""

    def send(self, notice: Mapping[str, Any]) -> None:
        """Hand one over. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class AlertCheck:
    """A look at one thing. rules: those that it judges. away: the rule that it breaks when it does not answer."""

    rules: tuple[str, ...]
    look: Callable[[], Iterable[Finding]]
    away: str | None = None


def evaluate_alerts(
    checks: Sequence[AlertCheck],
    store: AlertStore,
    channels: Mapping[str, Channel],
    *,
    now: Callable[[], datetime],
    reach: Reach,
) -> Mapping[str, Any]:
    """Judge every rule and tell the channels, by name, what is new.

    Raises StoreUnavailable when the database does not answer; anything else that does not is part of what is found.
    """
    found: list[Finding] = []
    unknown: set[str] = set()
    problems: list[str] = []
    for at, check in enumerate(checks):
        reach(at / (len(checks) + 1))
        try:
            found += check.look()
        except FeatureServiceError as error:
            unknown |= set(check.rules)
            if check.away is None:
                problems.append(f"{', '.join(check.rules)}: could not be checked: {error}")
            else:
                found.append(Finding(check.away, check.away.removesuffix("_away"), str(error)))
    store.take([_stated(each) for each in joined(found)], unknown=unknown, now=now())
    told = {name: _tell(store, name, channel, now(), problems) for name, channel in channels.items()}
    return {"found": len(found), "told": told, "problems": problems}


def joined(found: Iterable[Finding]) -> list[Finding]:
    """The findings, those of one rule and severity as one where they are more than MOST_SUBJECTS."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for each in found:
        alike.setdefault((each.rule, each.severity or RULES[each.rule].severity), []).append(each)
    return [
        each
        for together in alike.values()
        for each in (together if len(together) <= MOST_SUBJECTS else [_many(together)])
    ]


def _many(together: Sequence[Finding]) -> Finding:
    first = together[0]
    others = ", ".join(each.subject for each in together[1:_NAMED])
    told = f"{first.summary}; the same of {others} and {len(together) - _NAMED} more"
    return Finding(first.rule, MANY, told, first.severity)


def _stated(finding: Finding) -> Found:
    rule = RULES[finding.rule]
    return Found(
        rule=finding.rule,
        subject=finding.subject,
        severity=finding.severity or rule.severity,
        summary=finding.summary,
        action=rule.action,
        after=rule.after,
    )


def _tell(store: AlertStore, name: str, channel: Channel, now: datetime, problems: list[str]) -> int:
    count = 0
    for alert in store.untold(name, now, limit=MOST_NOTICES):
        try:
            channel.send(alert.document())
        except StoreUnavailable as error:
            problems.append(f"alerts: could not be sent to {name}: {error}")
            break
        store.mark_told(alert, name)
        count += 1
    return count
