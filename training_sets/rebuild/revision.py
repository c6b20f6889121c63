"""Revision: when each row of a recomputed day could be read, so that what was known stays known.

1. A row of history is readable AVAILABILITY_DELAY_NS after its time, one that was served late no earlier than it was.
2. Of a live day whose holes history has filled since, a row that says the same as before is readable
   since then. One that says something else, or that was not served while others around it were, is a revision:
   readable from now on. The earlier row stays, and reads as of an earlier time find it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, utc_date
from storage.features.group_rows import AskedRows, read_group
from storage.features.history_lags import AVAILABILITY_DELAY_NS
from storage.features.rebuilt_days import served_times
from storage.raw.manifest import RawPart
from training_sets.rebuild.due_days import Rebuild
from transforms.catalogue import set_horizon_ns
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

Int64s = npt.NDArray[np.int64]


class DayRevision:
    """Tells when rows of one UTC day are readable, and whether any of them says another thing than before."""

    def __init__(self, rebuild: Rebuild, chosen: FeatureSet, day_ns: int, written: frozenset[str]) -> None:
        """chosen: of the rows. written: the groups whose rows become part of the log."""
        self._served_ns, self._created_ns = served_times(
            rebuild.features, rebuild.feature_set.groups, rebuild.symbol, utc_date(day_ns)
        )
        self._now_ns = rebuild.clock.now_ns()
        self._groups = [group for group in chosen.groups if group.name in written]
        self._chosen = chosen
        is_repaired = _is_repaired(rebuild.raw.parts(rebuild.symbol), day_ns, set_horizon_ns(chosen))
        asked = AskedRows(from_ns=day_ns, to_ns=day_ns + DAY_NS)
        self._standing = [
            (group, read_group(rebuild.features.of_symbol(group, rebuild.symbol), group, rebuild.symbol, asked))
            for group in (self._groups if is_repaired else ())
        ]
        self._is_revising = False

    def is_revising(self) -> bool:
        """Whether a row that was asked about is a revision."""
        return self._is_revising

    def available_ns(self, rows: FeatureRows) -> Int64s:
        """When each of consecutive rows is readable, int64 (n,)."""
        available_ns: Int64s = rows.row_ns + AVAILABILITY_DELAY_NS
        _, at, of_served = np.intersect1d(rows.row_ns, self._served_ns, assume_unique=True, return_indices=True)
        available_ns[at] = np.maximum(available_ns[at], self._created_ns[of_served])
        if not self._standing:
            return available_ns
        is_known = np.zeros(len(rows), np.bool_)
        is_other = np.zeros(len(rows), np.bool_)
        known_ns = np.zeros(len(rows), np.int64)
        for group, standing in self._standing:
            _, at, of_standing = np.intersect1d(rows.row_ns, standing.row_ns, assume_unique=True, return_indices=True)
            is_known[at] = True
            known_ns[at] = np.maximum(known_ns[at], standing.created_ns[of_standing])
            is_other[at] |= self._differs(rows, group, at, standing.values[of_standing], standing.status[of_standing])
        available_ns[is_known] = known_ns[is_known]
        if len(self._served_ns):
            is_between = (rows.row_ns > self._served_ns[0]) & (rows.row_ns < self._served_ns[-1])
            is_other |= is_between & ~is_known
        available_ns[is_other] = np.maximum(available_ns[is_other], self._now_ns)
        self._is_revising |= bool(is_other.any())
        return available_ns

    def _differs(
        self,
        rows: FeatureRows,
        group: FeatureGroup,
        at: npt.NDArray[np.intp],
        values: npt.NDArray[np.float64],
        status: npt.NDArray[np.int8],
    ) -> npt.NDArray[np.bool_]:
        """Whether rows say another thing than the standing ones, by bits; bool (len(at),)."""
        now = np.ascontiguousarray(rows.values[np.ix_(at, np.array(group.indices, np.intp))]).view(np.int64)
        before = np.ascontiguousarray(values).view(np.int64)
        found: npt.NDArray[np.bool_] = (now != before).any(axis=1)
        found |= rows.status[at, self._chosen.groups.index(group)] != status
        return found


def _is_repaired(parts: list[RawPart], day_ns: int, horizon_ns: int) -> bool:
    """Whether a day was received live, and its rows now also see backfilled history."""
    of_day = [part for part in parts if part.files and part.first_ns < day_ns + DAY_NS]
    is_lived = any(part.backfill is None and part.last_ns >= day_ns for part in of_day)
    return is_lived and any(part.backfill is not None and part.last_ns >= day_ns - horizon_ns for part in of_day)
