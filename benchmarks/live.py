"""Live: messages on RabbitMQ to vectors in Redis, 20 symbols at 100 messages a second each, against a bare loop."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import aio_pika
import redis

from benchmarks.measure import Figure, percentile
from benchmarks.workers import start_process, start_worker
from feature_repo.project import PROJECT
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import DAY_NS, SECOND_NS, format_iso
from runtime.embedded import embedded_postgres, embedded_redis
from runtime.servers import Servers
from runtime.wiring import metadata_store
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from tests.broker import Broker
from tests.gateway import QUEUES, envelopes
from tests.live import NO_EXCHANGE

SYMBOLS: Final = tuple(
    f"S{number:02d}USDT" for number in range(int(os.environ.get("FEATURE_SERVICE_BENCH_LIVE_SYMBOLS", "20")))
)
RATE: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_LIVE_RATE", "100"))
"""Messages a second of each symbol."""
SECONDS: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_LIVE_S", "120"))
WARM_UP_S: Final = 5
_STAGES: Final = {
    "close": "a row's time until every symbol's row is closed, 10 ms grace included",
    "transit": "a message's stamp until the engine has it",
    "fresh": "the stamp of the newest message in a row until Redis holds the row",
}
"""The worker's stages that are figures in addition to the row's own, with their names."""
_PLACE_OF_TIME: Final = b"2026-01-05T00:00:00.000001"
_PLACE_OF_ID: Final = b"the-event-id"


def run(folder: Path) -> Iterator[Figure]:
    broker = Broker()
    try:
        broker.start()
        broker.declare([*QUEUES.values(), "bare"])
        with embedded_redis(folder / "redis") as address, embedded_postgres(folder / "postgres") as url:
            servers = Servers(redis_settings(f"{address.host}:{address.port}", db=0), url)
            with metadata_store(servers):
                pass
            bare = _bare(broker, address.port)
            yield from _live(folder, broker, servers, bare)
    finally:
        broker.remove()


def stream_of(seconds: int, rate: int) -> list[tuple[str, bytes]]:
    """Queue and body of one symbol's messages, with one text where symbol, times and ids go, each."""
    begin_ns = 1_767_571_200 * SECOND_NS
    wanted = seconds * rate
    messages = simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=begin_ns, duration_ns=DAY_NS)
    taken = [next(messages) for _ in range(wanted)]
    return [
        (each.queue, _with_places(each.body))
        for each in envelopes([replace(message, recv_ns=begin_ns) for message in taken], begin_ns=begin_ns)[:wanted]
    ]


def _with_places(body: bytes) -> bytes:
    places = {"received_at": _PLACE_OF_TIME.decode(), "event_id": _PLACE_OF_ID.decode()}
    return json.dumps({**json.loads(body), **places}).encode()


def message_of(body: bytes, symbol: str, event_id: str, stamp_ns: int) -> bytes:
    """A message of the stream as one of a symbol, sent at a time."""
    stamp = format_iso(stamp_ns).removesuffix("Z").encode()
    own = body.replace(b"BTCUSDT", symbol.encode()).replace(_PLACE_OF_TIME, stamp)
    return own.replace(_PLACE_OF_ID, event_id.encode(), 1)


@dataclass(frozen=True, slots=True)
class Load:
    """What is published.

    rate: messages a second of each symbol. name: tells its messages from those of another. is_spread: whether symbols
    take turns between two messages of one, instead of sending all at once: a burst meets a row's time or does not,
    which would be another figure in each run.
    """

    symbols: Sequence[str] = SYMBOLS
    rate: int = RATE
    name: str = ""
    is_spread: bool = False


LOAD: Final = Load()
SHORTEST_SLEEP_S: Final = 0.001
"""Messages that are due sooner are sent together."""


async def _publish(port: int, stream: Sequence[tuple[str, bytes]], queue: str | None, load: Load) -> None:
    """Every symbol's messages at their rate; each is stamped when it is sent."""
    connection = await aio_pika.connect(host="127.0.0.1", port=port)
    channel = await (await connection.channel(publisher_confirms=False)).get_underlay_channel()
    properties = aio_pika.Message(b"", delivery_mode=aio_pika.DeliveryMode.PERSISTENT).properties
    begun = time.monotonic()
    for number, (target, body) in enumerate(stream):
        for place, symbol in enumerate(load.symbols):
            due = number + (place / len(load.symbols) if load.is_spread else 0)
            ahead_s = begun + due / load.rate - time.monotonic()
            if ahead_s > SHORTEST_SLEEP_S or (place == 0 and ahead_s > 0):
                await asyncio.sleep(ahead_s)
            own = message_of(body, symbol, f"{symbol}-{load.name}{number}", time.time_ns())
            await channel.basic_publish(own, routing_key=queue or target, properties=properties)
    await connection.close()


