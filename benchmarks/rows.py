"""Rows: what a row costs each thread of a worker and Redis, 200 symbols on a grid of 500 ms, published on RabbitMQ."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import redis
from prometheus_client import CollectorRegistry

from benchmarks.live import message_of, stream_of
from benchmarks.measure import KERNEL_CACHE, Figure
from benchmarks.workers import VERSION
from feature_repo.project import PROJECT
from ingestion.messages import TimedMessage
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import ServedRows, available_now
from ingestion.rabbitmq.keyed_exchange import KeyedExchange
from ingestion.sinks.computations import ComputationTally
from ingestion.sinks.latest_rows import LatestRows
from ingestion.sinks.publishing import INTERVALS, LIVE_FEATURES, LivePublisher
from ingestion.sinks.row_record import RowRecord
from ingestion.sinks.sinks import OnlineSink
from ingestion.worker.metrics import StageTimes
from market.clock import MILLISECOND_NS, SECOND_NS, ManualClock
from runtime.embedded import embedded_redis
from runtime.interpreter import tune
from runtime.settings import load_settings
from runtime.wiring import compiled_kernel, dead_letter, instrument_pins
from storage.features.log import FeatureLogWriter
from storage.features.served_ticks import ServedTickWriter
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from tests.broker import Broker

SYMBOLS: Final = tuple(
    f"S{number:03d}USDT" for number in range(int(os.environ.get("FEATURE_SERVICE_BENCH_ROWS_SYMBOLS", "200")))
)
TICKS: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_ROWS_TICKS", "60"))
WARM_TICKS: Final = 10
GRID_NS: Final = 500 * MILLISECOND_NS
LATER_NS: Final = 10 * MILLISECOND_NS
BEGIN_NS: Final = 1_767_571_200 * SECOND_NS
"""The clock is set from tick to tick, each once everybody has the rows of the one before."""


def run(folder: Path) -> Iterator[Figure]:
    broker = Broker()
    try:
        broker.start()
        with embedded_redis(folder / "redis") as address:
            server = redis.Redis(host=address.host, port=address.port)
            store = OnlineStore.connect(redis_settings(f"{address.host}:{address.port}"), project=PROJECT)
            costs, rows = _measure(folder / "data", broker, store, lambda: _server_seconds(server))
    finally:
        broker.remove()
    whole = sum(seconds for name, seconds in costs.items() if name not in ("handle", "redis"))
    details = {name: seconds / rows * 1e6 for name, seconds in costs.items()}
    yield Figure(
        "rows: a row of all features, closed, stored, kept and published, all threads",
        whole / rows * 1e6,
        "us",
        "lower",
        details={"rows": rows, **details},
    )
    yield Figure("rows: of that, the thread that stores rows in Redis", details["online"], "us", "lower", goal="<= 25")
    yield Figure("rows: Redis, beside it", details["redis"], "us", "lower", goal="<= 80")


def _server_seconds(server: redis.Redis) -> float:
    used = server.info("cpu")
    assert isinstance(used, dict), "a synchronous client's answer"
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def _measure(
    folder: Path, broker: Broker, store: OnlineStore, server_seconds: Callable[[], float]
) -> tuple[dict[str, float], int]:
    """Processor seconds by thread, of the ticks after the first ones, and the rows of them."""
    settings = load_settings(
        {"FEATURE_SERVICE_CACHE_PATH": str(KERNEL_CACHE.parent), "FEATURE_SERVICE_DATA_PATH": str(folder)},
        env_file=None,
    )
    kernel = compiled_kernel(settings, VERSION)
    kernel.warm_up()
    clock, stages = ManualClock(BEGIN_NS), StageTimes(CollectorRegistry())
    log = settings.feature_log_storage_path
    record = RowRecord(FeatureLogWriter(log), ServedTickWriter(log), raw_folder=settings.raw_folder)
    tally = ComputationTally(tell=lambda _row: None)

    def note_online(served: Sequence[ServedRows]) -> None:
        for _each in served:
            stages.observe("fresh", 0.01)
        tally.note_stored(served, clock.now_ns())
        record.note_given(served, given_ns=clock.now_ns())

    online = LatestRows(
        OnlineSink(store, fences=lambda: dict.fromkeys(SYMBOLS, 7)),
        on_written=note_online,
        on_whole=lambda _row_ns: tally.note_whole(),
    )
    exchange, ended = KeyedExchange(broker.address, LIVE_FEATURES, list(INTERVALS)), threading.Event()
    publisher = LivePublisher(
        exchange,
        clock=clock,
        make_id=lambda: uuid.uuid4().hex,
        is_storing=lambda: online.is_busy,
    )
    publishing = threading.Thread(target=lambda: asyncio.run(_publish(publisher, exchange, ended)), name="publisher")
    publishing.start()
    pipeline = Pipeline(
        kernel,
        instrument_pins(settings),
        raw_folder=settings.raw_folder,
        dead_letter=dead_letter(settings),
        sinks=[record, tally, online, publisher],
        availability=available_now,
        grid_ns=GRID_NS,
        market=settings.feature_service_market,
        symbols=SYMBOLS,
        history=record,
    )
    tune()
    names = {"newest rows": "online", "row record": "record", "publisher": "publisher"}
    threads = {names[each.name]: each.ident for each in threading.enumerate() if each.name in names}
    clocks: dict[str, Callable[[], float]] = {
        name: partial(time.clock_gettime, time.pthread_getcpuclockid(ident))
        for name, ident in threads.items()
        if ident is not None
    }
    clocks["redis"] = server_seconds
    stream = stream_of(TICKS + WARM_TICKS, 1)
    begun: dict[str, float] = {}
    costs = dict.fromkeys(("compute", "handle"), 0.0)
    rows, pause = 0, threading.Event()
    for tick in range(WARM_TICKS + TICKS):
        if tick == WARM_TICKS:
            begun = {name: read() for name, read in clocks.items()}
            costs, rows = dict.fromkeys(costs, 0.0), 0
        recv_ns, until_ns = BEGIN_NS + tick * GRID_NS + 1000, BEGIN_NS + (tick + 1) * GRID_NS
        bodies = [message_of(stream[tick][1], symbol, f"{symbol}-{tick}", recv_ns) for symbol in SYMBOLS]
        handled_s = time.thread_time()
        for body in bodies:
            pipeline.handle(TimedMessage(recv_ns, body))
        closed_s = time.thread_time()
        clock.set(until_ns + LATER_NS)
        rows += pipeline.advance(until_ns, now_ns=until_ns + LATER_NS)
        online.note_whole(until_ns)
        costs["handle"] += closed_s - handled_s
        costs["compute"] += time.thread_time() - closed_s
        while online.is_busy or record.waiting or publisher.waiting:
            pause.wait(0.002)
    costs |= {name: read() - begun[name] for name, read in clocks.items()}
    ended.set()
    publishing.join()
    pipeline.close()
    return costs, rows


async def _publish(publisher: LivePublisher, exchange: KeyedExchange, ended: threading.Event) -> None:
    running = asyncio.create_task(publisher.run())
    await asyncio.to_thread(ended.wait)
    await publisher.finish()
    await running
    await exchange.close()
