"""Workers that share the gateway's symbols by a consistent-hash exchange, on a real broker, one of them killed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import Popen

import pytest

from ingestion.rabbitmq.connection import BrokerAddress
from ingestion.rabbitmq.reading import QueueReader
from ingestion.rabbitmq.writing import HashExchange
from ingestion.sources.gateway.queues import GatewaySource
from ingestion.sources.gateway.sharing import Dispatcher, exchange_name, routing_symbol, shard_queues
from ingestion.venues.bybit.decode import Decoder
from market.clock import SECOND_NS, SystemClock
from market.errors import StoreUnavailable
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel, instrument_pins
from storage.database.leases import Leases
from tests.broker import Broker
from tests.gateway import QUEUES
from tests.live import SYMBOLS, VERSION, eventually
from tests.live_market import all_taped, check_all, fed, market, rows_are_online, taped_messages
from tests.tcp_proxy import TcpProxy
from tests.worker_process import start_process

SHARDS = 2
SHARD_OF = dict(zip(SYMBOLS, shard_queues(SHARDS), strict=True))
"""Which queue the exchange gives each symbol to."""
DEADLINE_S = 60.0


@pytest.fixture
def shared(ingest_settings: Settings, broker: Broker) -> Settings:
    broker.declare(shard_queues(SHARDS))
    for queue in shard_queues(SHARDS):
        broker.take_all(queue)
    return ingest_settings.model_copy(update={"feature_service_shards": SHARDS})


@pytest.fixture
def leases(live_servers: Servers) -> Iterator[Leases]:
    with closing(Leases(live_servers.postgres_url)) as opened:
        yield opened


def test_the_symbol_a_message_is_shared_by_is_the_one_it_is_decoded_to(shared: Settings) -> None:
    decoder = Decoder(instrument_pins(shared))
    for each in market(3):
        decoded = decoder.decode(each.body)
        assert decoded is not None
        assert routing_symbol(each.body) == decoded.symbol
    assert routing_symbol(b'{"topic": "position", "payload": {"symbol": "BTCUSDT"}}') == "BTCUSDT"
    assert routing_symbol(b'{"event_type": "position_updated", "asset": "ETHUSDT"}') == "ETHUSDT"
    assert routing_symbol(b'{"topic": "publicTrade.%b"}' % (b"A" * 256)) == "", "a routing key cannot be as long"
    assert routing_symbol(b"no message") == routing_symbol(b'{"topic": 7}') == ""


def test_a_dispatcher_that_loses_its_connection_passes_everything_on_in_order(shared: Settings, broker: Broker) -> None:
    """Twice at most where it was under way; a broker's queue has no other way to lose nothing."""
    assert shared.feature_service_shards == SHARDS
    proxy = TcpProxy(("127.0.0.1", broker.port))
    passed = market(4)
    broker.publish((each.queue, each.body) for each in passed)

    async def dispatch() -> None:
        through = BrokerAddress("127.0.0.1", proxy.port, "guest", "guest")
        exchange = HashExchange(through, exchange_name(SHARDS), shard_queues(SHARDS))
        source = GatewaySource(broker.address, list(QUEUES.values()), clock=SystemClock())
        dispatcher = Dispatcher(source, exchange)
        running = asyncio.create_task(dispatcher.run())
        async with asyncio.timeout(DEADLINE_S):
            for share in (8, 4, 2):
                while dispatcher.passed_on < len(passed) // share:  # noqa: ASYNC110  # the broker makes it so
                    await asyncio.sleep(0.001)
                proxy.cut()
            # What was under way comes again a second later, and counts once more; marks of a hole count too.
            quiet = 0
            while quiet < 40 or dispatcher.passed_on < len(passed):
                before = dispatcher.passed_on
                await asyncio.sleep(0.05)
                waiting = await asyncio.to_thread(lambda: sum(map(broker.waiting, QUEUES.values())))
                quiet = quiet + 1 if dispatcher.passed_on == before and not waiting else 0
        await dispatcher.close()
        await running

    try:
        asyncio.run(dispatch())
    finally:
        proxy.close()
    assert proxy.cuts >= 3
    assert [broker.waiting(queue) for queue in QUEUES.values()] == [0] * len(QUEUES)
    for symbol, queue in SHARD_OF.items():
        bodies = (json.loads(body) for body, _ in broker.take_all(queue))
        ids = [body["event_id"] for body in bodies if "event_id" in body]  # marks of a hole have none
        for gateway_queue in QUEUES.values():
            given = [
                json.loads(each.body)["event_id"]
                for each in passed
                if each.queue == gateway_queue and routing_symbol(each.body) == symbol
            ]
            kept = [event_id for event_id in ids if event_id in set(given)]
            assert set(kept) == set(given)
            # Read once for each time it came, in order: the last time each came is in order too.
            last = {event_id: at for at, event_id in enumerate(kept)}
            assert [event_id for event_id, _ in sorted(last.items(), key=lambda item: item[1])] == given
            assert list(dict.fromkeys(kept)) == given


