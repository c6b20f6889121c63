"""A mean of the last five minutes, in slices of ten seconds."""

from __future__ import annotations

from collections import deque
from typing import Final

from market.clock import SECOND_NS

SLICE_NS: Final = 10 * SECOND_NS
SLICES: Final = 30


class RecentMean:
    """Of values that come with their time; a slice leaves as a whole. One thread at a time adds."""

    def __init__(self) -> None:
        self._slices: deque[tuple[int, int, float]] = deque(maxlen=SLICES)

    def add(self, value: float, now_ns: int) -> None:
        """One more value."""
        begin_ns = now_ns - now_ns % SLICE_NS
        if self._slices and self._slices[-1][0] == begin_ns:
            _, count, total = self._slices.pop()
            self._slices.append((begin_ns, count + 1, total + value))
        else:
            self._slices.append((begin_ns, 1, value))

    def recent(self, now_ns: int) -> tuple[int, float | None]:
        """How many there were in the last five minutes and their mean, None of none."""
        kept = [each for each in self._slices.copy() if each[0] > now_ns - SLICES * SLICE_NS]
        count = sum(each[1] for each in kept)
        return count, sum(each[2] for each in kept) / count if count else None
