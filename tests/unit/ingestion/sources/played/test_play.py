"""Play: messages at their own pace, rows closed in silence, nothing closed too early."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import cast

from ingestion.messages import RejectedLine, TimedMessage
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.watermark import GRACE_NS
from ingestion.sources.played.play import PlayClock, play
from market.clock import SECOND_NS, ManualClock, SystemClock

BEGIN_NS = 1_772_000_000 * SECOND_NS


class Recorded:
    """What a pipeline was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def handle(self, message: TimedMessage) -> None:
        self.told.append(("handle", message.recv_ns, 0))

    def steps_to(self, watermark_ns: int) -> list[int]:
        return [watermark_ns]

    def advance(self, watermark_ns: int, *, now_ns: int) -> int:
        self.told.append(("advance", watermark_ns, now_ns))
        return 0

    def reject_line(self, line: RejectedLine, *, recv_ns: int) -> None:
        self.told.append((f"line {line.line_number}: {line.reason}", recv_ns, 0))


def message(seconds: float) -> TimedMessage:
    return TimedMessage(BEGIN_NS + int(seconds * SECOND_NS), b"{}")


def played(
    messages: list[TimedMessage | RejectedLine] | Iterator[TimedMessage], clock: PlayClock, stop: threading.Event
) -> Recorded:
    pipeline = Recorded()
    play(cast("Pipeline", pipeline), messages, clock=clock, stop=stop)
    return pipeline


class NeverSet(threading.Event):
    """Waiting for it takes as long as it may, on a clock that is told the time: a busy machine's would pass rows by."""

    def __init__(self, machine: ManualClock) -> None:
        super().__init__()
        self._machine = machine

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._machine.set(self._machine.now_ns() + math.ceil(timeout * SECOND_NS))
        return False


def test_rows_close_in_silence_a_grace_after_their_boundary() -> None:
    machine = ManualClock()
    clock = PlayClock(machine, begin_ns=None, speed=100)
    pipeline = played([message(0.5), message(4.5)], clock, NeverSet(machine))
    handled = [at for at, told in enumerate(pipeline.told) if told[0] == "handle"]
    between = pipeline.told[handled[0] + 1 : handled[1]]
    closed = {watermark // SECOND_NS - BEGIN_NS // SECOND_NS for _, watermark, _ in between}
    assert closed == {1, 2, 3, 4}
    for _, watermark, now_ns in between[:-1]:
        assert watermark <= max(now_ns - GRACE_NS, BEGIN_NS)


def test_a_message_comes_no_earlier_than_its_time_and_closes_what_it_has_passed() -> None:
    clock = PlayClock(SystemClock(), begin_ns=None, speed=100)
    pipeline = played([message(0), message(0.3), message(2)], clock, threading.Event())
    for at, (kind, recv_ns, _) in enumerate(pipeline.told):
        if kind == "handle":
            assert pipeline.told[at - 1][:2] == ("advance", recv_ns)
            assert pipeline.told[at - 1][2] >= recv_ns


def test_a_player_that_is_behind_closes_no_row_before_its_messages() -> None:
    clock = PlayClock(ManualClock(BEGIN_NS + 3600 * SECOND_NS), begin_ns=BEGIN_NS + 3600 * SECOND_NS, speed=1)
    pipeline = played([message(0), message(1.5), message(2.5)], clock, threading.Event())
    told = [(kind, time_ns) for kind, time_ns, _ in pipeline.told]
    expected = []
    for late in (message(0), message(1.5), message(2.5)):
        expected += [("advance", late.recv_ns), ("handle", late.recv_ns)]
    assert told == [*expected, ("advance", message(2.5).recv_ns)]


def test_stop_ends_the_play_at_once_even_when_messages_are_due() -> None:
    stop = threading.Event()

    def endless() -> Iterator[TimedMessage]:
        at = 0
        while True:
            yield message(at)
            if at == 3:
                stop.set()
            at += 1

    behind = PlayClock(ManualClock(0), begin_ns=BEGIN_NS + 10**6 * SECOND_NS, speed=1)
    assert [told[1] for told in played(endless(), behind, stop).told if told[0] == "handle"] == [
        message(at).recv_ns for at in range(4)
    ]


def test_stop_ends_the_wait_for_a_message() -> None:
    stop = threading.Event()
    stop.set()
    clock = PlayClock(ManualClock(0), begin_ns=BEGIN_NS - SECOND_NS, speed=1)
    assert played([message(0)], clock, stop).told == []


def test_a_line_that_states_no_message_is_rejected_at_the_time_of_the_message_before_it() -> None:
    clock = PlayClock(ManualClock(0), begin_ns=None, speed=1)
    pipeline = played([message(0), RejectedLine(2, "no JSON", b"x")], clock, threading.Event())
    assert ("line 2: no JSON", BEGIN_NS, 0) in pipeline.told


def test_the_clock_of_a_play_runs_at_its_speed_from_where_it_begins() -> None:
    machine = ManualClock(1000)
    clock = PlayClock(machine, begin_ns=None, speed=10)
    machine.set(5000)
    clock.begin(BEGIN_NS)
    machine.set(5000 + SECOND_NS)
    clock.begin(0)
    assert clock.now_ns() == BEGIN_NS + 10 * SECOND_NS
    assert clock.machine_seconds(SECOND_NS) == 0.1
