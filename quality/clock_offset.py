"""The offset between the receive clock and the exchange's, by the minute, and where it jumps."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import MINUTE_NS
from quality.limits import USUAL_LIMITS

LEAST_MESSAGES: Final = 20
"""A minute with fewer has no median to judge by."""

Int64s = npt.NDArray[np.int64]


class ClockOffset:
    """Receive time minus the exchange's time, by minute of receive time.

    jump_ns: a change from one minute's median to the next that is more is a jump.
    minutes: (minute start ns, median offset ns) of each minute that had LEAST_MESSAGES. least_ns, greatest_ns: of all.
    """

    def __init__(self, *, jump_ns: int = USUAL_LIMITS.clock_jump_ns) -> None:
        self._jump_ns = jump_ns
        self.minutes: list[tuple[int, int]] = []
        self.least_ns: int | None = None
        self.greatest_ns: int | None = None
        self._held: list[Int64s] = []
        self._minute_ns: int | None = None

    def add(self, recv_ns: Int64s, event_ns: Int64s) -> None:
        if len(recv_ns) == 0:
            return
        offsets, minutes = recv_ns - event_ns, recv_ns // MINUTE_NS * MINUTE_NS
        least, greatest = int(offsets.min()), int(offsets.max())
        self.least_ns = least if self.least_ns is None else min(self.least_ns, least)
        self.greatest_ns = greatest if self.greatest_ns is None else max(self.greatest_ns, greatest)
        cuts = [0, *(np.flatnonzero(np.diff(minutes)) + 1).tolist(), len(minutes)]
        for begin, end in itertools.pairwise(cuts):
            minute_ns = int(minutes[begin])
            if self._minute_ns is not None and minute_ns != self._minute_ns:
                self.finish()
            self._minute_ns = minute_ns
            self._held.append(offsets[begin:end])

    def finish(self) -> None:
        """Close the minute that is open."""
        if self._minute_ns is not None and sum(map(len, self._held)) >= LEAST_MESSAGES:
            self.minutes.append((self._minute_ns, int(np.median(np.concatenate(self._held)))))
        self._held = []

    @property
    def jumps(self) -> list[tuple[int, int]]:
        """(minute start ns, change ns) of each change of more than ``jump_ns`` from the minute before."""
        pairs = zip(self.minutes[:-1], self.minutes[1:], strict=True)
        return [(at, after - before) for (_, before), (at, after) in pairs if abs(after - before) > self._jump_ns]
