"""Freshness as served: a look at the online store says of each symbol and view whether it is as fresh as promised.

1. A row older than its view's ``freshness_slo`` is not fresh, nor is one that cannot be read: no reader gets it.
2. A fresh row covers its view unless the view's source is missing or broken (GAP, STALE, NO_DATA).
3. A view that warms up is not judged: what it lacks is history, which no repair brings.
4. A view of tables is fresh while the online row of a key is as new as the newest of its log that has been known for
   ``freshness_slo``: its age says nothing, since a day's bar is the newest for a day.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from feature_repo.freshness import slo_of, table_group
from market.clock import to_ns
from market.errors import StoreUnavailable
from storage.database.freshness import FreshnessStore, Looks
from storage.online.store import OnlineStore
from storage.online.vector import OnlineVector
from transforms.status import OK, WARMUP
from upkeep.tasks import Reach

FIRST_TIER = 1
OTHER_TIER = 2


@dataclass(frozen=True, slots=True)
class DueRows:
    """What the views of tables must serve by now.

    known_ns: by view and key, when the row was known that must be served, or a newer one. shared: views whose rows are
    the same for every key. tiers: by key.
    """

    known_ns: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    shared: Collection[str] = ()
    tiers: Mapping[str, int] = field(default_factory=dict)


NOTHING_DUE: Final = DueRows()


def look_at_freshness(  # what is read, and what it must be
    online: OnlineStore,
    store: FreshnessStore,
    tiers: Mapping[str, int],
    *,
    now: datetime,
    reach: Reach,
    due: DueRows = NOTHING_DUE,
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
    streamed = sorted(served) or [view for view in store.served_views(now) if table_group(view) is None]
    looks = looks_at(by_symbol, tiers, streamed, now_ns=to_ns(now))
    try:
        looks += looks_at_tables(online if unread is None else None, due)
    except StoreUnavailable as error:
        looks += looks_at_tables(None, due)
        unread = str(error)
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


def looks_at_tables(online: OnlineStore | None, due: DueRows) -> list[Looks]:
    """One look at each key of each view of tables, added up by tier. online: None where it does not answer.

    Raises StoreUnavailable.
    """
    found = []
    for view, known_ns in due.known_ns.items():
        rows = [] if online is None else online.table_rows(list(known_ns), {view: ()}, shared=due.shared)
        served = {key: row[view] for key, row in zip(known_ns, rows, strict=False)}
        for tier in sorted({due.tiers[key] for key in known_ns}):
            of_tier = [key for key in known_ns if due.tiers[key] == tier]
            fresh = sum((row := served.get(key)) is not None and row.known_ns >= known_ns[key] for key in of_tier)
            found.append(Looks(view=view, tier=tier, looks=len(of_tier), fresh=fresh, covered=fresh))
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
