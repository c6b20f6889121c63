"""Real servers for whole roles: a broker, a PostgreSQL and a Redis of the tests' own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.embedded import embedded_postgres
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import metadata_store
from storage.online.address import redis_settings
from tests.broker import Broker
from tests.conftest import missing
from tests.copied_tree import copied_tree
from tests.gateway import QUEUES
from tests.live import SYMBOLS, live_settings
from tests.redis_servers import RedisServer, running_redis


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The tree, to add something to."""
    return copied_tree(tmp_path / "copy")


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    if shutil.which("rabbitmq-server") is None:
        missing("rabbitmq-server")
    node = Broker()
    try:
        node.start()
        yield node
    finally:
        node.remove()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="live-postgres-"))
    try:
        with embedded_postgres(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as found:
        yield found


@pytest.fixture
def live_servers(postgres_url: str, redis_server: RedisServer) -> Servers:
    found = Servers(redis_settings(f"127.0.0.1:{redis_server.port}", db=0), postgres_url)
    with metadata_store(found):
        pass
    return found


@pytest.fixture
def ingest_settings(tmp_path: Path, broker: Broker, kernel_cache: Path) -> Settings:
    broker.declare([*QUEUES.values(), "features.live"])
    for queue in (*QUEUES.values(), "features.live"):
        broker.take_all(queue)
    return live_settings(tmp_path, broker, kernel_cache, ",".join(SYMBOLS))
