"""Freshness in PostgreSQL: how often each view was found as fresh as promised, by the minute and the symbols' tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import case, func, select
from sqlalchemy.dialects.postgresql import insert

from storage.database.connections import open_engine, transaction
from storage.database.schema import FRESHNESS_MINUTES

WINDOWS: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "30d": timedelta(days=30),
}
"""What is looked back at; the last one is the period of the error budget."""
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Looks at a view of the symbols of one tier: how many, how many found it fresh, and its source there as well."""

    view: str
    tier: int
    looks: int
    fresh: int
    covered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLooks(Looks):
    """The looks of one window. lost_minutes: the sum of the share of each minute's looks that were not covered."""

    window: str
    lost_minutes: float

    @property
    def fresh_share(self) -> float | None:
        """None without checks."""
        return self.fresh / self.looks if self.looks else None

    @property
    def coverage(self) -> float | None:
        """None without checks."""
        return self.covered / self.looks if self.looks else None

    def burn_rate(self, coverage_slo: float) -> float:
        """How fast the error budget goes: 1 spends it exactly in its period.

        A minute without checks spends nothing, so that an hour's rate is an hour's, also after ten minutes.
        """
        return self.lost_minutes / (WINDOWS[self.window] / _MINUTE) / (1.0 - coverage_slo)


class FreshnessStore:
    """The table behind one SQLAlchemy URL; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def add(self, looks: Sequence[Looks], now: datetime) -> None:
        """Add looks to the minute of ``now``; one a view and tier."""
        if not looks:
            return
        minute = now.replace(second=0, microsecond=0)
        new = insert(FRESHNESS_MINUTES).values(
            [
                {
                    "view": each.view,
                    "tier": each.tier,
                    "minute": minute,
                    "looks": each.looks,
                    "fresh": each.fresh,
                    "covered": each.covered,
                }
                for each in looks
            ]
        )
        table, added = FRESHNESS_MINUTES.c, new.excluded
        counts: dict[str, Any] = {name: table[name] + added[name] for name in ("looks", "fresh", "covered")}
        statement = new.on_conflict_do_update(index_elements=[table.view, table.tier, table.minute], set_=counts)
        with transaction(self._engine) as connection:
            connection.execute(statement)

    def windows(self, now: datetime) -> list[WindowLooks]:
        """Each checked view and tier, in each window, by name."""
        table = FRESHNESS_MINUTES.c
        lost = case((table.looks > 0, 1.0 - table.covered * 1.0 / func.nullif(table.looks, 0)), else_=0.0)
        found = []
        with transaction(self._engine) as connection:
            for window, span in WINDOWS.items():
                query = (
                    select(
                        table.view,
                        table.tier,
                        func.sum(table.looks).label("looks"),
                        func.sum(table.fresh).label("fresh"),
                        func.sum(table.covered).label("covered"),
                        func.sum(lost).label("lost_minutes"),
                    )
                    .where(table.minute > now - span, table.minute <= now)
                    .group_by(table.view, table.tier)
                    .order_by(table.view, table.tier)
                )
                found += [
                    WindowLooks(
                        view=row.view,
                        tier=row.tier,
                        looks=int(row.looks),
                        fresh=int(row.fresh),
                        covered=int(row.covered),
                        window=window,
                        lost_minutes=float(row.lost_minutes),
                    )
                    for row in connection.execute(query)
                ]
        return found

    def served_views(self, now: datetime) -> list[str]:
        """The views that were found fresh within the last six hours."""
        table = FRESHNESS_MINUTES.c
        query = (
            select(table.view)
            .where(table.minute > now - WINDOWS["6h"], table.fresh > 0)
            .distinct()
            .order_by(table.view)
        )
        with transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())
