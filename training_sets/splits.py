"""Splits: which rows train, validate and test, so that no label of one period reaches into a later one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from market.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Period:
    """[start_ns, end_ns) with the name of its split."""

    name: str
    start_ns: int
    end_ns: int

    def __str__(self) -> str:
        return f"{self.name} [{format_iso(self.start_ns)}, {format_iso(self.end_ns)})"


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one period that are kept, and how many were dropped from it and why.

    rows: int64 (n,), indices into the times that were split, in time order.
    last_label_ns: the latest moment that a kept row's label looks at; None for an empty split.
    """

    period: Period
    rows: npt.NDArray[np.int64]
    purged: int
    embargoed: int
    last_label_ns: int | None


def check_periods(periods: Sequence[Period]) -> None:
    """Periods must run forwards, in order, without overlap; touching is fine. Raises InvalidRequest."""
    for period in periods:
        if period.end_ns <= period.start_ns:
            raise InvalidRequest(f"{period.name} period: must end after it starts, was {period}")
    for earlier, later in itertools.pairwise(periods):
        if later.start_ns < earlier.end_ns:
            raise InvalidRequest(f"{later.name} period: must not start before {earlier} ends, was {later}")


def split_by_time(
    times_ns: npt.NDArray[np.int64], periods: Sequence[Period], *, label_reach_ns: int, purge: bool, embargo_ns: int
) -> list[Split]:
    """Assign rows to periods, purged and embargoed.

    times_ns: int64 (n,), row times in any order; a row outside every period belongs to no split.
    purge: drop a row whose label window (t, t + reach] reaches into a later period.
    embargo_ns: drop the rows of every period but the first that lie within this after its start.

    Raises InvalidRequest when periods overlap or run backwards.
    """
    check_periods(periods)
    splits = []
    for index, period in enumerate(periods):
        is_inside = (times_ns >= period.start_ns) & (times_ns < period.end_ns)
        is_embargoed = is_inside & (times_ns < period.start_ns + embargo_ns) if index > 0 else np.zeros_like(is_inside)
        is_purged = np.zeros_like(is_inside)
        if purge and index + 1 < len(periods):
            is_purged = is_inside & ~is_embargoed & (times_ns + label_reach_ns >= periods[index + 1].start_ns)
        rows = np.flatnonzero(is_inside & ~is_embargoed & ~is_purged)
        rows = rows[np.argsort(times_ns[rows], kind="stable")]
        last_label_ns = int(times_ns[rows].max()) + label_reach_ns if len(rows) > 0 else None
        splits.append(
            Split(period, rows, int(np.count_nonzero(is_purged)), int(np.count_nonzero(is_embargoed)), last_label_ns)
        )
    return splits
