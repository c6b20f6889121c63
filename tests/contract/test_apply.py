"""Applying to Feast's registries: a plan first, nothing lost to others, and late rows materialized."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from click.testing import CliRunner
from feast import FeatureService, FeatureStore, FeatureView, Field, RepoConfig
from feast.cli.cli import cli
from feast.types import Float64

import feature_repo
from feature_repo.apply import apply_definitions, plan, withdraw_feature_service
from feature_repo.definitions import definitions
from feature_repo.foreign import foreign_definitions
from feature_repo.materializing import materialize_unpushed
from feature_repo.store import export_registry
from market.clock import SECOND_NS, to_ns
from market.errors import DeclarationError
from runtime.feature_repository import apply_feature_store
from runtime.servers import Servers
from runtime.settings import load_settings
from storage.database.feast_schema import feast_schema_locked
from storage.database.migration import upgrade
from storage.objects.path import object_path
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.applied import REDIS_DB, ROOT, T0, file_store, log_price, sql_store, view_named
from tests.s3_server import BUCKET, FaultProxy
from transforms.catalogue import feature_set

HOST = os.environ.get("POSTGRES_HOST", "localhost")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A database of its own."""
    name = f"apply_{uuid.uuid4().hex}"
    user = os.environ.get("POSTGRES_USER", "postgres")
    try:
        server = psycopg.connect(host=HOST, user=user, dbname="postgres", autocommit=True, connect_timeout=2)
    except psycopg.OperationalError as error:
        if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
            raise
        pytest.skip(f"no PostgreSQL at {HOST}: {error}")
    with server:
        server.execute(f"CREATE DATABASE {name}")
        yield f"postgresql+psycopg://{user}@{HOST}/{name}"
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_plan_says_what_an_apply_would_do_and_does_none_of_it(postgres_url: str, tmp_path: Path) -> None:
    objects = definitions(features_folder=tmp_path / "features")
    with feast_schema_locked(postgres_url), sql_store(postgres_url) as store:
        assert {change.action for change in plan(store, objects)} == {"create"}
        assert store.list_feature_views() == []
        apply_definitions(store, objects)
        again = definitions(features_folder=tmp_path / "features")
        assert {change.action for change in plan(store, again)} == {"unchanged"}

        price = next(item for item in again if isinstance(item, FeatureView) and item.name == "price")
        gone = price.features[0].name
        price.features = [*price.features[1:], Field(name="new_price", dtype=Float64)]
        *_, service = again
        changes = {change.name: change for change in plan(store, [item for item in again if item is not service])}
    assert changes["price"].action == "update"
    assert changes["price"].details[0] == f"features: +new_price:Float64 −{gone}:Float64"
    assert changes[service.name].action == "keep"


MINE = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64
from feature_repo.definitions import symbol, price

sectors = FeatureView(
    name="sectors", entities=[symbol], ttl=timedelta(days=7), schema=[Field(name="beta", dtype=Float64)],
    source=FileSource(name="sectors_file", path=PATH, timestamp_field="event_timestamp"),
)
mine = FeatureService(name="mine", features=[sectors, price[["mid_price"]]])
"""


@pytest.fixture
def a_module_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file as a user puts it in ``feature_repo/``; here in a folder that the package looks in too."""
    path = tmp_path / "own" / "views_of_others.py"
    path.parent.mkdir()
    path.write_text(MINE.replace("PATH", repr(str(tmp_path / "sectors.parquet"))))
    monkeypatch.setattr(feature_repo, "__path__", [*feature_repo.__path__, str(path.parent)])
    importlib.invalidate_caches()
    yield path
    sys.modules.pop("feature_repo.views_of_others", None)


