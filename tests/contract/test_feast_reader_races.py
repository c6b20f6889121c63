"""What Feast's own SDK sees while our writers race: each view whole and never older than before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

from market.clock import SECOND_NS
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.redis_servers import RedisServer, running_redis
from transforms.rows import FeatureGroup, FeatureSet

B: Final = 1_772_000_000 * SECOND_NS
PROJECT: Final = "races"
SYMBOL: Final = "BTCUSDT"
VIEWS: Final = {f"view_{v}": tuple(f"f_{v}_{i}" for i in range(20)) for v in range(8)}
NAMES: Final = tuple(name for names in VIEWS.values() for name in names)
SET: Final = FeatureSet(
    "1.0.0",
    NAMES,
    tuple(FeatureGroup(v, v, names, tuple(map(NAMES.index, names))) for v, names in VIEWS.items()),
    "f",
)
WRITERS: Final = 3

_log = logging.getLogger(__name__)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as found:
        yield found


@pytest.fixture
def feast(server: RedisServer, tmp_path: Path) -> FeatureStore:
    store = FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(tmp_path / "registry.db"),
            online_store={"type": "redis", "connection_string": f"127.0.0.1:{server.port}"},
            entity_key_serialization_version=3,
        )
    )
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    source = FileSource(path=str(tmp_path / "rows.parquet"), timestamp_field="event_timestamp")
    views = [
        FeatureView(
            name=view,
            entities=[symbol],
            ttl=timedelta(hours=1),
            schema=[Field(name=name, dtype=Float64) for name in names],
            source=source,
        )
        for view, names in VIEWS.items()
    ]
    store.apply([symbol, *views])
    return store


def race(server: RedisServer, feast: FeatureStore, operations: int) -> None:
    """Writers climb out of order while Feast's SDK reads all views."""
    is_done = threading.Event()
    references = [f"{view}:{name}" for view, names in VIEWS.items() for name in names]

    def put(store: OnlineStore, second: int) -> None:
        at = B + second * SECOND_NS
        row = OnlineRow(SYMBOL, SET, at, at, np.full(len(NAMES), float(second)), np.zeros(len(VIEWS), np.int8), {})
        store.write([row], now_ns=2 * B)

    def write(writer: int) -> None:
        seconds = np.arange(1 + writer, operations + 1, WRITERS)
        order = np.argsort(seconds + np.random.default_rng(writer).uniform(0, 50, len(seconds)))
        with closing(OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project=PROJECT)) as store:
            for second in seconds[order].tolist():
                put(store, second)

    def read() -> list[float]:
        """The one value of each view."""
        answer = feast.get_online_features(references, [{"symbol": SYMBOL}]).to_dict()
        seen = [{answer[name][0] for name in names} for names in VIEWS.values()]
        assert all(len(values) == 1 for values in seen), "a view was torn"
        return [values.pop() for values in seen]

    with closing(OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project=PROJECT)) as store:
        put(store, 0)
    newest, reads, parted = [0.0] * len(VIEWS), 0, 0
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(write, writer) for writer in range(WRITERS)]
        while not is_done.is_set():
            if all(each.done() for each in writing):
                is_done.set()
            seen = read()
            assert all(now >= before for now, before in zip(seen, newest, strict=True)), "an older row was read"
            newest, reads, parted = seen, reads + 1, parted + (len(set(seen)) > 1)
        for each in writing:
            each.result()
    assert newest == [float(operations)] * len(VIEWS)
    assert reads > 1
    _log.info("%d writes, %d reads of all views, %d of them of views of different rows", operations, reads, parted)


def test_feasts_sdk_sees_each_view_whole_and_never_an_older_row(server: RedisServer, feast: FeatureStore) -> None:
    race(server, feast, 1_500)


@pytest.mark.soak
def test_feasts_sdk_sees_each_view_whole_for_minutes(server: RedisServer, feast: FeatureStore) -> None:
    race(server, feast, 100_000)
