"""What a reader is given who asks at a time: the newest tick whose row could be read then, computed from raw data.

1. Where rows were served live, and a minute around, the record of the served ticks says which there were and from when
   each could be read.
2. Elsewhere, in history that was replayed or backfilled, it is the ticks that a worker which keeps up would have given,
   each readable a declared delay after its time.
3. A row older than the time to live of the views is not returned.

Samples at times and Feast's historical retrieval both ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.features.history_lags import AVAILABILITY_DELAY_NS
from storage.features.log import FeatureLog
from storage.features.served_ticks import read_served_ticks
from storage.raw.raw_data import RawData
from training_sets.rebuild.ticks import TickRows, newest_given
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.known import NO_ROW, Known
from transforms.kernel import Kernel

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """The tick that answers at each of some times, (n,).

    row_ns: its time, NO_ROW where none does. available_ns: from when it could be read. is_measured: whether the record
    of what was served says so.
    """

    row_ns: Int64s
    available_ns: Int64s
    is_measured: Bools


class SymbolTicks:
    """The ticks of one symbol that answer at some times.

    raw: with all that the answers look back at. grid_ns: the row grid of history that was not served live.
    first_ns: of the first tick that the raw data can give.

    Raises NotFound when the symbol has no raw data.
    """

    def __init__(self, kernel: Kernel, symbol: str, log: FeatureLog, raw: RawData, *, grid_ns: int, to_ns: int) -> None:
        """to_ns: no later time will be asked."""
        self._symbol = symbol
        self._log = log
        self._raw = raw
        self._grid_ns = grid_ns
        self._rows = TickRows(raw, symbol, kernel, to_ns=to_ns)

    @property
    def first_ns(self) -> int:
        return self._rows.first_ns

    def may_answer(self, times_ns: Int64s) -> Bools:
        """Whether the raw data can give a row before each time."""
        is_after: Bools = times_ns >= self._rows.first_ns
        return is_after

    def answers(self, times_ns: Int64s) -> Answers:
        """Of ascending times, one at least."""
        served_ns, available_ns, _ = read_served_ticks(
            self._log,
            self._symbol,
            from_ns=int(times_ns[0]) - LONGEST_LAG_NS,
            to_ns=int(times_ns[-1]) + LONGEST_LAG_NS + 1,
        )
        is_measured, row_ns, readable_ns = newest_readable(served_ns, available_ns, times_ns)
        given = np.flatnonzero(~is_measured)
        row_ns[given] = newest_given(
            self._raw, self._symbol, times_ns[given] - AVAILABILITY_DELAY_NS, grid_ns=self._grid_ns
        )
        readable_ns[given] = row_ns[given] + AVAILABILITY_DELAY_NS
        rows = self._rows
        # Rows of the silence after the last message are known to have been given where they are on record alone.
        is_known = (row_ns >= rows.first_ns) & (is_measured | (row_ns <= rows.last_ns))
        is_young = is_known & (row_ns >= times_ns - LONGEST_LAG_NS)
        return Answers(np.where(is_young, row_ns, NO_ROW), readable_ns, is_measured & is_young)

    def values(self, row_ns: Int64s) -> Float64s:
        """float64 (n, columns), the rows of answers, NaN where there is none; none before one asked for earlier."""
        found = np.flatnonzero(row_ns >= 0)
        if len(found) == 0:
            return np.full((len(row_ns), len(self._rows.columns)), np.nan)
        ticks, of = np.unique(row_ns[found], return_inverse=True)
        values = np.full((len(row_ns), len(self._rows.columns)), np.nan)
        values[found] = self._rows.at(ticks).values[of]
        return values


class TicksAtTimes:
    """The ticks that answer at some times, of each symbol.

    raw: by symbol in their order, each with all that its samples look back at. grid_ns: the row grid of history that
    was not served live. measured: how many answers were found by the record of what was served, of all that were found.

    Raises NotFound when a symbol has no raw data.
    """

    def __init__(
        self, kernel: Kernel, log: FeatureLog, raw: Mapping[str, RawData], *, grid_ns: int, to_ns: int
    ) -> None:
        self.measured = self.found = 0
        self._ticks = [
            SymbolTicks(kernel, symbol, log, of_symbol, grid_ns=grid_ns, to_ns=to_ns)
            for symbol, of_symbol in raw.items()
        ]
        self._columns = len(kernel.feature_set.columns)

    def known(self, times_ns: Int64s) -> Known:
        """Of ascending times, one at least, none before one of the call before."""
        count = len(self._ticks)
        features = np.empty((len(times_ns), count, self._columns))
        row_ns = np.empty((len(times_ns), count), np.int64)
        for at, ticks in enumerate(self._ticks):
            answers = ticks.answers(times_ns)
            row_ns[:, at] = answers.row_ns
            features[:, at] = ticks.values(answers.row_ns)
            self.measured += int(np.count_nonzero(answers.is_measured))
            self.found += int(np.count_nonzero(answers.row_ns >= 0))
        return Known(features.reshape(-1, self._columns), row_ns.reshape(-1), np.repeat(times_ns, count))


def newest_readable(row_ns: Int64s, available_ns: Int64s, times_ns: Int64s) -> tuple[Bools, Int64s, Int64s]:
    """Whether any row is on record within LONGEST_LAG_NS of each time, the newest that could be read then, since when.

    row_ns, available_ns: int64 (n,), of what was served, in any order. times_ns: int64 (m,), ascending. The row is
    NO_ROW where none on record could be read.
    """
    nothing = np.full(len(times_ns), NO_ROW)
    if len(row_ns) == 0:
        return np.zeros(len(times_ns), np.bool_), nothing, nothing.copy()
    ordered_ns = np.sort(row_ns)
    since = np.searchsorted(ordered_ns, times_ns - LONGEST_LAG_NS)
    is_recorded = np.searchsorted(ordered_ns, times_ns + LONGEST_LAG_NS, side="right") > since
    by_arrival = np.argsort(available_ns, kind="stable")
    arriving_ns, readable_ns = row_ns[by_arrival], available_ns[by_arrival]
    newest_ns = np.maximum.accumulate(arriving_ns)
    is_newer = np.diff(newest_ns, prepend=newest_ns[0] - 1) > 0
    came_at = np.maximum.accumulate(np.where(is_newer, np.arange(len(newest_ns)), 0))
    arrived = np.searchsorted(readable_ns, times_ns, side="right")
    last = np.maximum(arrived - 1, 0)
    has_arrived = arrived > 0
    found_ns = np.where(has_arrived, newest_ns[last], nothing)
    return is_recorded, found_ns, np.where(has_arrived, readable_ns[came_at[last]], nothing)
