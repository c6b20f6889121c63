"""How fresh a view is: how long its rows answer, and what is promised of them.

Time to live is for Feast, for the client and for what a dataset reads: an older row is no answer. The objectives are
what an operator is alerted to: a row may be served and still be late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from market.clock import SECOND_NS

if TYPE_CHECKING:
    from transforms.table_group import TableGroup

TIME_TO_LIVE: Final = timedelta(minutes=1)
"""A row comes each second, so an older one means that the symbol stopped."""


@dataclass(frozen=True, slots=True)
class FreshnessSlo:
    """At least the share ``coverage`` of all checks of a view must find a row of at most this age with its source."""

    freshness: timedelta
    coverage: float

    @property
    def freshness_ns(self) -> int:
        return int(self.freshness.total_seconds()) * SECOND_NS

    def tags(self) -> dict[str, str]:
        """As a Feast view declares it."""
        return {"freshness_slo_s": f"{self.freshness.total_seconds():g}", "coverage_slo": f"{self.coverage:g}"}


STREAMED: Final = FreshnessSlo(timedelta(seconds=2), 0.99)
"""Of a view whose rows are pushed as they close: a row a second, closed in less than one."""
_OWN: Final[Mapping[str, FreshnessSlo]] = {
    # Most symbols have no open position, and then nothing is missing.
    "position": FreshnessSlo(timedelta(seconds=2), 0.0),
}


STREAMED_VIEWS: Final = frozenset(
    (
        *("price", "orderbook", "orderflow", "perpetual", "temporal", "technical", "candles", "position"),
        *("bars_5m", "bars_15m", "bars_1h"),
    )
)
"""Our groups of the vector, told from those of tables without the catalogue, whose compiler takes seconds to import."""


def table_group(view: str) -> TableGroup | None:
    """The group of a view on tables; None for any other."""
    if view in STREAMED_VIEWS:
        return None
    try:
        from transforms.equities.catalogue import TABLE_GROUPS
    except ModuleNotFoundError:  # the client alone, which has no compiler: the vector is all that it reads
        return None
    return TABLE_GROUPS.get(view)


def time_to_live(view: str) -> timedelta:
    """How long a row of the view answers."""
    group = table_group(view)
    return TIME_TO_LIVE if group is None else timedelta(microseconds=group.time_to_live_ns // 1000)


def slo_of(view: str) -> FreshnessSlo:
    """The objective of a view: its group's, if that is on tables."""
    if (group := table_group(view)) is not None:
        return FreshnessSlo(timedelta(microseconds=group.freshness_ns // 1000), 0.99)
    return _OWN.get(view, STREAMED)
