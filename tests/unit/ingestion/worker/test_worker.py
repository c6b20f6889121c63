"""The worker's ticks: which are closed, which are left out for everybody, and that seconds never are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ingestion.messages import TimedMessage
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.watermark import GRACE_NS
from ingestion.sinks.row_record import RowRecord
from ingestion.source import Deliver, Delivery
from ingestion.worker.metrics import StageTimes
from ingestion.worker.worker import Worker, ticks_between
from market.clock import MILLISECOND_NS, SECOND_NS
from tests.waiting import eventually

B = 1_772_000_000 * SECOND_NS
GRID_NS = 100 * MILLISECOND_NS
DEADLINE_S = 30.0


class QuietSource:
    """Delivers what the test gives it, and says of itself what the test says."""

    streams = ("quiet",)

    def __init__(self) -> None:
        self.has_backlog = False
        self.begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Deliver | None = None

    def bring(self, recv_ns: int) -> None:
        assert self.begun.wait(DEADLINE_S)
        assert self._loop is not None
        assert self._deliver is not None
        asyncio.run_coroutine_threadsafe(self._put(recv_ns), self._loop).result(DEADLINE_S)

    async def _put(self, recv_ns: int) -> None:
        assert self._deliver is not None
        await self._deliver(Delivery("quiet", recv_ns, b""))

    def is_behind(self, stream: str) -> bool:  # noqa: ARG002  # there is one
        return self.has_backlog

    def is_whole(self, symbol: str) -> bool:  # noqa: ARG002  # there is none
        return True

    async def run(self, deliver: Deliver) -> None:
        self._loop, self._deliver = asyncio.get_running_loop(), deliver
        self.begun.set()
        await asyncio.Event().wait()

    async def request_snapshot(self, symbol: str) -> None:
        """Nothing is lost."""

    async def close(self) -> None:
        """Nothing is held."""


class SetClock:
    """Stands where it was set; the machine's seconds are short, so that the worker looks again at once.

    It begins where the tick B closes: from an earlier moment a worker that is quick would close the tick before it too.
    """

    def __init__(self) -> None:
        self.time_ns = B + GRACE_NS

    def now_ns(self) -> int:
        return self.time_ns

    def machine_seconds(self, span_ns: int) -> float:  # noqa: ARG002  # they do not pass
        return 0.001


class Advances:
    """A pipeline of one silent symbol that keeps what it was told to close."""

    def __init__(self) -> None:
        self.closed: list[int] = []
        self.rows = 0
        self.resume: Callable[[], object] = lambda: None
        self.lanes = {"BTCUSDT": None}

    def go_on(self, symbol: str, *, now_ns: int) -> bool:  # noqa: ARG002  # it has no tape
        self.resume()
        return False

    def handle_many(
        self, messages: Sequence[TimedMessage], *, on_durable: Sequence[Callable[[], object] | None]
    ) -> None:
        """They are counted by nobody."""

    def steps_to(self, watermark_ns: int, *, leaves_out: bool) -> list[int]:
        assert leaves_out
        return [watermark_ns]

    def advance(self, watermark_ns: int, *, now_ns: int) -> int:
        assert watermark_ns <= now_ns
        self.closed.append((watermark_ns - B) // MILLISECOND_NS)
        return self.rows

    def close(self) -> None:
        """Nothing is held."""


class Running:
    """A worker in a thread, whose clock and store the test moves."""

    def __init__(self, *, symbols: Sequence[str] = ()) -> None:
        self.clock, self.pipeline, self.is_storing = SetClock(), Advances(), False
        self.source = QuietSource()
        self.whole: list[int] = []
        self.worker = Worker(
            self.source,
            self.clock,
            symbols=symbols,
            stages=StageTimes(CollectorRegistry()),
            grid_ns=GRID_NS,
            is_storing=lambda: self.is_storing,
            on_whole=lambda row_ns: self.whole.append((row_ns - B) // MILLISECOND_NS),
        )

    def pass_to(self, ms: int, *, closes: int) -> None:
        """Let the clock be so many ms and the grace after B, and wait until the tick is closed."""
        self.clock.time_ns = B + ms * MILLISECOND_NS + GRACE_NS
        eventually(lambda: self.pipeline.closed[-1:] == [closes], deadline_s=DEADLINE_S)

    def skip_to(self, ms: int, *, skipped: int) -> None:
        self.clock.time_ns = B + ms * MILLISECOND_NS + GRACE_NS
        eventually(lambda: self.worker.skipped_ticks == skipped, deadline_s=DEADLINE_S)


@contextmanager
def running(found: Running | None = None) -> Iterator[Running]:
    found = Running() if found is None else found
    thread = threading.Thread(target=found.worker.run, args=(cast("Pipeline", found.pipeline),), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.worker.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_every_tick_is_closed_a_grace_after_it_and_none_before() -> None:
    with running() as found:
        found.pass_to(0, closes=0)
        for ms in (100, 200, 300):
            found.clock.time_ns = B + ms * MILLISECOND_NS + GRACE_NS - 1
            found.pass_to(ms, closes=ms)
        assert found.pipeline.closed == [0, 100, 200, 300]
        assert found.worker.skipped_ticks == 0


def test_the_first_row_after_a_start_that_took_seconds_is_of_the_time_after_it() -> None:
    found = Running(symbols=["BTCUSDT"])

    def take_three_seconds() -> None:
        found.clock.time_ns += 3 * SECOND_NS

    found.pipeline.resume = take_three_seconds
    with running(found):
        eventually(lambda: found.pipeline.closed, deadline_s=DEADLINE_S)
        assert found.pipeline.closed == [3000]


def test_ticks_that_pass_together_are_one_and_the_others_are_counted() -> None:
    with running() as found:
        found.pass_to(0, closes=0)
        found.pass_to(500, closes=500)
        assert found.worker.skipped_ticks == 4
        # A whole second is skipped by no tick: the pipeline closes it on the way.
        found.pass_to(1_200, closes=1_200)
        assert found.worker.skipped_ticks == 4 + 5


def test_while_the_store_is_busy_seconds_are_closed_and_ticks_between_are_left_out_for_all() -> None:
    with running() as found:
        found.pass_to(0, closes=0)
        found.is_storing = True
        found.skip_to(100, skipped=1)
        found.skip_to(900, skipped=9)
        found.pass_to(1_000, closes=1_000)
        found.skip_to(1_300, skipped=12)
        found.pass_to(2_100, closes=2_000)
        assert found.pipeline.closed == [0, 1_000, 2_000]
        found.is_storing = False
        found.pass_to(2_200, closes=2_200)
        assert found.worker.skipped_ticks == 12 + 6 + 1


def test_a_worker_that_works_through_a_backlog_closes_seconds_alone() -> None:
    with running() as found:
        found.pass_to(0, closes=0)
        found.source.has_backlog = True
        found.clock.time_ns = B + 9 * SECOND_NS
        for ms in (450, 1_050, 1_900, 2_000):
            found.source.bring(B + ms * MILLISECOND_NS)
        eventually(lambda: found.pipeline.closed[-1:] == [2_000], deadline_s=DEADLINE_S)
        assert set(found.pipeline.closed) <= {0, 1_000, 2_000}
        found.source.has_backlog = False
        found.pass_to(9_100, closes=9_100)


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([50, 100, 200, 250, 500, 1_000]))
def test_ticks_between_are_those_that_are_no_whole_second(after: int, count: int, grid_ms: int) -> None:
    grid_ns = grid_ms * MILLISECOND_NS
    after_ns = B + after * grid_ns
    ticks = [after_ns + (at + 1) * grid_ns for at in range(count)]
    expected = sum(tick % SECOND_NS != 0 for tick in ticks)
    assert ticks_between(after_ns, after_ns + count * grid_ns, grid_ns) == expected


class CheckpointedLanes:
    """A pipeline whose lanes have a checkpoint each."""

    def __init__(self, count: int) -> None:
        self.lanes = {f"S{number}": self for number in range(count)}

    def checkpoint(self) -> bytes:
        return b"state"

    def durability(self) -> Callable[[float], bool]:
        return lambda _timeout_s: True


class FullRecord:
    """Has room for some checkpoints, until the test makes more."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.kept: list[str] = []

    def has_room(self) -> bool:
        return self.room > 0

    def keep_checkpoint(self, symbol: str, _checkpoint: object, _wait_durable: object) -> None:
        self.room -= 1
        self.kept.append(symbol)