def test_views_of_others_are_applied_survive_and_are_joined_with_ours(
    postgres_url: str, tmp_path: Path, a_module_of_others: Path
) -> None:
    ours = definitions(features_folder=tmp_path / "features")
    theirs = foreign_definitions(ours)
    assert [item.name for item in theirs] == ["sectors", "mine"]
    price = next(item for item in ours if isinstance(item, FeatureView) and item.name == "price")
    stamp = pa.array([T0], pa.timestamp("us", "UTC"))
    sectors: dict[str, Any] = {"symbol": ["BTCUSDT"], "event_timestamp": stamp, "beta": [1.5]}
    pq.write_table(pa.table(sectors), tmp_path / "sectors.parquet")
    with feast_schema_locked(postgres_url), sql_store(postgres_url) as store:
        for _ in range(2):
            apply_definitions(store, [*ours, *theirs])
            assert (tmp_path / "sectors.parquet").is_file()  # no folder was made of it
        log_price(price, "BTCUSDT", 0, second=0, value=7.0)
        apply_definitions(store, ours)
        assert {change.action for change in plan(store, [*ours, *theirs])} == {"unchanged"}
        asked = pd.DataFrame({"symbol": ["BTCUSDT"], "event_timestamp": [T0 + timedelta(seconds=5)]})
        found = store.get_historical_features(asked, store.get_feature_service("mine")).to_df()
    assert (found["beta"].tolist(), found["mid_price"].tolist()) == ([1.5], [7.0])


def test_definitions_of_others_may_not_take_the_names_of_ours(tmp_path: Path, a_module_of_others: Path) -> None:
    a_module_of_others.write_text(
        "from feast import Entity, ValueType\nsymbol = Entity(name='symbol', value_type=ValueType.STRING)\n"
    )
    with pytest.raises(DeclarationError, match="symbol must not have the name of an object"):
        foreign_definitions(definitions(features_folder=tmp_path / "features"))


def test_a_feature_service_is_withdrawn_alone_and_the_export_holds_what_is_left(
    postgres_url: str, tmp_path: Path
) -> None:
    symbol, view = view_named("theirs", tmp_path, "mid")
    services = [FeatureService(name=name, features=[view]) for name in ("features_v3_0_0", "features_v3_1_0")]
    with feast_schema_locked(postgres_url), sql_store(postgres_url) as store:
        apply_definitions(store, [symbol, view, *services])
        withdraw_feature_service(store, "features_v3_0_0")
        withdraw_feature_service(store, "features_v3_0_0")
        export_registry(store, tmp_path / "registry.db")
    exported = file_store(tmp_path / "registry.db")
    assert [service.name for service in exported.list_feature_services()] == ["features_v3_1_0"]
    assert [each.name for each in exported.list_feature_views()] == ["theirs"]


def test_two_applies_at_once_lose_one_in_feasts_file_registry(tmp_path: Path) -> None:
    symbol, view = view_named("price", tmp_path, "mid")
    registry = tmp_path / "registry.db"
    file_store(registry).apply([symbol, view])
    first, second = file_store(registry), file_store(registry)
    # What an apply does, and another in the middle of it.
    first.registry.apply_feature_service(FeatureService(name="first", features=[view]), first.project, commit=False)
    second.apply([FeatureService(name="second", features=[view])])
    first.registry.commit()  # type: ignore[no-untyped-call]  # Feast leaves it untyped
    assert [service.name for service in file_store(registry).list_feature_services()] == ["first"]


def test_eight_applies_at_once_lose_nothing_and_the_export_holds_all_of_them(postgres_url: str, tmp_path: Path) -> None:
    count = 8
    start = Barrier(count)
    exported = tmp_path / "registry.db"

    def apply(number: int) -> None:
        symbol, view = view_named(f"view{number}", tmp_path, "mid", f"own{number}")
        _, shared = view_named("shared", tmp_path / str(number), "mid")
        service = FeatureService(name=f"service{number}", features=[view, shared])
        start.wait()
        with feast_schema_locked(postgres_url), sql_store(postgres_url) as store:
            apply_definitions(store, [symbol, shared, view, service])
            export_registry(store, exported)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(apply, range(count)))
    with sql_store(postgres_url) as kept:
        stores = (kept, file_store(exported))
        services = [sorted(service.name for service in store.list_feature_services()) for store in stores]
        views = [{view.name for view in store.list_feature_views()} for store in stores]
    assert services == [[f"service{i}" for i in range(count)]] * 2
    assert views == [{"shared", *(f"view{i}" for i in range(count))}] * 2


# Materialization from the root


@pytest.fixture
def online_symbol() -> Iterator[str]:
    symbol = f"SYM{uuid.uuid4().hex}"
    try:
        socket.create_connection(("localhost", 6379), timeout=1).close()
    except OSError as error:
        if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
            raise
        pytest.skip(f"no Redis: {error}")
    yield symbol
    with redis.Redis(db=REDIS_DB) as client:
        for key in client.scan_iter(f"*{symbol}*"):
            client.delete(key)


