"""Sequences: windows of consecutive feature rows straight from the feature log, as models of sequences read them.

1. A row breaks a sequence that does not follow the row before by the interval, that its split does not keep (purged,
   embargoed or outside), that lies in another period than the row before, or that a model could not have had: readable
   later than a view answers with it, or without the history or the book it needs, as after a restart.
2. A window ends at every row with ``length`` rows in its sequence; no window holds a break.
3. A day is read at a time with what its first window needs of the day before: memory does not grow with the period.

An unknown value of a row that breaks nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from market.clock import DAY_NS, SECOND_NS, floor_to
from market.errors import InvalidRequest, NotFound
from storage.features.log import FeatureLog
from training_sets.request.folds import Fold
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.splits import SplitRules, assign_rows
from transforms.rows import FeatureRows, FeatureSet
from transforms.status import GAP, WARMUP

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Windows in order of time. end_ns: int64 (n,), each one's last row. values: float32 (n, length, columns)."""

    end_ns: Int64s
    values: Float32s


@dataclass(frozen=True, slots=True)
class FeatureWindows:
    """The windows of a symbol in one split of a fold; each iteration reads them again.

    length: rows a window. interval_ns, offset_ns: rows so long after multiples of the interval, whole seconds. stride:
    every so many rows one may end, counted from the first of a day. read_delay_ns: the model acts so long after a row
    can be read. shard, shards: of the days, for several readers in parallel: a worker of a PyTorch DataLoader has the
    days of its number.

    An ``IterableDataset`` is this and no more: ``def __iter__(self): return iter(windows)``.
    """

    log: FeatureLog
    chosen: FeatureSet
    symbol: str
    fold: Fold
    split: str
    rules: SplitRules
    length: int
    interval_ns: int = SECOND_NS
    stride: int = 1
    shard: int = 0
    shards: int = 1
    offset_ns: int = 0
    read_delay_ns: int = 0

    def __post_init__(self) -> None:
        if self.length < 1 or self.stride < 1 or self.interval_ns < SECOND_NS or self.interval_ns % SECOND_NS:
            raise InvalidRequest(
                f"windows: length and stride must be 1 or more, the interval whole seconds, was {self.length}, "
                f"{self.stride}, {self.interval_ns} ns"
            )
        if not 0 <= self.offset_ns < self.interval_ns or self.offset_ns % SECOND_NS:
            raise InvalidRequest(
                f"windows: the offset must be whole seconds below the interval, {self.interval_ns} ns, was "
                f"{self.offset_ns} ns"
            )
        if not 0 <= self.shard < self.shards:
            raise InvalidRequest(f"windows: shard must be below shards, was {self.shard} of {self.shards}")
        if self.split not in self.fold.names:
            raise InvalidRequest(f"windows: split must be one of {', '.join(self.fold.names)}, was {self.split!r}")

    def __iter__(self) -> Iterator[tuple[Float32s, int]]:
        """Each window, float32 (length, columns), and its last row time. Raises as ``batches``."""
        for batch in self.batches():
            yield from zip(batch.values, batch.end_ns.tolist(), strict=True)

    def batches(self, most: int = 1024) -> Iterator[WindowBatch]:
        """At most so many windows at a time. Raises CorruptStore."""
        periods = [period for period in self.fold.periods if period.name == self.split]
        days = sorted(
            {
                day_ns
                for period in periods
                for day_ns in range(floor_to(period.start_ns, DAY_NS), period.end_ns, DAY_NS)
                if day_ns // DAY_NS % self.shards == self.shard
            }
        )
        for day_ns in days:
            yield from self._of_day(day_ns, most)

    def _of_day(self, day_ns: int, most: int) -> Iterator[WindowBatch]:
        from_ns = day_ns - (self.length - 1) * self.interval_ns
        try:
            rows, available_ns = self.log.read(self.symbol, self.chosen, from_ns=from_ns, to_ns=day_ns + DAY_NS)
        except NotFound:
            return
        at = np.flatnonzero(rows.row_ns % self.interval_ns == self.offset_ns)
        row_ns = rows.row_ns[at]
        if len(at) < self.length:
            return
        run = _run_lengths(self._breaks(rows, at, available_ns[at]))
        on_stride = (row_ns - day_ns) // self.interval_ns % self.stride == 0
        ends = np.flatnonzero((run >= self.length) & (row_ns >= day_ns) & on_stride)
        values = np.ascontiguousarray(rows.values[at], np.float32)
        windows = sliding_window_view(values, self.length, axis=0).transpose(0, 2, 1)
        for begin in range(0, len(ends), most):
            part = ends[begin : begin + most]
            yield WindowBatch(row_ns[part], np.ascontiguousarray(windows[part - self.length + 1]))

    def _breaks(self, rows: FeatureRows, at: Int64s, available_ns: Int64s) -> tuple[Bools, Bools]:
        """Of each row, whether it is in no window, and whether a window may only begin with it."""
        row_ns = rows.row_ns[at]
        assigned = assign_rows(row_ns, self.fold, self.rules, decisions_ns=available_ns + self.read_delay_ns)
        own = [number for number, period in enumerate(self.fold.periods) if period.name == self.split]
        is_usable = assigned.is_kept & np.isin(assigned.period, own) & (available_ns <= row_ns + LONGEST_LAG_NS)
        is_usable &= ~np.isin(rows.status[at], (GAP, WARMUP)).any(axis=1)
        is_first = np.ones(len(at), np.bool_)
        is_first[1:] = (np.diff(row_ns) != self.interval_ns) | (np.diff(assigned.period) != 0)
        return ~is_usable, is_first


def _run_lengths(breaks: tuple[Bools, Bools]) -> Int64s:
    """How many rows each sequence has up to and with each row, 0 for a row that is in none."""
    is_out, is_first = breaks
    at = np.arange(1, len(is_out) + 1)
    # The number of rows before the sequence: up to the last one that is out, or before the last that begins one.
    before = np.maximum(np.where(is_out, at, 0), np.where(is_first, at - 1, 0))
    lengths: Int64s = at - np.maximum.accumulate(before)
    return lengths
