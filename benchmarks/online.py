"""Online: one more row of the whole catalogue, a row of a silent symbol, and messages from bytes to the engine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Final

import orjson

from benchmarks.measure import KERNEL_CACHE, REPEATS, Figure, in_child, percentile
from benchmarks.offline import whole_catalogue
from benchmarks.tape import INSTRUMENT, by_message, by_second, messages, tape_with_history
from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import available_now
from ingestion.worker.worker import BATCH
from market.clock import MINUTE_NS, SECOND_NS, floor_to
from market.events import Events
from storage.instruments import InstrumentPins
from transforms.engine import Engine
from transforms.kernel import Kernel, compile_kernel

_ROWS: Final = 1_000
_WARM_UP_ROWS: Final = 100
_TICK_NS: Final = SECOND_NS // 10


def run(folder: Path) -> Iterator[Figure]:
    yield from in_child(_measure_rows)
    yield from in_child(_measure_messages, folder)
    yield from in_child(_measure_batches, folder)


def _measure_rows() -> list[Figure]:
    """Rows of the last twenty minutes of the tape on a grid of 100 ms: a tick's last message is fed, its row closed."""
    kernel = compile_kernel(whole_catalogue(), KERNEL_CACHE)
    kernel.warm_up()
    events = tape_with_history()
    seconds = by_second(events)[-_ROWS - _WARM_UP_ROWS :]
    before = events[: len(events) - sum(map(len, seconds))]
    engine = Engine(kernel, INSTRUMENT, grid_ns=_TICK_NS)
    engine.feed(before)
    engine.advance(int(before["recv_ns"][-1]) // SECOND_NS * SECOND_NS)
    begin = engine.checkpoint()
    silent: list[list[float]] = []
    between: list[list[float]] = []
    whole: list[list[float]] = []
    for _ in range(REPEATS):
        engine.restore(begin)
        for kept, times in zip((between, whole), _rows_at_ticks(engine, seconds), strict=True):
            kept.append(times[_WARM_UP_ROWS:])
        silent.append(silent_rows(engine, _ROWS))
    second_s = median(percentile(times, 50) for times in whole)
    return [
        _figure("online: one message, then a second's row", whole, 50, goal="<= 30"),
        _figure("online: one message, then a second's row", whole, 99, goal="<= 100"),
        _figure(
            "online: one message, then the row of a tick between seconds",
            between,
            50,
            goal="<= 1.5 of a second's",
            yardstick="a second's row, p50",
            yardstick_s=second_s,
        ),
        _figure("online: one message, then the row of a tick between seconds", between, 99),
        _figure("online: one more row of a silent symbol", silent, 50),
        _figure("online: one more row of a silent symbol", silent, 99),
    ]


def _rows_at_ticks(engine: Engine, seconds: list[Events]) -> tuple[list[float], list[float]]:
    """Durations of the rows between whole seconds, and of those at them: a tick's last message is fed, its row given.

    Either has a tick's messages to apply, so that they differ in the row alone.
    """
    between: list[float] = []
    whole: list[float] = []
    for second in seconds:
        for at, message in enumerate(listed := by_message(second)):
            tick_ns = floor_to(int(message["recv_ns"][-1]), _TICK_NS) + _TICK_NS
            is_last = at + 1 == len(listed) or int(listed[at + 1]["recv_ns"][-1]) >= tick_ns
            begun = time.perf_counter()
            engine.feed(message)
            if not is_last:
                continue
            engine.advance(tick_ns)
            (between if tick_ns % SECOND_NS else whole).append(time.perf_counter() - begun)
    return between, whole


def silent_rows(engine: Engine, count: int) -> list[float]:
    """Seconds of each of ``count`` calls of ``advance`` that close one row without a message."""
    times = []
    for _ in range(count):
        row_ns = engine.next_row_ns
        assert row_ns is not None, "the engine has begun"
        begun = time.perf_counter()
        engine.advance(row_ns)
        times.append(time.perf_counter() - begun)
    return times


def _measure_messages(folder: Path) -> list[Figure]:
    """Two simulated minutes through a pipeline without sinks: decode, tape, engine; rows are closed in between."""
    kernel = compile_kernel(whole_catalogue(), KERNEL_CACHE)
    kernel.warm_up()
    recorded = list(messages(2 * MINUTE_NS))
    rounds, parsing = [], []
    topics: dict[str, list[float]] = defaultdict(list)
    for number in range(REPEATS + 1):
        times = _handled(kernel, recorded, folder / f"pipeline-{number}")
        if number == 0:  # every cache is filled
            continue
        rounds.append(times)
        parsing.append(median(_timed(recorded, lambda message: orjson.loads(message.body), after=lambda _now_ns: None)))
        for message, took in zip(recorded, times, strict=True):
            topics[orjson.loads(message.body)["topic"].partition(".")[0]].append(took)
    details = {f"{topic}_us": percentile(times, 50) * 1e6 for topic, times in sorted(topics.items())}
    return [
        _figure(
            "online: one message through Pipeline.handle",
            rounds,
            percent,
            goal="<= 8" if percent == 50 else "<= 25",
            yardstick="orjson.loads of the same bytes, p50",
            yardstick_s=median(parsing),
            details=details if percent == 50 else {},
        )
        for percent in (50, 99)
    ]


def _measure_batches(folder: Path) -> list[Figure]:
    """The same messages in batches, as a worker takes what waits: seconds of the processor, rows once a second."""
    kernel = compile_kernel(whole_catalogue(), KERNEL_CACHE)
    kernel.warm_up()
    recorded = list(messages(2 * MINUTE_NS))
    batches = _batches(recorded)
    took, singly, each, reading = [], [], [], []
    for number in range(REPEATS + 1):
        with _pipeline(kernel, folder / f"batches-{number}") as pipeline:
            seconds, times = _played(pipeline, batches, pipeline.handle_many)
            reading.append(_read_us(pipeline, batches))
        with _pipeline(kernel, folder / f"one-by-one-{number}") as pipeline:
            one_by_one, _ = _played(pipeline, batches, partial(_handle_each, pipeline))
        if number > 0:  # every cache is filled
            took.append(seconds)
            singly.append(one_by_one)
            each.append(times)
    carried, alone = (sum(map(len, batches[1:])) / median(rounds) for rounds in (took, singly))
    return [
        Figure(
            "online: messages a second that one core carries from a recording",
            carried,
            "1/s",
            "higher",
            goal=">= 40,000",
            yardstick="the same, one by one",
            yardstick_value=alone,
            details={"messages": len(recorded), "batches": len(batches), "read_us": median(reading[1:])},
        ),
        _figure("online: one message of a batch through Pipeline.handle_many", each, 50, goal="<= 8"),
        _figure("online: one message of a batch through Pipeline.handle_many", each, 99, goal="<= 25"),
    ]


def _batches(recorded: list[TimedMessage]) -> list[list[TimedMessage]]:
    """At most BATCH messages each, none across a whole second."""
    cut: list[list[TimedMessage]] = []
    for _, second in groupby(recorded, key=lambda message: message.recv_ns // SECOND_NS):
        listed = list(second)
        cut += [listed[at : at + BATCH] for at in range(0, len(listed), BATCH)]
    return cut


def _played(
    pipeline: Pipeline, batches: list[list[TimedMessage]], handle: Callable[[list[TimedMessage]], object]
) -> tuple[float, list[float]]:
    """Seconds of the processor for all, rows included, without the first batch, and of a message in each batch."""
    handle(batches[0])  # opens the lane
    times = []
    begun_s = time.process_time()
    for batch in batches[1:]:
        pipeline.advance(batch[0].recv_ns, now_ns=batch[0].recv_ns)
        begun = time.perf_counter()
        handle(batch)
        times.append((time.perf_counter() - begun) / len(batch))
    return time.process_time() - begun_s, times


def _read_us(pipeline: Pipeline, batches: list[list[TimedMessage]]) -> float:
    """Processor time that compiled code takes to read one message, of topics that are known."""
    decoder = pipeline.decoders.of(batches[0][0].recv_ns)
    begun_s = time.process_time()
    for batch in batches:
        decoder.read_batch([message.body for message in batch])
    return (time.process_time() - begun_s) / sum(map(len, batches)) * 1e6


def _handle_each(pipeline: Pipeline, batch: list[TimedMessage]) -> None:
    for message in batch:
        pipeline.handle(message)


def _handled(kernel: Kernel, recorded: list[TimedMessage], raw: Path) -> list[float]:
    with _pipeline(kernel, raw) as pipeline:
        return _timed(recorded, pipeline.handle, after=lambda now_ns: pipeline.advance(now_ns, now_ns=now_ns))


def _pipeline(kernel: Kernel, raw: Path) -> closing[Pipeline]:
    return closing(
        Pipeline(
            kernel,
            InstrumentPins(raw),
            raw_folder=raw,
            dead_letter=DeadLetter(raw / "dead_letter.jsonl"),
            sinks=(),
            availability=available_now,
        )
    )


def _timed(
    recorded: list[TimedMessage], handle: Callable[[TimedMessage], object], *, after: Callable[[int], object]
) -> list[float]:
    times = []
    for message in recorded:
        begun = time.perf_counter()
        handle(message)
        times.append(time.perf_counter() - begun)
        after(message.recv_ns)
    return times


def _figure(
    name: str,
    rounds: list[list[float]],
    percent: int,
    *,
    goal: str = "-",
    yardstick: str | None = None,
    yardstick_s: float | None = None,
    details: dict[str, float] | None = None,
) -> Figure:
    """The median over the rounds of one of their percentiles."""
    return Figure(
        f"{name}, p{percent}",
        median(percentile(times, percent) for times in rounds) * 1e6,
        "us",
        "lower",
        goal=goal,
        yardstick=yardstick,
        yardstick_value=None if yardstick_s is None else yardstick_s * 1e6,
        details={"calls": sum(map(len, rounds)), **(details or {})},
    )
