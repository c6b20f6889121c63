"""Freshness as served: a check of the online store finds for each symbol and view whether it meets its objective.

1. A row older than its view's ``freshness_slo`` is not fresh, nor is one that cannot be read: no reader gets it.
2. A fresh row covers its view unless the view's source is missing or broken (GAP, STALE, NO_DATA).
3. A view that warms up is not judged: what it lacks is history, which no repair brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from feature_repo.freshness import slo_of, table_group
from market.clock import to_ns
from market.errors import StoreUnavailable
from storage.database.freshness import FreshnessStore, Looks
from storage.online.store import OnlineStore
from storage.online.table_row import TableRow
from storage.online.vector import OnlineVector
from transforms.status import OK, WARMUP
from upkeep.table_freshness import WatchedView, table_looks
from upkeep.tasks import Reach

FIRST_TIER = 1
OTHER_TIER = 2


@dataclass(frozen=True, slots=True)
class TablesWatched:
    """The views that stand on added tables. first_tier: the symbols of tier 1, None is that all are."""

    views: Sequence[WatchedView]
    first_tier: Sequence[str] | None


def look_at_freshness(
    online: OnlineStore,
    store: FreshnessStore,
    tiers: Mapping[str, int],
    *,
    now: datetime,
    reach: Reach,
    tables: TablesWatched | None = None,
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
    before = [view for view in store.served_views(now) if table_group(view) is None] if not served else []
    looks = looks_at(by_symbol, tiers, sorted(served) or before, now_ns=to_ns(now))
    if tables is not None:
        looks += looks_at_tables(tables, online, now_ns=to_ns(now))
    store.add(looks, now)
    return {"views": len({each.view for each in looks}), "symbols": len(tiers), "unread": unread}


def looks_at_tables(tables: TablesWatched, online: OnlineStore, *, now_ns: int) -> list[Looks]:
    """One look at each key of the views of tables; a store that does not answer has no row."""

    def read(view: str, keys: Sequence[str]) -> Sequence[TableRow | None]:
        try:
            return online_rows(online, view, keys)
        except StoreUnavailable:
            return [None] * len(keys)

    return table_looks(tables.views, read, partial(symbol_tiers, first=tables.first_tier), now_ns=now_ns)


def online_rows(online: OnlineStore, view: str, keys: Sequence[str]) -> list[TableRow | None]:
    """The rows of a view that stands on tables, None where there is none. Raises StoreUnavailable."""
    group = table_group(view)
    shared = {view} if group is not None and group.is_for_all else set()
    return [rows[view] for rows in online.table_rows(keys, {view: ()}, shared=shared)]


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
