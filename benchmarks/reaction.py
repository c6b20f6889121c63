"""Reaction: how soon a lost order book is known again, and a position event is in the vector."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aio_pika
import aiormq
import httpx

from benchmarks.measure import Figure, percentile
from benchmarks.workers import start_worker
from feature_repo.project import PROJECT
from market.clock import format_iso
from runtime.embedded import embedded_postgres, embedded_redis
from runtime.servers import Servers
from runtime.wiring import metadata_store
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from storage.online.vector import OnlineVector
from tests.broker import Broker
from tests.bybit_rest import Book, OrderBookRest, book_after
from tests.gateway import QUEUES, SubscriptionApi

SYMBOL: Final = "BTCUSDT"
TOPIC: Final = f"orderbook.200.{SYMBOL}"
TIMES: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_REACTION_N", "100"))
PACE_S: Final = 0.02
"""Between two messages of the order book."""
BEST_ASK: Final = Decimal("130.5")
POSITION_QUEUE: Final = "ws-gateway.position"
POSITION_UPDATES: Final = "position-manager.position_updated"
DEADLINE_S: Final = 60.0


def run(folder: Path) -> Iterator[Figure]:
    broker, api = Broker(), SubscriptionApi()
    try:
        broker.start()
        broker.declare([*QUEUES.values(), POSITION_QUEUE, POSITION_UPDATES])
        with embedded_redis(folder / "redis") as address, embedded_postgres(folder / "postgres") as url:
            servers = Servers(redis_settings(f"{address.host}:{address.port}", db=0), url)
            with metadata_store(servers):
                pass
            with closing(OnlineStore.connect(servers.online_store, project=PROJECT)) as store:
                yield from _measure(folder, broker, api, servers, store)
    finally:
        api.close()
        broker.remove()


class Market:
    """An order book that changes every ``PACE_S`` on one connection, whose messages can be lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sides = {"b": {f"{100 + at}.5": "1" for at in range(20)}, "a": {f"{130 + at}.5": "1" for at in range(20)}}
        self._best_bid = Decimal("120.00")
        self._u, self._seq = 100, 1000
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._channel: aiormq.abc.AbstractChannel | None = None

    def run(self) -> None:
        """Publish until ``stop``."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)

    def book(self) -> Book:
        """As the exchange's REST interface knows it now."""
        with self._lock:
            return book_after([self._message("snapshot", self._sides)])

    def send_snapshot(self) -> None:
        """What the gateway passes on after a new subscription."""

        async def send() -> None:
            with self._lock:
                body = self._message("snapshot", self._sides)
            await self._publish(QUEUES["orderbook"], _envelope(body))

        asyncio.run_coroutine_threadsafe(send(), self._loop)

    def lose_one(self) -> tuple[float, float]:
        """Change the mid price, then something else, and publish the latter alone; when that was, and the mid price."""

        async def lose() -> tuple[float, float]:
            mid = self._change_mid()
            begun_s = time.time()
            await self._publish(QUEUES["orderbook"], _envelope(self._change()))
            return begun_s, mid

        return asyncio.run_coroutine_threadsafe(lose(), self._loop).result(DEADLINE_S)

    def send(self, queue: str, document: dict[str, Any]) -> float:
        """Publish something else; when that was."""

        async def send() -> float:
            begun_s = time.time()
            await self._publish(queue, document)
            return begun_s

        return asyncio.run_coroutine_threadsafe(send(), self._loop).result(DEADLINE_S)

    async def _run(self) -> None:
        connection = await aio_pika.connect(host="127.0.0.1", port=self._port)
        async with connection:
            self._channel = await (await connection.channel(publisher_confirms=False)).get_underlay_channel()
            await self._publish(QUEUES["orderbook"], _envelope(self._message("snapshot", self._sides)))
            while not self._over.is_set():
                await self._publish(QUEUES["orderbook"], _envelope(self._change()))
                await asyncio.sleep(PACE_S)

    async def _publish(self, queue: str, document: dict[str, Any]) -> None:
        assert self._channel is not None, "the market runs"
        await self._channel.basic_publish(json.dumps(document).encode(), routing_key=queue)

    def _change(self) -> Book:
        with self._lock:
            self._u += 1
            self._seq += 7
            side, size = ("b", "a")[self._u % 2], str(1 + self._u % 5)
            price = list(self._sides[side])[self._u % 20]
            self._sides[side][price] = size
            return self._message("delta", {"b": {}, "a": {}, side: {price: size}})

    def _change_mid(self) -> float:
        """A best bid that there was not before; the mid price with it."""
        with self._lock:
            self._u += 1
            self._seq += 7
            self._sides["b"].pop(f"{self._best_bid}", None)
            self._best_bid += Decimal("0.01")
            self._sides["b"][f"{self._best_bid}"] = "1"
            return float((self._best_bid + BEST_ASK) / 2)

    def _message(self, kind: str, sides: Mapping[str, Mapping[str, str]]) -> Book:
        levels = {side: [list(level) for level in prices.items()] for side, prices in sides.items()}
        return {"s": SYMBOL, **levels, "u": self._u, "seq": self._seq, "topic": TOPIC, "type": kind}


