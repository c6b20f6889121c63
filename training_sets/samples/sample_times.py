"""Sample times: whole multiples of an interval within some spans, told by their number and held by none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from market.clock import ceil_to

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SampleTimes:
    """Times in ns, ascending, numbered from 0; ``ranges`` are disjoint and in order, each with the same step."""

    ranges: tuple[range, ...]

    @classmethod
    def of(cls, spans: Sequence[tuple[int, int]], step_ns: int, offset_ns: int = 0) -> SampleTimes:
        """Those of disjoint [start, end) in order, each so long after a whole multiple of the step."""
        return cls(
            tuple(
                range(ceil_to(start_ns - offset_ns, step_ns) + offset_ns, end_ns, step_ns) for start_ns, end_ns in spans
            )
        )

    @classmethod
    def at(cls, times_ns: Sequence[int]) -> SampleTimes:
        """Ascending times, each once."""
        return cls(tuple(range(time_ns, time_ns + 1) for time_ns in times_ns))

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def between(self, first: int, last: int) -> Int64s:
        """The times numbered [first, last), int64 (last - first,)."""
        begins = accumulate(map(len, self.ranges), initial=0)
        parts = [
            of_range[max(first - begin, 0) : max(last - begin, 0)]
            for begin, of_range in zip(begins, self.ranges, strict=False)
        ]
        return np.concatenate([np.arange(part.start, part.stop, part.step, dtype=np.int64) for part in parts])

    def number_from(self, time_ns: int) -> int:
        """How many times lie before a moment: the number of the first that does not."""
        return sum(min(max(-((each.start - time_ns) // each.step), 0), len(each)) for each in self.ranges)
