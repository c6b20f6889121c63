"""The online store on a Redis Cluster and on a master watched by a sentinel, as Feast's own settings name them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

from feature_client import FeatureStoreClient
from feature_repo.store import client_yaml
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.sinks import OnlineSink
from market.clock import SECOND_NS
from market.errors import InvalidRequest, StoreUnavailable
from runtime.servers import Servers, configured_redis
from runtime.settings import load_settings
from runtime.wiring import online_store
from storage.online.feed import RowFeed
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.ports import free_port
from tests.redis_servers import (
    DEADLINE_S,
    PASSWORD,
    Cluster,
    WatchedMaster,
    eventually,
    running_cluster,
    running_watched_master,
    serves_every_slot,
)
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

B = 1_772_000_000 * SECOND_NS
SET = FeatureSet("1.0.0", ("mid_price",), (FeatureGroup("price", "p", ("mid_price",), (0,)),), "f00d")
SYMBOLS = tuple(f"S{number:02d}USDT" for number in range(30))
"""So many that each node of a cluster has some."""
PROJECT = "topologies"


def online_row(symbol: str, second: int) -> OnlineRow:
    row_ns = B + second * SECOND_NS
    return OnlineRow(symbol, SET, row_ns, row_ns + 1, np.array([float(second)]), np.zeros(1, np.int8), {})


def seconds_of(store: OnlineStore) -> list[float | None]:
    """The value of each symbol, which is its second."""
    return [None if vector is None else float(vector.values[0]) for vector in store.read(SYMBOLS)]


def feasts_values(settings: Mapping[str, str], folder: Path) -> list[float | None]:
    """What Feast's SDK reads, by the same settings."""
    store = FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=dict(settings),
            entity_key_serialization_version=3,
        )
    )
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    view = FeatureView(
        name="price",
        entities=[symbol],
        ttl=timedelta(hours=1),
        schema=[Field(name="mid_price", dtype=Float64)],
        source=FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp"),
    )
    store.apply([symbol, view])
    entities = [{"symbol": symbol} for symbol in SYMBOLS]
    read: list[float | None] = store.get_online_features(["price:mid_price"], entities).to_dict()["mid_price"]
    return read


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="topologies-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cluster(folder: Path) -> Iterator[Cluster]:
    with running_cluster(folder) as cluster:
        yield cluster


@pytest.fixture
def watched(folder: Path) -> Iterator[WatchedMaster]:
    with running_watched_master(folder) as watched:
        yield watched


# A cluster


def test_rows_spread_over_a_cluster_are_written_read_and_read_by_feast(cluster: Cluster, folder: Path) -> None:
    with closing(OnlineStore.connect(cluster.settings, project=PROJECT)) as store:
        store.ping()
        first = store.write([online_row(symbol, 2) for symbol in SYMBOLS], now_ns=2 * B)
        older = store.write([online_row(symbol, 1) for symbol in SYMBOLS], now_ns=2 * B)
        assert (first.written, older.written, older.superseded) == (30, 0, 30)
        assert seconds_of(store) == [2.0] * 30
        assert store.symbols() == sorted(SYMBOLS)
        assert store.held("S00USDT", [("price", "mid_price"), ("price", "spread_abs")]) == [True, False]
        assert store.read(["NONEUSDT"]) == [None]
    held = []
    for node in cluster.nodes:
        with redis.Redis(port=node.port, password=PASSWORD) as client:
            held.append(client.dbsize())
    assert sum(held) == 30
    assert all(held)
    assert feasts_values(cluster.settings, folder) == [2.0] * 30


def test_the_service_and_the_sdk_reach_a_cluster_by_settings_and_yaml(cluster: Cluster, folder: Path) -> None:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    redis_of = {"REDIS_HOST": hosts, "REDIS_TYPE": "redis_cluster", "REDIS_PASSWORD": PASSWORD}
    servers = Servers(configured_redis(load_settings(redis_of, env_file=None)), "unused")
    with closing(online_store(servers)) as store:
        assert store.write([online_row("S00USDT", 7)], now_ns=2 * B).written == 1
    yaml = client_yaml(registry=folder / "registry.db", online_store=servers.online_store)
    (folder / "feature_store.yaml").write_text(yaml)
    with closing(FeatureStoreClient(folder)) as client:
        found = client.get_online_features(["price:mid_price"], [{"symbol": "S00USDT"}])
    assert found.to_dict()["mid_price"] == [7.0]


def test_a_node_that_forgot_its_scripts_is_taught_them_again(cluster: Cluster) -> None:
    with closing(OnlineStore.connect(cluster.settings, project=PROJECT)) as store:
        store.write([online_row(symbol, 1) for symbol in SYMBOLS], now_ns=2 * B)
        with redis.Redis(port=cluster.nodes[1].port, password=PASSWORD) as client:
            client.script_flush()
        assert store.write([online_row(symbol, 2) for symbol in SYMBOLS], now_ns=2 * B).written == 30
        assert seconds_of(store) == [2.0] * 30