def test_nothing_behind_a_message_that_was_not_taken_is_taken_before_it_comes_again(
    shared: Settings, broker: Broker
) -> None:
    assert shared.feature_service_shards == SHARDS
    queue, count = QUEUES["kline"], 50
    broker.publish((queue, str(number).encode()) for number in range(count))
    taken: list[int] = []
    refused: list[bytes] = []

    async def take(_queue: str, body: bytes, acknowledge: Callable[[], object]) -> None:
        if body == b"5" and not refused:
            refused.append(body)
            raise StoreUnavailable("exchange: cannot publish")
        taken.append(int(body))
        acknowledge()

    async def read() -> None:
        reader = QueueReader(broker.address, [queue], take=take)
        running = asyncio.create_task(reader.run())
        async with asyncio.timeout(DEADLINE_S):
            while len(set(taken)) < count:  # noqa: ASYNC110  # the broker makes it so
                await asyncio.sleep(0.01)
        await reader.close()
        await reader.release()
        await running
        assert reader.connections == 2

    asyncio.run(read())
    assert refused == [b"5"]
    assert list(dict.fromkeys(taken)) == list(range(count))
    assert broker.waiting(queue) == 0


def owners(leases: Leases) -> dict[str, str]:
    return {name: worker_id for name, (worker_id, _) in leases.owners().items()}


@pytest.mark.soak  # three processes on one machine, each with its deadlines
def test_two_workers_share_the_symbols_and_a_third_takes_over_from_the_one_that_is_killed(
    shared: Settings, live_servers: Servers, broker: Broker, leases: Leases, tmp_path: Path
) -> None:
    passed = market(14, begin_s=8.0)
    half = len(passed) // 2
    with ExitStack() as stack:
        workers: list[Popen[bytes]] = []

        def end() -> None:
            for each in workers:
                each.kill()
                each.wait(60)

        stack.callback(end)
        with fed(broker, passed[:half]):
            for count in (1, 2):
                workers.append(start_process(shared, live_servers))
                eventually(lambda count=count: len(set(owners(leases).values())) == count)  # type: ignore[misc]  # mypy cannot infer a default's type
            workers.append(start_process(shared, live_servers))
            eventually(lambda: set(owners(leases)) == {*SYMBOLS, *shard_queues(SHARDS)})
            before = owners(leases)
            # Each symbol belongs to whoever reads its queue, and the two to two workers.
            assert all(before[symbol] == before[queue] for symbol, queue in SHARD_OF.items())
            assert len(set(before.values())) == 2
            eventually(lambda: taped_messages(shared) > half // 2)
        # A symbol is taken over with its next message: some must be to come, however long the workers took to start.
        with fed(broker, passed[half:]):
            # The first one also passes the gateway's messages on.
            fences = {name: fence for name, (_, fence) in leases.owners().items()}
            [victim] = [each for each in workers if f"-{each.pid}-" in before[SHARD_OF["BTCUSDT"]]]
            victim.kill()
            eventually(lambda: owners(leases).get("BTCUSDT", before["BTCUSDT"]) != before["BTCUSDT"])
            eventually(lambda: leases.owners().get("BTCUSDT", ("", 0))[1] > fences["BTCUSDT"])
            eventually(lambda: owners(leases).get("ETHUSDT") == before["ETHUSDT"])
        all_taped(shared, passed)
        eventually(lambda: sum(broker.waiting(queue) for queue in (*QUEUES.values(), *SHARD_OF.values())) == 0)
        rows_are_online(live_servers, time.time_ns() + SECOND_NS)
        for each in workers:
            if each is not victim:
                each.terminate()
                assert each.wait(60) == 0
    check_all(shared, compiled_kernel(shared, VERSION), broker, passed, tmp_path / "replay")