def publish_load(port: int, seconds: int, queue: str | None, load: Load = LOAD) -> None:
    asyncio.run(_publish(port, stream_of(seconds, load.rate), queue, load))


def _bare(broker: Broker, redis_port: int) -> list[float]:
    """Seconds from stamp to HSET of the plainest consumer there is, over a fourth of the time."""
    seconds = max(10, SECONDS // 4)
    publishing = start_process(publish_load, broker.port, seconds, "bare")
    client = redis.Redis(port=redis_port)
    times: list[float] = []

    async def consume() -> None:
        connection = await aio_pika.connect(host="127.0.0.1", port=broker.port)
        channel = await connection.channel()
        await channel.set_qos(2000)

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            stamp = json.loads(message.body)["received_at"]
            client.hset("bare", mapping={"body": message.body})
            times.append(time.time() - _seconds(stamp))
            await message.ack()

        await (await channel.declare_queue("bare", passive=True)).consume(take)
        before = -1
        while publishing.is_alive() or len(times) != before:
            before = len(times)
            await asyncio.sleep(1)
        await connection.close()

    asyncio.run(consume())
    publishing.join()
    client.delete("bare")
    return times[len(times) // 10 :]


def _seconds(stamp: str) -> float:
    from market.clock import parse_iso_ns

    return parse_iso_ns(stamp) / 1e9


def _live(folder: Path, broker: Broker, servers: Servers, bare: list[float]) -> Iterator[Figure]:
    settings = {"FEATURE_SERVICE_SYMBOLS": ",".join(SYMBOLS), "BYBIT_REST_URL": NO_EXCHANGE}
    worker = start_worker(folder / "data", broker.port, servers, settings)
    publishing = start_process(publish_load, broker.port, SECONDS, None)
    ages: list[float] = []
    store = OnlineStore.connect(servers.online_store, project=PROJECT)
    pause = threading.Event()
    first = time.monotonic()
    while publishing.is_alive():
        symbol = SYMBOLS[len(ages) % len(SYMBOLS)]
        [vector] = store.read([symbol])
        if vector is not None:
            ages.append((time.time_ns() - vector.row_ns) / 1e9)
        else:
            first = time.monotonic()
        pause.wait(0.01)
        if time.monotonic() - first < WARM_UP_S:
            ages.clear()
    store.close()
    found = worker.end()
    stages, counts = found["status"]["stages"], found["status"]["worker"]
    rows = {symbol: each["rows"] for symbol, each in found["status"]["symbols"].items()}
    details = {
        "messages": counts["messages_total"],
        "late": sum(each["late"] for each in found["status"]["symbols"].values()),
        "fewest_rows": min(rows.values()),
        "cpu_cores": found["cpu"],
        "memory_begin_mb": found["memory_mb"][len(found["memory_mb"]) // 3],
        "memory_end_mb": found["memory_mb"][-1],
        "rows_at_seconds": counts["rows_total"],
        "rows_between": counts["tick_rows_total"],
        "skipped_ticks": counts["skipped_ticks_total"],
    }
    bare_ms = {percent: percentile(bare, percent) * 1e3 for percent in (50, 95, 99)}
    yardstick = "bare publish, consume, HSET"
    for percent in (50, 95, 99):
        yield Figure(
            f"live: a row's time until Redis holds every symbol's vector, 10 ms grace included, p{percent}",
            stages["online"][f"p{percent}_ms"],
            "ms",
            "lower",
            yardstick,
            bare_ms[percent],
            goal="p99 <= 20" if percent == 99 else "-",
            required="p95 <= 70" if percent == 95 else "-",
            details=details if percent == 50 else {},
        )
    for stage, name in _STAGES.items():
        for percent in (50, 95, 99):
            value = stages[stage][f"p{percent}_ms"]
            yield Figure(f"live: {name}, p{percent}", value, "ms", "lower", yardstick, bare_ms[percent])
    for percent in (50, 95, 99):
        yield Figure(
            f"live: age of a vector when it is read, since its tick, grid {counts['row_grid_ms']:g} ms, p{percent}",
            percentile(ages, percent) * 1e3,
            "ms",
            "lower",
            goal="p95 <= grid + 60" if percent == 95 else "-",
        )
