"""Source ``bybit`` with its exchange and the worker behind it, in step: what was sent arrives before more is sent."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from ingestion.messages import TimedMessage
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.sinks import FeatureLogSink
from ingestion.source import Delivery
from ingestion.tape.compaction import compact_tape
from ingestion.venues.bybit.group import LOST_REASON, Patience
from ingestion.venues.bybit.stream import BybitSource
from market.clock import ManualClock
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from storage.tape import read_tape
from tests import waiting
from tests.bybit_exchange import BybitExchange
from tests.pipelines import pipeline_in
from training_sets.builds.verification import verify_parity
from training_sets.rebuild.raw_history import RawHistory
from transforms.kernel import Kernel
from transforms.rows import FeatureRows

SYMBOLS = ("BTCUSDT", "ETHUSDT")
BOOK = "orderbook.200.BTCUSDT"
DEADLINE_S = 30.0
eventually = partial(waiting.eventually_async, deadline_s=DEADLINE_S, pause_s=0)
QUICK = Patience(first_pause=0.01, longest_pause=0.05, overlap=5.0, snapshot=0.1)
Recorded = list[tuple[int, dict[str, Any]]]


class Collected:
    """A sink that keeps every row."""

    def __init__(self) -> None:
        self.parts: dict[str, list[FeatureRows]] = {}

    def write(self, served: Sequence[ServedRows]) -> None:
        for each in served:
            self.parts.setdefault(each.rows.symbol, []).append(each.rows)

    def close(self) -> None:
        """Nothing is open."""

    def bits(self, symbol: str) -> tuple[list[int], bytes]:
        parts = self.parts[symbol]
        values = np.concatenate([part.values for part in parts])
        return np.concatenate([part.row_ns for part in parts]).tolist(), values.tobytes()


class Worker:
    """The pipeline behind a source, on the clock of what is published."""

    def __init__(self, folder: Path, kernel: Kernel) -> None:
        self.raw = folder / "raw"
        self.features = folder / "features"
        self.kernel = kernel
        self.rows = Collected()
        self.delivered = 0
        self.streams: Counter[str] = Counter()
        self.pipeline = pipeline_in(self.raw, kernel, FeatureLogSink(FeatureLogWriter(self.features)), self.rows)

    async def deliver(self, delivery: Delivery) -> None:
        self.pipeline.advance(delivery.recv_ns, now_ns=delivery.recv_ns)
        self.pipeline.handle(TimedMessage(delivery.recv_ns, delivery.body))
        self.delivered += 1
        self.streams[delivery.stream] += 1

    def on_tape(self, symbol: str) -> list[dict[str, Any]]:
        return [json.loads(frame.body) for frame in read_tape(self.raw, symbol)]

    def losses(self, symbol: str) -> int:
        return sum(message.get("reason") == LOST_REASON for message in self.on_tape(symbol))

    def trades(self, symbol: str) -> list[str]:
        messages = [message for message in self.on_tape(symbol) if message["topic"].startswith("publicTrade")]
        return [trade["i"] for message in messages for trade in message["data"]]

    def check_parity(self) -> None:
        """The rows that were served are those a rebuild makes of what was taped."""
        for symbol in self.pipeline.symbols:
            compact_tape(self.raw, symbol, InstrumentPins(self.raw))
        parity = verify_parity(RawHistory.of(RawData(self.raw)), FeatureLog(self.features), self.kernel)
        assert parity.is_exact, parity


class Live:
    """Exchange, source and worker, in step: a message is published once the one before it has arrived."""

    def __init__(self, exchange: BybitExchange, source: BybitSource, worker: Worker, clock: ManualClock) -> None:
        self.exchange = exchange
        self.source = source
        self.worker = worker
        self.clock = clock

    async def publish(self, messages: Recorded) -> None:
        for recv_ns, message in messages:
            self.clock.set(recv_ns)
            before = self.worker.delivered
            if await self.exchange.publish(message):
                # Of two connections one brings it; the other may be closed with it unread.
                await eventually(lambda before=before: self.worker.delivered > before)  # type: ignore[misc]  # mypy cannot infer a default's type

    async def is_subscribed(self, connections: int = 1) -> None:
        """Until that many connections have every topic of every symbol."""
        await eventually(lambda: [len(set(each)) for each in self.exchange.subscriptions.values()] == [8] * connections)

    def asked(self, operation: str) -> list[list[str]]:
        return [request.get("args", []) for request in self.exchange.requests if request["op"] == operation]


@asynccontextmanager
async def live(
    folder: Path, kernel: Kernel, *, patience: Patience = QUICK, symbols: tuple[str, ...] = SYMBOLS
) -> AsyncIterator[Live]:
    async with BybitExchange(SYMBOLS) as exchange:
        worker, clock = Worker(folder, kernel), ManualClock(1)
        source = BybitSource(symbols, url=exchange.url, clock=clock, rng=Random(1), patience=patience)
        running = asyncio.create_task(source.run(worker.deliver))
        found = Live(exchange, source, worker, clock)
        try:
            await found.is_subscribed()
            yield found
        finally:
            await source.close()
            await asyncio.wait_for(running, DEADLINE_S)
            worker.pipeline.close()


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(body())


async def lose_a_delta(found: Live, recorded: Recorded) -> None:
    """Publish up to message 700 without one delta of the book, which the worker must miss."""
    lost = next(at for at in range(600, 700) if recorded[at][1]["topic"] == BOOK)
    await found.publish(recorded[600:lost])
    await found.exchange.publish(recorded[lost][1], is_lost=True)
    await found.publish(recorded[lost + 1 : 700])
    assert found.worker.pipeline.gaps == 1
