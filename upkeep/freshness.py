"""Freshness as served: a look at the online store says of each symbol and view whether it is as fresh as promised.

1. A row older than its view's ``freshness_slo`` is not fresh, nor is one that cannot be read: no reader gets it.
2. A fresh row covers its view unless the view's source is missing or broken (GAP, STALE, NO_DATA).
3. A view that warms up is not judged: what it lacks is history, which no repair brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from feature_repo.freshness import slo_of
from market.clock import to_ns
from market.errors import StoreUnavailable
from storage.database.freshness import FreshnessStore, Looks
from storage.online.store import OnlineStore
from storage.online.vector import OnlineVector
from transforms.status import OK, WARMUP
from upkeep.tasks import Reach

FIRST_TIER = 1
OTHER_TIER = 2


def look_at_freshness(
    online: OnlineStore, store: FreshnessStore, tiers: Mapping[str, int], *, now: datetime, reach: Reach
) -> Mapping[str, Any]:
    """Look once at every symbol and add what was found to the minute. tiers: by followed symbol.

    Raises StoreUnavailable when the database does not answer; an online store that does not is part of what is found.
    """
    reach(0.0)
    unread = None
    vectors: Sequence[OnlineVector | None]
    try:
        vectors = online.read(list(tiers))
    except StoreUnavailable as error:
        vectors, unread = [None] * len(tiers), str(error)
    by_symbol = dict(zip(tiers, vectors, strict=True))
    served = {view for vector in vectors if vector is not None for view in vector.statuses}
    looks = looks_at(by_symbol, tiers, sorted(served) or store.served_views(now), now_ns=to_ns(now))
    store.add(looks, now)
    return {"views": len({each.view for each in looks}), "symbols": len(tiers), "unread": unread}


def looks_at(
    vectors: Mapping[str, OnlineVector | None], tiers: Mapping[str, int], views: Sequence[str], *, now_ns: int
) -> list[Looks]:
    """One look at each view of each symbol, added up by tier; views that all warm up are left out."""
    found = []
    for view in views:
        for tier in sorted(set(tiers.values())):
            judged = [
                verdict
                for symbol, vector in vectors.items()
                if tiers[symbol] == tier and (verdict := _verdict(vector, view, now_ns)) is not None
            ]
            if judged:
                found.append(
                    Looks(
                        view=view,
                        tier=tier,
                        looks=len(judged),
                        fresh=sum(is_fresh for is_fresh, _ in judged),
                        covered=sum(is_covered for _, is_covered in judged),
                    )
                )
    return found


def _verdict(vector: OnlineVector | None, view: str, now_ns: int) -> tuple[bool, bool] | None:
    """Whether it is fresh, and covered; None when that is not judged."""
    if vector is None or view not in vector.statuses or vector.age_ns(now_ns) > slo_of(view).freshness_ns:
        return False, False
    status = vector.statuses[view]
    return None if status == WARMUP else (True, status == OK)


def symbol_tiers(symbols: Sequence[str], first: Sequence[str] | None) -> dict[str, int]:
    """The tier of each symbol: 1 for those of ``first``, 2 for the others; None makes all of them first."""
    return {symbol: FIRST_TIER if first is None or symbol in first else OTHER_TIER for symbol in symbols}