def test_a_node_killed_and_restarted_is_an_outage_that_the_newest_rows_survive(cluster: Cluster) -> None:
    sink = OnlineSink(OnlineStore.connect(cluster.settings, project=PROJECT), retry_s=0.02)
    reader = OnlineStore.connect(cluster.settings, project=PROJECT)
    node = cluster.nodes[2]
    try:
        sink.write([served(symbol, 1) for symbol in SYMBOLS])
        assert seconds_of(reader) == [1.0] * 30
        node.kill()
        sink.write([served(symbol, 2) for symbol in SYMBOLS])
        assert sink.is_away
        node.start()
        eventually(lambda: all(map(serves_every_slot, cluster.nodes)))
        eventually(lambda: not sink.is_away)
        assert seconds_of(reader) == [2.0] * 30
    finally:
        sink.close()
        reader.close()


def served(symbol: str, second: int) -> ServedRows:
    row_ns = np.array([B + second * SECOND_NS], np.int64)
    values, reasons = np.full((1, 1), float(second)), np.zeros((1, 1), np.int8)
    return ServedRows(FeatureRows(symbol, SET, row_ns, values, np.zeros((1, 1), np.int8), reasons), row_ns + 1)


def test_a_cluster_that_is_away_is_named_by_the_first_call() -> None:
    settings = {"type": "redis", "redis_type": "redis_cluster", "connection_string": f"127.0.0.1:{free_port()}"}
    with (
        closing(OnlineStore.connect(settings, project=PROJECT)) as store,
        pytest.raises(StoreUnavailable, match="redis cluster: call failed"),
    ):
        store.read(["S00USDT"])


async def newest_rows(settings: dict[str, str], change: Callable[[], object]) -> list[float]:
    """What a reader of each symbol has at once, and after a change."""
    feed = RowFeed.connect(settings, project=PROJECT)
    with ExitStack() as stack:
        readers = [stack.enter_context(feed.reading(symbol)) for symbol in SYMBOLS[:3]]
        rows = [await reader.take(DEADLINE_S) for reader in readers]
        await asyncio.to_thread(change)
        rows += [await reader.take(DEADLINE_S) for reader in readers]
    await feed.ended()
    return [float(row.values[0]) for row in rows if row is not None]


def test_a_feed_brings_the_rows_of_every_node_of_a_cluster(cluster: Cluster) -> None:
    with closing(OnlineStore.connect(cluster.settings, project=PROJECT)) as store:
        store.write([online_row(symbol, 1) for symbol in SYMBOLS], now_ns=2 * B)

        def write_again() -> None:
            store.write([online_row(symbol, 2) for symbol in SYMBOLS], now_ns=2 * B)

        assert asyncio.run(newest_rows(cluster.settings, write_again)) == [1.0] * 3 + [2.0] * 3


# A watched master


def test_a_feed_brings_the_rows_of_a_watched_master(watched: WatchedMaster) -> None:
    with closing(OnlineStore.connect(watched.settings, project=PROJECT)) as store:
        store.write([online_row(symbol, 1) for symbol in SYMBOLS], now_ns=2 * B)

        def write_again() -> None:
            store.write([online_row(symbol, 2) for symbol in SYMBOLS], now_ns=2 * B)

        assert asyncio.run(newest_rows(watched.settings, write_again)) == [1.0] * 3 + [2.0] * 3


def test_rows_on_a_watched_master_are_read_by_feast_and_writing_goes_on_when_its_replica_takes_over(
    watched: WatchedMaster, folder: Path
) -> None:
    with closing(OnlineStore.connect(watched.settings, project=PROJECT)) as store:
        assert store.write([online_row(symbol, 1) for symbol in SYMBOLS], now_ns=2 * B).written == 30
        assert feasts_values(watched.settings, folder) == [1.0] * 30
        watched.master.kill()
        with pytest.raises(StoreUnavailable, match=r"redis master features: call failed"):
            store.write([online_row("S00USDT", 2)], now_ns=2 * B)

        def is_written() -> bool:
            try:
                store.write([online_row(symbol, 2) for symbol in SYMBOLS], now_ns=2 * B)
            except StoreUnavailable:
                return False
            return True

        eventually(is_written)
        assert seconds_of(store) == [2.0] * 30
    assert feasts_values(watched.settings, folder) == [2.0] * 30


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "sqlite"}, "must be of type redis"),
        ({"type": "redis", "redis_type": "valkey"}, "redis, redis_cluster or redis_sentinel, was 'redis' and 'valkey'"),
        ({"type": "redis", "connection_string": "localhost"}, "servers as host:port, was 'localhost'"),
        ({"type": "redis", "connection_string": "a:1,b:2"}, "must name one server of redis_type redis"),
        ({"type": "redis", "connection_string": "db=0"}, "must name a server, was without one"),
    ],
)
def test_settings_that_name_no_redis_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        OnlineStore.connect(settings, project=PROJECT)
