"""Freshness as the API and the command line tell of it: each view's objectives, and how well they were met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from feature_repo.freshness import slo_of
from market.clock import SECOND_NS

if TYPE_CHECKING:
    from storage.database.freshness import WindowLooks
    from storage.online.vector import OnlineVector

BUDGET: Final = "30d"
"""The window of the error budget."""


def freshness_document(
    looks: Sequence[WindowLooks], vectors: Sequence[OnlineVector], *, now_ns: int
) -> dict[str, dict[str, Any]]:
    """By view: its objectives, the age of each symbol's row, and the windows of each tier; None without checks."""
    served = {view for vector in vectors for view in vector.statuses}
    return {
        view: {
            "freshness_slo_seconds": slo_of(view).freshness.total_seconds(),
            "coverage_slo": slo_of(view).coverage,
            "age_seconds": {
                vector.symbol: vector.age_ns(now_ns) / SECOND_NS for vector in vectors if view in vector.statuses
            },
            "tiers": _tiers([each for each in looks if each.view == view]),
        }
        for view in sorted(served | {each.view for each in looks})
    }


def _tiers(looks: Sequence[WindowLooks]) -> dict[str, dict[str, Any]]:
    tiers: dict[str, dict[str, Any]] = {}
    for each in looks:
        burn_rate = each.burn_rate(slo_of(each.view).coverage)
        tier = tiers.setdefault(str(each.tier), {})
        tier[each.window] = {
            "looks": each.looks,
            "fresh": each.fresh_share,
            "coverage": each.coverage,
            "burn_rate": burn_rate,
        }
        if each.window == BUDGET:
            tier["budget_left"] = 1.0 - burn_rate
    return tiers
