"""The leakage check: change everything after some moments, compute again, and see that nothing known before changes.

1. What is checked is any function from timed values to columns: features, labels, or anything fitted.
2. Each element of a column states the moment by which it is known: a feature its row time, a label its end, what train
   is fitted on or labelled with the end of train.
3. For each cut, all inputs after it are changed in several ways; an element that is known by then and whose bits change
   has looked ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market.clock import format_iso

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Column:
    """values: float64 (n,). known_ns: int64 (n,), each may depend on inputs at or before this moment alone."""

    values: Float64s
    known_ns: Int64s


@dataclass(frozen=True, slots=True)
class Leak:
    """One column's first element that depends on what came after it was known; at: its number."""

    column: str
    at: int
    known_ns: int
    cut_ns: int

    def __str__(self) -> str:
        return (
            f"{self.column}: must not depend on anything after {format_iso(self.known_ns)}, changed with what comes "
            f"after {format_iso(self.cut_ns)}"
        )


Compute = Callable[[Int64s, Float64s], Mapping[str, Column]]
"""From times, int64 (m,), ascending, and their values, float64 (m,) or (m, k), to columns that keep their length."""


def find_leaks(
    compute: Compute, times_ns: Int64s, values: Float64s, *, cuts_ns: Sequence[int], seed: int
) -> list[Leak]:
    """The columns that look ahead, one leak each, in the order in which ``compute`` gives them.

    cuts_ns: moments after which the inputs are changed: noise, other levels, unknown values.
    """
    before = compute(times_ns, values)
    leaks: dict[str, Leak] = {}
    generator = np.random.default_rng(seed)
    for cut_ns in cuts_ns:
        for changed in _other_futures(values, times_ns > cut_ns, generator):
            for name, column in compute(times_ns, changed).items():
                known = before[name]
                differs = column.values.view(np.int64) != known.values.view(np.int64)
                leaking = np.flatnonzero(differs & (known.known_ns <= cut_ns))
                if len(leaking) > 0 and name not in leaks:
                    leaks[name] = Leak(name, int(leaking[0]), int(known.known_ns[leaking[0]]), cut_ns)
    return [leaks[name] for name in before if name in leaks]


def _other_futures(values: Float64s, is_later: npt.NDArray[np.bool_], generator: np.random.Generator) -> list[Float64s]:
    """The values, of any shape, with those of the future noisy, far away and unknown."""
    later = values[is_later]
    futures = (
        later * (1.0 + 0.1 * generator.standard_normal(later.shape)),
        later * 3.0 + 1.0,
        np.full(later.shape, np.nan),
    )
    changed = []
    for future in futures:
        other = values.copy()
        other[is_later] = future
        changed.append(other)
    return changed
