"""Freshness of views that stand on tables, as served: a look says of each key whether what could be known is online.

1. A key's row is fresh while nothing newer could be known for longer than ``freshness_slo``: a row of the log that is
   not online, or a file of the table that was not computed.
2. A fresh row covers its view while it answers, within the view's time to live: a table that stopped growing covers
   less and less.
3. A key whose rows ended a time to live before those of others, as of a share that was delisted, is not judged; nor is
   one whose first row waits no longer than promised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from feature_repo.freshness import slo_of, time_to_live
from market.clock import MICROSECOND_NS
from storage.database.freshness import Looks
from storage.online.table_row import TableRow
from storage.tables.newest_rows import NewestRow

ReadRows = Callable[[str, Sequence[str]], Sequence[TableRow | None]]
"""The online rows of a view, by its name, for some keys; None where there is none."""


@dataclass(frozen=True, slots=True)
class WatchedView:
    """A view that stands on tables.

    newest: what its log has, by key. waits_since_ns: since when a file of its tables was not computed, None for none.
    """

    name: str
    newest: Mapping[str, NewestRow]
    waits_since_ns: int | None = None


def table_looks(
    views: Sequence[WatchedView], read: ReadRows, tiers: Callable[[Sequence[str]], Mapping[str, int]], *, now_ns: int
) -> list[Looks]:
    """One look at each key of each view, added up by tier. Raises what ``read`` raises."""
    found = []
    for view in views:
        keys = _judged_keys(view)
        rows = dict(zip(keys, read(view.name, keys), strict=True))
        of_tier = tiers(keys)
        for tier in sorted(set(of_tier.values())):
            judged = [
                verdict
                for key in keys
                if of_tier[key] == tier and (verdict := _verdict(view, key, rows[key], now_ns)) is not None
            ]
            if judged:
                fresh, covered = (sum(each) for each in zip(*judged, strict=True))
                found.append(Looks(view=view.name, tier=tier, looks=len(judged), fresh=fresh, covered=covered))
    return found


def lost_views(views: Sequence[WatchedView], read: ReadRows, until_ns: Mapping[str, int], *, now_ns: int) -> list[str]:
    """Views of which a row that still answers was materialized and is not online, as of a server that lost its rows.

    until_ns: by view until when it was materialized. Raises what ``read`` raises.
    """
    lost = []
    for view in views:
        first_ns, done_ns = now_ns - _answers_ns(view.name), until_ns.get(view.name, -1)
        keys = [key for key, row in view.newest.items() if row.event_ns > first_ns and row.created_ns <= done_ns]
        rows = zip(keys, read(view.name, keys) if keys else (), strict=True)
        if any(row is None or row.known_ns + MICROSECOND_NS <= view.newest[key].created_ns for key, row in rows):
            lost.append(view.name)
    return lost


def _judged_keys(view: WatchedView) -> list[str]:
    if not view.newest:
        return []
    last_ns = max(row.event_ns for row in view.newest.values())
    return [key for key, row in view.newest.items() if row.event_ns >= last_ns - _answers_ns(view.name)]


def _verdict(view: WatchedView, key: str, row: TableRow | None, now_ns: int) -> tuple[bool, bool] | None:
    """Whether it is fresh, and covered; None when that is not judged."""
    promised_ns, newest = slo_of(view.name).freshness_ns, view.newest[key]
    if view.waits_since_ns is not None and now_ns - view.waits_since_ns > promised_ns:
        return False, False
    is_within = now_ns - newest.created_ns <= promised_ns
    if row is None:
        return None if is_within else (False, False)
    # Online it is told in microseconds, rounded up.
    is_fresh = is_within or row.known_ns + MICROSECOND_NS > newest.created_ns
    return is_fresh, is_fresh and now_ns - row.event_ns <= _answers_ns(view.name)


def _answers_ns(view: str) -> int:
    return time_to_live(view) // timedelta(microseconds=1) * MICROSECOND_NS
