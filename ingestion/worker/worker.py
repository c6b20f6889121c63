"""The worker: one source's messages to the pipeline as they come, and rows on time.

1. The event loop reads the source, publishes and answers; it never waits for the disk, for Redis or for a kernel.
2. One thread computes: it takes messages from the inbox, lets the pipeline log and apply them, and closes rows when
   the watermark passes a tick of the row grid.
3. A worker that cannot keep up, or whose last rows are still being stored, leaves out whole ticks between seconds, for
   all symbols, and counts them; the rows at whole seconds, silent or not, are always closed.
4. Stopping: the source stops, what was delivered is computed and made durable, acknowledged, and only then let go.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from ingestion.messages import TimedMessage
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.watermark import GRACE_NS, Watermark
from ingestion.sinks.row_record import RowRecord
from ingestion.source import Delivery, Source
from ingestion.worker.inbox import Inbox
from ingestion.worker.metrics import StageTimes
from ingestion.worker.steady_clock import WorkerClock
from market.clock import DAY_NS, SECOND_NS, floor_to

BATCH: Final = 256
"""Messages taken before the rows are looked after again."""
LONGEST_WAIT_S: Final = 0.25
MAX_AHEAD_NS: Final = 5 * SECOND_NS
MAX_AGE_NS: Final = 2 * DAY_NS
"""A broker keeps a message for a day; an older stamp is not a time at which it was received."""
CHECKPOINT_EVERY_S: Final = 60
ASK_AGAIN_NS: Final = 2 * SECOND_NS
"""How long a snapshot may take before it is asked for again."""
STOP_DEADLINE_S: Final = 20.0


class Worker:
    """Runs one source into one pipeline; ``run`` returns when the source ends or ``stop`` is called.

    grid_ns: the row grid, the pipeline's. check: called before anything is written; raises what forbids it. is_storing:
    whether earlier rows are still on their way to the online store. on_whole: called with a row time once the rows of
    all symbols were handed on. record: where checkpoints go. tasks: what else runs on the event loop. on_close: awaited
    last, when everything delivered was computed and made durable.
    """

    def __init__(  # noqa: PLR0913  # the hands of one loop, each a plain call
        self,
        source: Source,
        clock: WorkerClock,
        *,
        symbols: Sequence[str],
        stages: StageTimes,
        grid_ns: int = SECOND_NS,
        check: Callable[[], object] = lambda: None,
        is_storing: Callable[[], bool] = lambda: False,
        on_whole: Callable[[int], object] = lambda _row_ns: None,
        record: RowRecord | None = None,
        tasks: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
        on_close: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self.stages = stages
        self.grid_ns = grid_ns
        self.skipped_ticks = 0
        """Ticks between seconds that were left out for all symbols."""
        self.snapshots_asked = 0
        self._source = source
        self._clock = clock
        self._symbols = tuple(symbols)
        self._check = check
        self._is_storing = is_storing
        self._on_whole = on_whole
        self._record = record
        self._tasks = tuple(tasks)
        self._on_close = tuple(on_close)
        self._pipeline: Pipeline | None = None
        self._inbox = Inbox()
        self._watermark = Watermark(source.streams)
        self._stopping = threading.Event()
        self._is_over = False
        self._has_gone_on = False
        self._started_ns = clock.now_ns()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        # The computing thread's own.
        self._closed_ns = 0
        self._lag_ns = 0
        self._asked_ns: dict[str, int] = {}
        self._wants_checkpoints = False
        self._due_checkpoints: dict[str, None] = {}

    @property
    def lag_ns(self) -> int:
        """How far the closing of rows is behind the clock, the grace apart."""
        return self._lag_ns

    @property
    def waiting(self) -> int:
        """Messages that were delivered and not computed yet."""
        return len(self._inbox)

    def run(self, pipeline: Pipeline) -> None:
        """Run until the end. Raises what ended it, after everything was closed."""
        self._pipeline = pipeline
        asyncio.run(self._main())
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Let ``run`` end; from any thread."""
        self._stopping.set()
        self._tell_ended()

    def fail(self, error: BaseException) -> None:
        """Let ``run`` end by an error; from any thread."""
        self._failure = self._failure or error
        self.stop()

    def keep_checkpoints(self) -> None:
        """Save a checkpoint of every symbol with the next row, due or not; from any thread."""
        self._wants_checkpoints = True

    def lose_book(self, symbol: str) -> None:
        """The order book of a symbol was lost: ask for a snapshot at once; the pipeline's ``on_gap``."""
        self._ask(symbol, self._clock.now_ns())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        reading = asyncio.create_task(self._source.run(self._inbox.put), name="source")
        others: list[asyncio.Task[Any]] = [asyncio.create_task(task()) for task in self._tasks]
        stopped = asyncio.create_task(self._ended.wait())
        if self._stopping.is_set():
            self._ended.set()
        computing = threading.Thread(target=self._compute, name="compute", daemon=True)
        computing.start()
        try:
            await asyncio.wait([reading, stopped, *others], return_when=asyncio.FIRST_COMPLETED)
            begun: list[asyncio.Task[Any]] = [reading, *others]
            for task in begun:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    self._failure = self._failure or error
            self._is_over = reading.done() and self._failure is None and not self._stopping.is_set()
            await self._source.close()
        finally:
            self._stopping.set()
            self._inbox.wake()
            await asyncio.to_thread(computing.join, STOP_DEADLINE_S)
            if computing.is_alive():
                self._failure = self._failure or TimeoutError(
                    f"worker: must stop within {STOP_DEADLINE_S:g} s, did not"
                )
            for finish in self._on_close:
                await finish()
            for each in (reading, stopped, *others):
                each.cancel()
            await asyncio.gather(reading, stopped, *others, return_exceptions=True)
            self._loop = None

    def _tell_ended(self) -> None:
        if (loop := self._loop) is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._ended.set)

    def _compute(self) -> None:
        pipeline = self._pipeline
        assert pipeline is not None
        try:
            try:
                while not (self._stopping.is_set() and len(self._inbox) == 0):
                    self._turn(pipeline)
                if self._is_over:
                    pipeline.advance(self._watermark.shown_ns(), now_ns=self._clock.now_ns())
                self._keep_checkpoints(pipeline, None, waits=True)
            finally:
                pipeline.close()
        except BaseException as error:  # noqa: BLE001  # the top of a thread: the event loop ends and run raises it
            self._failure = self._failure or error
        self._tell_ended()

    def _turn(self, pipeline: Pipeline) -> None:
        deliveries = self._inbox.take_many(self._wait_s(), BATCH)
        self._check()
        self._handle(pipeline, deliveries)
        now_ns = self._clock.now_ns()
        # In this order: what a source says it has delivered is in the inbox by then.
        behind = [stream for stream in self._source.streams if self._source.is_behind(stream)]
        behind += [stream for stream in self._source.streams if self._inbox.holds(stream)]
        if not self._has_gone_on and not behind:
            self._go_on(pipeline, now_ns)
            return  # which took seconds with many symbols: the first row is of the time after it
        watermark_ns = self._watermark.advance(now_ns, waiting=behind)
        self._lag_ns = max(0, now_ns - GRACE_NS - watermark_ns)
        tick_ns = floor_to(watermark_ns, self.grid_ns)
        if tick_ns > self._closed_ns:
            self._close_rows(pipeline, tick_ns, now_ns)

    def _wait_s(self) -> float:
        """How long nothing but a message is due."""
        now_ns = self._clock.now_ns()
        next_close_ns = floor_to(now_ns - GRACE_NS, self.grid_ns) + self.grid_ns + GRACE_NS
        return min(LONGEST_WAIT_S, max(0.0, self._clock.machine_seconds(next_close_ns - now_ns)))

    def _handle(self, pipeline: Pipeline, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries in order; those that were received at no time are kept apart."""
        now_ns = self._clock.now_ns()
        good: list[Delivery] = []
        for delivery in deliveries:
            if -MAX_AGE_NS <= delivery.recv_ns - now_ns <= MAX_AHEAD_NS:
                self._watermark.show(delivery.stream, delivery.recv_ns, now_ns=now_ns)
                good.append(delivery)
                continue
            self._take(pipeline, good, now_ns)
            good = []
            pipeline.reject_stamp(delivery.body, recv_ns=now_ns, stamp_ns=delivery.recv_ns)
            if delivery.acknowledge is not None:
                delivery.acknowledge()
        self._take(pipeline, good, now_ns)

    def _take(self, pipeline: Pipeline, deliveries: Sequence[Delivery], now_ns: int) -> None:
        if not deliveries:
            return
        messages = [TimedMessage(delivery.recv_ns, delivery.body) for delivery in deliveries]
        begun = time.perf_counter()
        pipeline.handle_many(messages, on_durable=[delivery.acknowledge for delivery in deliveries])
        took_s = (time.perf_counter() - begun) / len(messages)
        self.stages.observe("handle", *[took_s] * len(messages))
        self.stages.observe("transit", *[(now_ns - message.recv_ns) / SECOND_NS for message in messages])

    def _go_on(self, pipeline: Pipeline, now_ns: int) -> None:
        """Serve the symbols that have a tape, before their first message comes."""
        self._has_gone_on = True
        for symbol in self._symbols:
            pipeline.go_on(symbol, now_ns=now_ns)

    def _close_rows(self, pipeline: Pipeline, tick_ns: int, now_ns: int) -> None:
        before_ns, self._closed_ns = self._closed_ns, tick_ns
        boundary_ns = tick_ns if self._keeps_up() else floor_to(tick_ns, SECOND_NS)
        if before_ns > 0 and pipeline.lanes:
            self.skipped_ticks += ticks_between(before_ns, tick_ns, self.grid_ns) - (boundary_ns % SECOND_NS != 0)
        if boundary_ns <= before_ns or self._advance(pipeline, boundary_ns, now_ns) == 0:
            return
        self.stages.note_closed(boundary_ns, self._clock.now_ns())
        self._on_whole(boundary_ns)
        if boundary_ns // SECOND_NS > before_ns // SECOND_NS:
            self._close_second(pipeline, floor_to(boundary_ns, SECOND_NS), now_ns)

    def _advance(self, pipeline: Pipeline, boundary_ns: int, now_ns: int) -> int:
        """Close the rows up to the boundary, a part of a long silence after the other; how many."""
        closed = 0
        self.stages.rows.note_begun(boundary_ns, now_ns)
        for until_ns in pipeline.steps_to(boundary_ns, leaves_out=True):
            if self._stopping.is_set():
                break
            closed += pipeline.advance(until_ns, now_ns=now_ns)
            if until_ns < boundary_ns:
                self._check()
                now_ns = self._clock.now_ns()
        return closed

    def _keeps_up(self) -> bool:
        """Whether there is time for a tick between seconds."""
        return self._lag_ns < self.grid_ns and not self._is_storing()

    def _close_second(self, pipeline: Pipeline, boundary_ns: int, now_ns: int) -> None:
        is_wanted, self._wants_checkpoints = self._wants_checkpoints, False
        self._keep_checkpoints(pipeline, None if is_wanted else boundary_ns)
        for symbol, lane in pipeline.lanes.items():
            if lane.needs_snapshot and now_ns - self._asked_ns.get(symbol, 0) >= ASK_AGAIN_NS:
                self._ask(symbol, now_ns)

    def _keep_checkpoints(self, pipeline: Pipeline, boundary_ns: int | None, *, waits: bool = False) -> None:
        """Those that are due at a boundary, spread over a minute; without one, all of them.

        waits: for the disk; else what it has no room for follows at a later boundary.
        """
        if self._record is None:
            return
        for place, symbol in enumerate(pipeline.lanes):
            if boundary_ns is None or (boundary_ns // SECOND_NS + place) % CHECKPOINT_EVERY_S == 0:
                self._due_checkpoints[symbol] = None
        while self._due_checkpoints and (waits or self._record.has_room()):
            symbol = next(iter(self._due_checkpoints))
            del self._due_checkpoints[symbol]
            lane = pipeline.lanes[symbol]
            if (checkpoint := lane.checkpoint()) is not None:
                self._record.keep_checkpoint(symbol, checkpoint, lane.durability())

    def _ask(self, symbol: str, now_ns: int) -> None:
        self._asked_ns[symbol] = now_ns
        self.snapshots_asked += 1
        if (loop := self._loop) is not None and not loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._source.request_snapshot(symbol), loop)


def ticks_between(after_ns: int, to_ns: int, grid_ns: int) -> int:
    """Ticks of the grid in (after_ns, to_ns] that are no whole second; both bounds are ticks."""
    return (to_ns - after_ns) // grid_ns - (to_ns // SECOND_NS - after_ns // SECOND_NS)