def test_checkpoints_that_the_disk_has_no_room_for_follow_in_turn_and_all_are_kept_at_the_end() -> None:
    record, lanes = FullRecord(room=2), cast("Pipeline", CheckpointedLanes(5))
    worker = Worker(
        QuietSource(),
        SetClock(),
        symbols=(),
        stages=StageTimes(CollectorRegistry()),
        record=cast("RowRecord", record),
    )
    worker._keep_checkpoints(lanes, None)
    assert record.kept == ["S0", "S1"]
    for _ in range(2):
        worker._keep_checkpoints(lanes, 30 * SECOND_NS)  # nobody's turn
    assert record.kept == ["S0", "S1"]
    record.room = 2
    worker._keep_checkpoints(lanes, 60 * SECOND_NS)  # that of S0
    assert record.kept == ["S0", "S1", "S2", "S3"]
    record.room = 0
    worker._keep_checkpoints(lanes, None, waits=True)
    assert record.kept[4:] == ["S4", "S0", "S1", "S2", "S3"]


def test_a_time_is_whole_once_the_pipeline_has_handed_its_rows_on_and_never_without_rows() -> None:
    with running() as found:
        found.pass_to(0, closes=0)
        found.pipeline.rows = 1
        found.pass_to(100, closes=100)
        eventually(lambda: found.whole == [100], deadline_s=DEADLINE_S)
