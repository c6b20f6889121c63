"""Two workers and one market: whoever was stopped and wakes up writes nothing over the one that took over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from feature_repo.project import PROJECT
from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel
from storage.database.leases import Leases
from storage.online.address import redis_address
from storage.online.vector import FENCE_FIELD, online_key, sortable
from tests.broker import Broker
from tests.gateway import QUEUES
from tests.live import SYMBOLS, VERSION, eventually
from tests.live_market import all_taped, check_all, fed, market, rows_are_online, taped_messages
from tests.tcp_proxy import TcpProxy
from tests.worker_process import start_process

# Several processes on one machine, each with its deadlines.
pytestmark = pytest.mark.soak


@pytest.fixture
def leases(live_servers: Servers) -> Iterator[Leases]:
    with closing(Leases(live_servers.postgres_url)) as opened:
        yield opened


def ended(stack: ExitStack, process: Popen[bytes]) -> Popen[bytes]:
    """The process, which is killed at the end whatever happens."""

    def end() -> None:
        process.kill()
        process.wait(60)

    stack.callback(end)
    return process


def stop(process: Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGSTOP)


def go_on(process: Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGCONT)


def fences_of(leases: Leases) -> dict[str, int]:
    return {symbol: fence for symbol, (_, fence) in leases.owners().items()}


def owner(leases: Leases) -> str | None:
    owners = {worker_id for worker_id, _ in leases.owners().values()}
    return owners.pop() if len(owners) == 1 and len(leases.owners()) == len(SYMBOLS) else None


class Published:
    """The fences of the messages on features.live by symbol, in order."""

    def __init__(self, broker: Broker) -> None:
        self.fences: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self._broker = broker

    def has(self, owners: int) -> bool:
        """Whether rows of every symbol by so many owners were published by now."""
        for _, headers in self._broker.take_all("features.live"):
            self.fences[headers["symbol"]].append(headers["fence"])
        return all(len(set(fences)) == owners for fences in self.fences.values())


def test_a_worker_that_was_stopped_leaves_the_tapes_to_its_successor_when_it_wakes(
    ingest_settings: Settings, live_servers: Servers, broker: Broker, leases: Leases, tmp_path: Path
) -> None:
    published = Published(broker)
    passed = market(10, begin_s=4.0)
    with ExitStack() as stack:
        first = ended(stack, start_process(ingest_settings, live_servers))
        eventually(lambda: owner(leases) is not None)
        before = owner(leases)
        second = ended(stack, start_process(ingest_settings, live_servers))
        with fed(broker, passed):
            eventually(lambda: taped_messages(ingest_settings) > len(passed) // 5)
            eventually(lambda: published.has(owners=1))
            stop(first)
            # The successor has the leases, and waits for the tapes.
            eventually(lambda: owner(leases) not in {None, before})
            assert second.poll() is None
            go_on(first)
            assert first.wait(60) == 1, "it has lost its leases"
        all_taped(ingest_settings, passed)
        eventually(lambda: sum(broker.waiting(queue) for queue in QUEUES.values()) == 0)
        rows_are_online(live_servers, time.time_ns() + SECOND_NS)
        eventually(lambda: published.has(owners=2))
        second.terminate()
        assert second.wait(60) == 0
    assert published.has(owners=2)
    # None of the one that was stopped is behind one of its successor.
    assert all(fences == sorted(fences) for fences in published.fences.values())
    check_all(ingest_settings, compiled_kernel(ingest_settings, VERSION), broker, passed, tmp_path / "replay")


def test_a_worker_that_cannot_see_that_it_was_followed_is_told_by_the_online_store(
    ingest_settings: Settings, live_servers: Servers, broker: Broker, leases: Leases, tmp_path: Path
) -> None:
    """The two have no folder in common, and the one that wakes does not reach the database."""
    query = parse_qs(urlsplit(live_servers.postgres_url).query)
    database = TcpProxy(Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}")
    queues = TcpProxy(("127.0.0.1", broker.port))
    through = f"postgresql+psycopg://postgres@127.0.0.1:{database.port}/postgres"
    own = ingest_settings.model_copy(update={"rabbitmq_port": queues.port})
    elsewhere = ingest_settings.model_copy(update={"feature_service_data_path": tmp_path / "elsewhere"})
    passed = market(10, begin_s=4.0)
    with ExitStack() as stack:
        stack.callback(database.close)
        stack.callback(queues.close)
        first = ended(stack, start_process(own, replace(live_servers, postgres_url=through)))
        eventually(lambda: owner(leases) is not None)
        before = owner(leases)
        second = ended(stack, start_process(elsewhere, live_servers))
        with fed(broker, passed):
            eventually(lambda: stored_fences(live_servers) == fences_of(leases))
            stop(first)
            database.go_away()
            queues.cut()  # the broker gives its queues to the next
            eventually(lambda: owner(leases) not in {None, before})
            eventually(lambda: stored_fences(live_servers) == fences_of(leases))
            newest = stored_fences(live_servers)
            go_on(first)
            assert first.wait(60) == 1, "the online store has a higher fence"
            assert stored_fences(live_servers) == newest
        rows_are_online(live_servers, time.time_ns() + SECOND_NS)
        second.terminate()
        assert second.wait(60) == 0


def stored_fences(servers: Servers) -> dict[str, int]:
    """The fence that the online store holds of each symbol."""
    with redis.Redis(port=redis_address(servers.online_store).nodes[0][1]) as client:
        held = {symbol: client.hget(online_key(symbol, PROJECT.encode()), FENCE_FIELD) for symbol in SYMBOLS}
    least = int(sortable(0))
    return {symbol: int(fence) - least for symbol, fence in held.items() if isinstance(fence, bytes)}
