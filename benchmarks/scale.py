"""Scale: what one message, one row and one symbol cost, from which docs/scale.md calculates the needs of many."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, cast

import redis

from benchmarks.measure import KERNEL_CACHE, Figure, in_child
from benchmarks.offline import VERSION, whole_catalogue
from benchmarks.tape import SYMBOL, messages
from feature_repo.project import PROJECT
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import ServedRows, available_now
from ingestion.sinks.sinks import FeatureLogSink, OnlineSink
from ingestion.tape.compaction import compact_tape
from market.clock import MINUTE_NS, SECOND_NS
from runtime.embedded import embedded_redis
from storage.features.log import FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from transforms.kernel import compile_kernel

_MINUTES: Final = 20
_GRID_NS: Final = SECOND_NS // 10
TAPE_BYTES: Final = "scale: a message on the tape"
PARQUET_BYTES: Final = "scale: a message in raw Parquet"
ROW_BYTES: Final = "scale: a row of one second in the feature log"
REDIS_BYTES: Final = "scale: a symbol in Redis"
MESSAGE_CPU: Final = "scale: processor time of a message, from its bytes to the tape and the engine"
ROW_CPU: Final = "scale: processor time of a row, computed and sent to Redis"
REDIS_CPU: Final = "scale: processor time of a row in Redis"
COMPACT_CPU: Final = "scale: processor time of a message in compaction"


def run(folder: Path) -> Iterator[Figure]:
    yield from in_child(_measure, folder)


class _Spent:
    """Processor seconds of this process, all threads, spent in one kind of work."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._begun


class _Counted:
    """A sink that counts the rows that reach it."""

    def __init__(self) -> None:
        self.rows = 0

    def write(self, served: Sequence[ServedRows]) -> None:
        self.rows += sum(len(each.rows) for each in served)

    def close(self) -> None:
        """Nothing is open."""


def _measure(folder: Path) -> list[Figure]:
    """Twenty simulated minutes of a busy symbol on a grid of 100 ms, with feature log and Redis."""
    kernel = compile_kernel(whole_catalogue(), KERNEL_CACHE)
    kernel.warm_up()
    recorded = list(messages(_MINUTES * MINUTE_NS))
    raw, features = folder / "raw", folder / "features"
    pins = InstrumentPins(raw)
    handling, closing_rows, compacting = _Spent(), _Spent(), _Spent()
    counted = _Counted()
    with embedded_redis(folder / "redis") as address:
        client = redis.Redis(host=address.host, port=address.port)
        store = OnlineStore.connect(redis_settings(f"{address.host}:{address.port}"), project=PROJECT)
        pipeline = Pipeline(
            kernel,
            pins,
            raw_folder=raw,
            dead_letter=DeadLetter(raw / "dead_letter.jsonl"),
            sinks=(FeatureLogSink(FeatureLogWriter(features)), OnlineSink(store), counted),
            availability=available_now,
            grid_ns=_GRID_NS,
        )
        with closing(pipeline):
            for message in recorded:
                with handling:
                    pipeline.handle(message)
                with closing_rows:
                    pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
        calls = client.info("commandstats")
        assert isinstance(calls, dict)
        redis_us = float(calls["cmdstat_evalsha"]["usec_per_call"])
        redis_bytes = sum(cast("int", client.memory_usage(key, samples=0)) for key in client.scan_iter())
        client.close()
    tape_bytes = _size(raw / "tape")
    with compacting:
        compact_tape(raw, SYMBOL, pins)
    seconds = _MINUTES * 60
    count = len(recorded)
    return [
        _figure(MESSAGE_CPU, handling.seconds / count * 1e6, "us", messages_a_second=count / seconds),
        _figure(ROW_CPU, closing_rows.seconds / counted.rows * 1e6, "us", rows=counted.rows, version=VERSION),
        _figure(REDIS_CPU, redis_us, "us"),
        _figure(COMPACT_CPU, compacting.seconds / count * 1e6, "us"),
        _figure(TAPE_BYTES, tape_bytes / count, "bytes"),
        _figure(PARQUET_BYTES, _size(raw, "*.parquet") / count, "bytes"),
        _figure(ROW_BYTES, _size(features, "*.parquet") / seconds, "bytes"),
        _figure(REDIS_BYTES, redis_bytes, "bytes"),
    ]


def _figure(name: str, value: float, unit: str, **details: object) -> Figure:
    return Figure(name, value, unit, "lower", details=details)


def _size(folder: Path, pattern: str = "*") -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())
