"""A clock that survives the machine's clock being set: it runs independently and only leans towards it.

1. Time passes as the monotonic clock says, from the wall clock's reading at the start.
2. Each reading leans towards the wall clock by at most a tenth of the time that passed, so small corrections are
   followed at once, and a step back or forward moves no row: ``now_ns`` never goes back and never jumps.
3. A difference of more than a second is a step: it is counted and logged once, until the clocks have met again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol

from market.clock import SECOND_NS, Clock

LEAN: Final = 10
"""One part in so many of the time that passed may be corrected."""
STEP_NS: Final = SECOND_NS

_log = logging.getLogger(__name__)


class WorkerClock(Protocol):
    """The worker's time, and how long a span of it takes on the machine."""

    def now_ns(self) -> int: ...

    def machine_seconds(self, span_ns: int) -> float: ...


class SteadyClock:
    """Wall time that neither jumps nor goes back; safe among threads.

    wall: the machine's clock. monotonic_ns: passes as time does, whatever the wall clock is set to.
    """

    def __init__(self, wall: Clock, monotonic_ns: Callable[[], int]) -> None:
        self.steps = 0
        """How often the wall clock was set."""
        self._wall = wall
        self._monotonic_ns = monotonic_ns
        self._lock = threading.Lock()
        self._now_ns = wall.now_ns()
        self._read_at_ns = monotonic_ns()
        self._is_apart = False

    @property
    def apart_ns(self) -> int:
        """How far the wall clock is ahead of this one."""
        return self._wall.now_ns() - self._now_ns

    def now_ns(self) -> int:
        with self._lock:
            at_ns = self._monotonic_ns()
            passed_ns = at_ns - self._read_at_ns
            self._read_at_ns = at_ns
            due_ns = self._now_ns + passed_ns
            apart_ns = self._wall.now_ns() - due_ns
            if self._is_apart or not -STEP_NS <= apart_ns <= STEP_NS:
                self._tell(apart_ns)
            most_ns = passed_ns // LEAN
            # Without calls of min and max: every message is stamped by this clock.
            if not -most_ns <= apart_ns <= most_ns:
                apart_ns = most_ns if apart_ns > 0 else -most_ns
            self._now_ns = due_ns + apart_ns
            return self._now_ns

    def machine_seconds(self, span_ns: int) -> float:
        """How long ``span_ns`` of this clock take on the machine's."""
        return span_ns / SECOND_NS

    def _tell(self, apart_ns: int) -> None:
        if abs(apart_ns) <= STEP_NS:
            self._is_apart = False
        elif not self._is_apart:
            self._is_apart = True
            self.steps += 1
            _log.warning("clock: must not be set while we run, was moved by %.3f s", apart_ns / SECOND_NS)