def test_a_view_whose_source_is_broken_stops_no_other_from_being_materialized(
    tmp_path: Path, online_symbol: str
) -> None:
    symbol, broken = view_named("a_broken_one", tmp_path, "mid")
    _, sound = view_named("sound", tmp_path, "mid")
    (tmp_path / "a_broken_one" / "part-0.parquet").write_bytes(b"no Parquet")
    now = datetime.now(UTC)
    log_price(sound, online_symbol, 1, second=(now - T0).total_seconds() - 5, value=2.0)
    store = file_store(tmp_path / "registry.db")
    store.apply([symbol, broken, sound])
    done = materialize_unpushed(store, now, before_each=lambda _: None)
    assert done["materialized"] == ["sound"]
    [problem] = done["problems"]
    assert problem.startswith("a_broken_one: cannot be materialized: ")
    answer = store.get_online_features(["sound:mid"], [{"symbol": online_symbol}]).to_dict()
    assert answer["mid"] == [2.0]


def test_feast_lists_and_materializes_from_the_root_late_rows_too_and_never_over_newer_ones(
    tmp_path: Path, online_symbol: str
) -> None:
    config = (ROOT / "feature_store.yaml").read_text()
    connection = f"localhost:6379,db={REDIS_DB}"
    (tmp_path / "feature_store.yaml").write_text(config.replace("localhost:6379", connection))
    (tmp_path / "data").mkdir()
    store = FeatureStore(
        config=RepoConfig(
            project="feature_service",
            provider="local",
            registry=str(tmp_path / "data" / "registry.db"),
            online_store={"type": "redis", "connection_string": connection},
            entity_key_serialization_version=3,
        )
    )
    objects = definitions(features_folder=tmp_path / "data" / "features")
    apply_definitions(store, objects)
    price = next(item for item in objects if isinstance(item, FeatureView) and item.name == "price")

    def feast(*arguments: str) -> str:
        answer = CliRunner().invoke(cli, ["--chdir", str(tmp_path), *arguments], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.output

    def online() -> float:
        answer = store.get_online_features(["price:mid_price"], [{"symbol": online_symbol}]).to_dict()
        value: float = answer["mid_price"][0]
        return value

    def iso(second: float) -> str:
        return (T0 + timedelta(seconds=second)).isoformat()

    assert "price" in feast("feature-views", "list")
    log_price(price, online_symbol, 0, second=0, value=1.0)
    feast("materialize", iso(-60), iso(600), "-v", "price")
    assert online() == 1.0

    # Second 300 comes after the materialization of seconds up to 600.
    log_price(price, online_symbol, 1, second=300, value=2.0)
    feast("materialize-incremental", iso(660), "-v", "price")
    assert online() == 2.0

    # A row served live is newer than what the log gives.
    chosen = feature_set("1.0.0", ["mid_price"])
    row_ns = to_ns(T0) + 700 * SECOND_NS
    live = OnlineRow(online_symbol, chosen, row_ns, row_ns, np.array([3.0]), np.zeros(1, np.int8), {})
    writer = OnlineStore.connect(redis_settings("localhost:6379", db=REDIS_DB), project="feature_service")
    assert writer.write([live], now_ns=row_ns).written == 1
    log_price(price, online_symbol, 2, second=690, value=9.0)
    feast("materialize-incremental", iso(720), "-v", "price")
    assert online() == 3.0
    [vector] = writer.read([online_symbol])
    writer.close()
    assert vector is not None
    assert vector.values.tolist() == [3.0]


def test_the_first_start_makes_its_feature_log_in_an_object_store(
    s3: FaultProxy, postgres_url: str, tmp_path: Path
) -> None:
    log = object_path(f"s3://{BUCKET}/{uuid.uuid4().hex}/features")
    settings = load_settings(
        {"FEATURE_SERVICE_DATA_PATH": str(tmp_path), "FEATURE_LOG_STORAGE_PATH": str(log)}, env_file=None
    )
    upgrade(postgres_url)
    apply_feature_store(settings, Servers(redis_settings("localhost:6379", db=REDIS_DB), postgres_url))
    assert len(log.names().folders) > 3