def _envelope(payload: Book) -> dict[str, Any]:
    return {
        "event_id": uuid4().hex,
        "event_type": "orderbook",
        "topic": TOPIC,
        "timestamp": _now(),
        "received_at": _now(),
        "payload": payload,
        "trace_id": None,
    }


def _now() -> str:
    return format_iso(time.time_ns()).removesuffix("Z")


def _measure(
    folder: Path, broker: Broker, api: SubscriptionApi, servers: Servers, store: OnlineStore
) -> Iterator[Figure]:
    market = Market(broker.port)
    rest = OrderBookRest(lambda _symbol: market.book())
    changes = {
        "FEATURE_SERVICE_SYMBOLS": SYMBOL,
        "WS_GATEWAY_HOST": "127.0.0.1",
        "WS_GATEWAY_PORT": str(api.port),
        "WS_GATEWAY_API_KEY": api.api_key,
        "POSITION_MANAGER_HOST": "127.0.0.1",
        "POSITION_MANAGER_PORT": "9",
        "BYBIT_REST_URL": rest.url,
    }
    worker = start_worker(folder / "data", broker.port, servers, changes)
    trading = threading.Thread(target=market.run, daemon=True)
    trading.start()
    try:
        _until(store, lambda vector: vector is not None and "mid_price" not in vector.missing)
        bare = [_seconds(lambda: httpx.get(f"{rest.url}/v5/market/orderbook?symbol={SYMBOL}")) for _ in range(TIMES)]
        api.on_subscribed = lambda _body: market.send_snapshot()
        yield from _book_figures("the gateway brings the snapshot", market, store, bare, goal="p99 <= 250 + the answer")
        api.on_subscribed = lambda _body: None
        yield from _book_figures("the exchange's REST interface does", market, store, bare, goal="<= 250 + the answer")
        events = [_position_s(market, store, number) for number in range(TIMES)]
        for percent in (50, 99):
            yield Figure(
                f"reaction: a position event until the vector in Redis has it, p{percent}",
                percentile(events, percent) * 1e3,
                "ms",
                "lower",
                goal="<= 20",
                required="<= 100",
            )
    finally:
        market.stop()
        trading.join()
        worker.end()
        rest.close()


def _book_figures(how: str, market: Market, store: OnlineStore, bare: list[float], *, goal: str) -> Iterator[Figure]:
    times = [_lost_s(market, store) for _ in range(max(5, TIMES // 4))]
    for percent in (50, 99):
        yield Figure(
            f"reaction: a lost order book until the vector in Redis knows it again, {how}, p{percent}",
            percentile(times, percent) * 1e3,
            "ms",
            "lower",
            "one request to the same stand-in",
            percentile(bare, percent) * 1e3,
            goal=goal,
            required="<= 1000",
        )


def _lost_s(market: Market, store: OnlineStore) -> float:
    """Seconds from the message that shows the gap until the vector knows what the lost one told."""
    begun_s, mid = market.lose_one()
    _until(store, lambda vector: vector is not None and abs(_value(vector, "mid_price") - mid) < 1e-6)
    return time.time() - begun_s


def _position_s(market: Market, store: OnlineStore, number: int) -> float:
    """Seconds from publishing a position until the vector holds it."""
    size = number + 1.0
    document = {"event_type": "position_updated", "position_id": str(number), "asset": SYMBOL, "size": str(size)}
    begun_s = market.send(POSITION_UPDATES, {**document, "timestamp": _now()})
    _until(store, lambda vector: vector is not None and _value(vector, "position_size") == size)
    return time.time() - begun_s


def _value(vector: OnlineVector, column: str) -> float:
    return float(vector.values[vector.columns.index(column)])


def _until(store: OnlineStore, is_so: Callable[[OnlineVector | None], bool]) -> None:
    deadline, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not is_so(store.read([SYMBOL])[0]):
        assert time.monotonic() < deadline, "must become so before the deadline"
        pause.wait(0.0005)


def _seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun
