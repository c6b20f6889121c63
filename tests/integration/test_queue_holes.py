"""Queues of a real broker that vanish, are cut off or overflow: what was missed is on the tape, and in no window."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aio_pika
import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import available_now
from ingestion.source import Delivery
from ingestion.sources.gateway import queues as gateway
from ingestion.sources.gateway.queues import HOLES, GatewaySource
from ingestion.tape.compaction import compact_tape
from ingestion.tape.report import tape_stats
from ingestion.venues.bybit.decode import Decoder
from market.clock import SECOND_NS, SystemClock, ceil_to, format_iso
from market.events import GAP, ORDERBOOK, START, TICKER, TRADE
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.broker import Broker
from tests.fed_engine import PinsInMemory
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.kernel import Kernel, compile_kernel

BOOKS: Final = gateway.ORDER_BOOK_QUEUE
TRADES: Final = "ws-gateway.trade"
TICKERS: Final = "ws-gateway.ticker"
QUEUES: Final = (BOOKS, TRADES, TICKERS)
DEADLINE_S: Final = 30.0


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


def envelope(topic: str, number: int, payload: dict[str, object]) -> bytes:
    at = format_iso(SystemClock().now_ns()).removesuffix("Z")
    document = {"event_type": "any", "topic": topic, "timestamp": at, "received_at": at, "trace_id": None}
    return json.dumps({"event_id": f"{topic} {number}", **document, "payload": payload}).encode()


def message(queue: str, number: int) -> bytes:
    if queue == BOOKS:
        levels = {"b": [["100.0", "1"]], "a": [["100.1", "1"]]}
        kind = "snapshot" if number == 0 else "delta"
        return envelope("orderbook.50.BTCUSDT", number, {"s": "BTCUSDT", "u": 10 + number, "type": kind, **levels})
    if queue == TRADES:
        trade = {"T": 1_795_168_800_000, "s": "BTCUSDT", "S": "Buy", "v": "2", "p": "100.1", "i": f"t{number}"}
        return envelope("publicTrade.BTCUSDT", number, trade)
    return envelope("tickers.BTCUSDT", number, {"symbol": "BTCUSDT", "fundingRate": "0.0001", "lastPrice": "100"})


class Reading:
    """A source that is read, and everything that it delivered."""

    def __init__(self, broker: Broker) -> None:
        self.delivered: list[Delivery] = []
        self.source = GatewaySource(broker.address, QUEUES, clock=SystemClock())
        self._came = asyncio.Condition()

    async def take(self, delivery: Delivery) -> None:
        async with self._came:
            self.delivered.append(delivery)
            self._came.notify_all()
        if delivery.acknowledge is not None:
            delivery.acknowledge()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._came:
            await self._came.wait_for(is_so)

    def of(self, queue: str) -> int:
        return sum(each.stream == queue for each in self.delivered)

    def marks(self) -> list[tuple[int, int, str]]:
        """Field, kind and reason of each mark."""
        decoder = Decoder(PinsInMemory())
        found = []
        for each in self.delivered:
            if each.stream == HOLES:
                decoded = decoder.decode(each.body)
                assert decoded is not None
                record = decoded.records[0]
                found.append((int(record["field"]), int(record["px"]), json.loads(each.body)["reason"]))
        return found


@asynccontextmanager
async def reading(broker: Broker) -> AsyncIterator[Reading]:
    read = Reading(broker)
    running = asyncio.create_task(read.source.run(read.take))
    try:
        yield read
    finally:
        await read.source.close()
        await read.source.release()
        await asyncio.wait_for(running, DEADLINE_S)


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    own = Broker()
    try:
        own.start()
        own.declare(QUEUES)
        yield own
    finally:
        own.remove()


async def publish(broker: Broker, queue: str, number: int) -> None:
    await asyncio.to_thread(broker.publish, [(queue, message(queue, number))])


async def delete(broker: Broker, queue: str) -> None:
    async def act(channel: aio_pika.abc.AbstractChannel) -> None:
        await channel.queue_delete(queue)

    await asyncio.to_thread(broker.do, act)


def served_rows(raw: Path, kernel: Kernel, delivered: list[Delivery]) -> tuple[list[float], list[float]]:
    """Volume of three seconds by row of the deliveries computed as a worker does, and of the rebuild."""
    pins = InstrumentPins(raw)
    pipeline = Pipeline(
        kernel, pins, raw_folder=raw, dead_letter=DeadLetter(raw / "dead"), sinks=[], availability=available_now
    )
    rows: list[float] = []
    at = kernel.feature_set.columns.index("volume_3s")
    try:
        for each in delivered:
            for lane in pipeline.lanes.values():
                closed = lane.compute(each.recv_ns)
                lane.note_closed(closed)
                rows += closed.values[:, at].tolist()
            pipeline.handle(TimedMessage(each.recv_ns, each.body))
    finally:
        pipeline.close()
    compact_tape(raw, "BTCUSDT", pins)
    rebuilt = rebuild_rows(RawData(raw), "BTCUSDT", kernel)
    return rows, rebuilt.values[:, at].tolist()


def test_a_queue_that_is_deleted_and_comes_back_is_a_hole_in_every_window_over_it(
    tmp_path: Path, kernel: Kernel, own_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> Reading:
        async with reading(own_broker) as read:
            for queue in QUEUES:
                await publish(own_broker, queue, 0)
            await read.until(lambda: all(read.of(queue) == 1 for queue in QUEUES))
            await delete(own_broker, TRADES)
            # Longer than any window of three seconds, so that its silence would be told as nothing traded.
            await read.until(lambda: len(read.marks()) >= 6)
            await asyncio.to_thread(own_broker.declare, [TRADES])
            await read.until(lambda: any("was not read for" in reason for _, _, reason in read.marks()))
            for number in range(1, 12):
                await publish(own_broker, TRADES, number)
            await read.until(lambda: read.of(TRADES) == 12)
        return read

    read = asyncio.run(run())
    marks = read.marks()
    assert {(field, kind) for field, kind, _ in marks} == {(START, TRADE)}
    assert read.source.holes == 1
    told = [record.getMessage() for record in caplog.records if "was not read for" in record.getMessage()]
    assert len(told) == 1
    assert "lost" in told[0]

    rows, rebuilt = served_rows(tmp_path, kernel, read.delivered)
    assert np.array_equal(rows, rebuilt[: len(rows)], equal_nan=True)
    gone_ns = next(each.recv_ns for each in read.delivered if each.stream == HOLES)
    first_ns = ceil_to(read.delivered[0].recv_ns, SECOND_NS)
    over = [volume for at, volume in enumerate(rows) if first_ns + at * SECOND_NS > gone_ns]
    assert len(over) >= 3
    assert np.isnan(over[:3]).all(), "no window over the hole says that nothing was traded"
    starts = sum(each.messages for each in tape_stats(tmp_path, "BTCUSDT") if each.type == "feature-service.start")
    assert starts == len(marks)


def test_an_order_book_queue_that_is_deleted_loses_the_book_and_one_of_tickers_its_fields(own_broker: Broker) -> None:
    async def run() -> Reading:
        async with reading(own_broker) as read:
            for queue in QUEUES:
                await publish(own_broker, queue, 0)
            await read.until(lambda: all(read.of(queue) == 1 for queue in QUEUES))
            for queue in (BOOKS, TICKERS):
                await delete(own_broker, queue)
            await read.until(lambda: {kind for _, kind, _ in read.marks()} >= {ORDERBOOK, TICKER})
        return read

    marks = {(field, kind) for field, kind, _ in asyncio.run(run()).marks()}
    assert marks == {(GAP, 0), (START, ORDERBOOK), (START, TICKER)}


def test_a_connection_that_is_lost_is_a_hole_of_trades_while_it_lasts_and_keeps_the_book(own_broker: Broker) -> None:
    async def run() -> Reading:
        async with reading(own_broker) as read:
            for queue in QUEUES:
                await publish(own_broker, queue, 0)
            await read.until(lambda: all(read.of(queue) == 1 for queue in QUEUES))
            await asyncio.to_thread(own_broker.stop)
            await read.until(lambda: len(read.marks()) >= 4)
            await asyncio.to_thread(own_broker.start)
            await publish(own_broker, TRADES, 1)
            await read.until(lambda: read.of(TRADES) == 2)
            await read.until(lambda: sum("kept" in reason for _, _, reason in read.marks()) >= 2)
        return read

    marks = {(field, kind) for field, kind, _ in asyncio.run(run()).marks()}
    assert marks == {(START, TRADE), (START, ORDERBOOK)}
