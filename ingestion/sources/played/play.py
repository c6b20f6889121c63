"""Play: recorded messages through a pipeline, at their own pace or as fast as the machine goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from ingestion.messages import RejectedLine, TimedMessage
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.watermark import GRACE_NS
from market.clock import HOUR_NS, SECOND_NS, Clock, floor_to


class PlayClock:
    """The time of what is played: ``speed`` times as fast as ``machine`` since it began.

    begin_ns: where it begins; None is at the first message.
    """

    def __init__(self, machine: Clock, *, begin_ns: int | None, speed: float) -> None:
        self._machine = machine
        self._speed = speed
        self._begin_ns = begin_ns
        self._started_ns = machine.now_ns()

    @classmethod
    def from_now(cls, machine: Clock, *, speed: float) -> PlayClock:
        """A clock that begins at the machine's time, and is the machine's at speed 1."""
        clock = cls(machine, begin_ns=None, speed=speed)
        clock._begin_ns = clock._started_ns
        return clock

    def now_ns(self) -> int:
        """The played time. It must have begun."""
        assert self._begin_ns is not None
        return self._begin_ns + int((self._machine.now_ns() - self._started_ns) * self._speed)

    def begin(self, time_ns: int) -> None:
        """Begin at ``time_ns``, unless it began before."""
        if self._begin_ns is None:
            self._begin_ns = time_ns
            self._started_ns = self._machine.now_ns()

    def machine_seconds(self, played_ns: int) -> float:
        """How long ``played_ns`` take on the machine's clock."""
        return played_ns / self._speed / SECOND_NS


def play(
    pipeline: Pipeline,
    messages: Iterable[TimedMessage | RejectedLine],
    *,
    clock: PlayClock | None = None,
    stop: threading.Event | None = None,
    on_message: Callable[[int], None] = lambda _recv_ns: None,
) -> None:
    """Handle every message in order; before each, close the rows that its receive time has passed.

    clock: the pace; None is as fast as the machine goes, on the messages' own clock. With a pace a row closes when a
    later message is at hand, or a grace after its boundary. Messages come in the order of ``recv_ns``, so a message
    that is due has none before it left: a player that falls behind closes no row too early.
    stop: ends the play when it is set. on_message: called with each receive time, for progress.
    """
    stop = stop or threading.Event()
    last_ns = 0
    for message in messages:
        if isinstance(message, RejectedLine):
            pipeline.reject_line(message, recv_ns=message.time_after(last_ns))
            continue
        before_ns, last_ns = last_ns, message.recv_ns
        if clock is not None:
            _wait_for(pipeline, last_ns, clock, stop)
        if stop.is_set():
            return
        now_ns = last_ns if clock is None else clock.now_ns()
        # Between two recordings may be months.
        for until_ns in pipeline.steps_to(last_ns) if last_ns - before_ns > HOUR_NS else (last_ns,):
            pipeline.advance(until_ns, now_ns=now_ns)
        pipeline.handle(message)
        on_message(last_ns)
    pipeline.advance(last_ns, now_ns=last_ns if clock is None else clock.now_ns())


def _wait_for(pipeline: Pipeline, recv_ns: int, clock: PlayClock, stop: threading.Event) -> None:
    """Wait until a message is due, closing the rows that fall due meanwhile."""
    clock.begin(recv_ns)
    while (now_ns := clock.now_ns()) < recv_ns:
        next_close_ns = floor_to(now_ns - GRACE_NS, SECOND_NS) + SECOND_NS + GRACE_NS
        if stop.wait(clock.machine_seconds(min(recv_ns, next_close_ns) - now_ns)):
            return
        now_ns = clock.now_ns()
        pipeline.advance(min(now_ns - GRACE_NS, recv_ns), now_ns=now_ns)
