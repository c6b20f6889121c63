"""Trade numbers: of a venue that numbers its trades one by one, exactly which ones are missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from market.events import Events


@dataclass(slots=True)
class NumberHole:
    """Numbers that are missing, first to last, between the times of the trades before and after them, ns."""

    first: int
    last: int
    begin_ns: int
    end_ns: int


class TradeNumbers:
    """Takes trade records in any order; one that comes later than its followers fills its place.

    holes: what is missing between the first number and the last, in order of the numbers. A record without a number
    (0) is skipped.
    """

    def __init__(self) -> None:
        self.holes: list[NumberHole] = []
        self._last: int | None = None
        self._last_ns = 0

    @property
    def is_numbered(self) -> bool:
        """Whether any trade had a number."""
        return self._last is not None

    def add(self, trades: Events) -> None:
        """Take records of trades."""
        numbered = trades[trades["update_id"] > 0]
        numbers, at = np.unique(numbered["update_id"], return_index=True)
        times = numbered["event_ns"][at]
        if len(numbers) == 0:
            return
        last, last_ns = (int(numbers[0]) - 1, 0) if self._last is None else (self._last, self._last_ns)
        is_late = numbers <= last
        for number, at_ns in zip(numbers[is_late].tolist(), times[is_late].tolist(), strict=True):
            self._fill(number, at_ns)
        numbers, times = numbers[~is_late], times[~is_late]
        if len(numbers) == 0:
            return
        before, before_ns = np.append(last, numbers[:-1]), np.append(last_ns, times[:-1])
        for gap in np.flatnonzero(numbers - before > 1).tolist():
            self.holes.append(
                NumberHole(int(before[gap]) + 1, int(numbers[gap]) - 1, int(before_ns[gap]), int(times[gap]))
            )
        self._last, self._last_ns = int(numbers[-1]), int(times[-1])

    def _fill(self, number: int, at_ns: int) -> None:
        for place, hole in enumerate(self.holes):
            if hole.first <= number <= hole.last:
                left = NumberHole(hole.first, number - 1, hole.begin_ns, at_ns)
                right = NumberHole(number + 1, hole.last, at_ns, hole.end_ns)
                self.holes[place : place + 1] = [part for part in (left, right) if part.first <= part.last]
                return
