"""What a model gets that asks at a time: the newest tick whose row could be read then, computed again from raw data.

1. Where rows were served live, and a minute around, the record of the served ticks says which there were and when each
   could be read.
2. Elsewhere, in history that was replayed or backfilled, it is the ticks that a worker which keeps up would have given,
   each readable a declared delay after its time.
3. A row older than the time to live of the views is given to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.features.served_ticks import read_served_ticks
from training_sets.rebuild.rebuild import AVAILABILITY_DELAY_NS
from training_sets.rebuild.ticks import TickRows, newest_given
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.known import NO_ROW, Known
from transforms.kernel import Kernel

Int64s = npt.NDArray[np.int64]


class TicksAtTimes:
    """The ticks that answer at some times, of each symbol.

    raw_folders: by symbol, each with all that its samples look back at. grid_ns: the row grid of history that was not
    served live. measured: how many answers were found by the record of what was served, of all that were found.

    Raises NotFound when a symbol has no raw data.
    """

    def __init__(
        self,
        kernel: Kernel,
        symbols: Sequence[str],
        *,
        features_folder: Path,
        raw_folders: Mapping[str, Path],
        grid_ns: int,
        from_ns: int,
        to_ns: int,
    ) -> None:
        self.measured = self.found = 0
        self._kernel = kernel
        self._symbols = symbols
        self._features_folder = features_folder
        self._raw_folders = raw_folders
        self._grid_ns = grid_ns
        self._rows = {
            symbol: TickRows(raw_folders[symbol], symbol, kernel, from_ns=from_ns - LONGEST_LAG_NS, to_ns=to_ns)
            for symbol in symbols
        }

    def known(self, times_ns: Int64s) -> Known:
        """Of ascending times, one at least, none before one of the call before."""
        count, columns = len(self._symbols), self._kernel.feature_set.columns
        features = np.full((len(times_ns), count, len(columns)), np.nan)
        row_ns = np.empty((len(times_ns), count), np.int64)
        for at, symbol in enumerate(self._symbols):
            row_ns[:, at] = self.ticks(symbol, times_ns)
            answers = np.flatnonzero(row_ns[:, at] >= 0)
            if len(answers) > 0:
                ticks, of = np.unique(row_ns[answers, at], return_inverse=True)
                features[answers, at] = self._rows[symbol].at(ticks).values[of]
        return Known(features.reshape(-1, len(columns)), row_ns.reshape(-1), np.repeat(times_ns, count))

    def ticks(self, symbol: str, times_ns: Int64s) -> Int64s:
        """The tick that answers at each time, NO_ROW where none does."""
        given_ns = newest_given(
            self._raw_folders[symbol], symbol, times_ns - AVAILABILITY_DELAY_NS, grid_ns=self._grid_ns
        )
        served_ns, available_ns, _ = read_served_ticks(
            self._features_folder,
            symbol,
            from_ns=int(times_ns[0]) - LONGEST_LAG_NS,
            to_ns=int(times_ns[-1]) + LONGEST_LAG_NS + 1,
            feature_set=self._kernel.feature_set.fingerprint,
        )
        is_measured, measured_ns = newest_readable(served_ns, available_ns, times_ns)
        ticks_ns = np.where(is_measured, measured_ns, given_ns)
        rows = self._rows[symbol]
        is_young = (ticks_ns >= times_ns - LONGEST_LAG_NS) & (ticks_ns >= rows.first_ns) & (ticks_ns <= rows.last_ns)
        self.measured += int(np.count_nonzero(is_measured & is_young))
        self.found += int(np.count_nonzero(is_young))
        return np.where(is_young, ticks_ns, NO_ROW)


def newest_readable(row_ns: Int64s, available_ns: Int64s, times_ns: Int64s) -> tuple[npt.NDArray[np.bool_], Int64s]:
    """Whether any row is on record within LONGEST_LAG_NS of each time, and the newest that could be read then.

    row_ns, available_ns: int64 (n,), of what was served, in any order. times_ns: int64 (m,), ascending. The row is
    NO_ROW where none on record could be read.
    """
    if len(row_ns) == 0:
        return np.zeros(len(times_ns), np.bool_), np.full(len(times_ns), NO_ROW)
    ordered_ns = np.sort(row_ns)
    since = np.searchsorted(ordered_ns, times_ns - LONGEST_LAG_NS)
    is_recorded = np.searchsorted(ordered_ns, times_ns + LONGEST_LAG_NS, side="right") > since
    by_arrival = np.argsort(available_ns, kind="stable")
    newest_ns = np.maximum.accumulate(row_ns[by_arrival])
    arrived = np.searchsorted(available_ns[by_arrival], times_ns, side="right")
    return is_recorded, np.where(arrived > 0, newest_ns[np.maximum(arrived - 1, 0)], NO_ROW)
