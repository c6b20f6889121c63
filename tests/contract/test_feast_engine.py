"""`feast materialize` on an engine of the service: online rows and errors are those of Feast's local engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.cli.cli import cli
from feast.infra.common.materialization_job import MaterializationTask
from feast.types import Float64, Int64, String
from sqlalchemy import make_url

from feature_repo.engine import AskedMaterialization, Materialized, MaterializeViews, runs_of_views
from feature_repo.key_parts import KeyPart
from market.errors import CorruptStore, InvalidRequest
from runtime.queued_views import views_kind
from storage.database.migration import upgrade
from tests.postgres_servers import new_database, running_postgres
from tests.ray_cluster import Cluster
from tests.redis_servers import HOST, PORT
from tests.stored_books import OURS, SYMBOL, VENUE, at, rows_of, write

Rows = dict[str, list[tuple[Any, ...]]]
ENGINE = "feature_repo.engine.FeatureServiceEngine"
BEGIN, MIDDLE, END = at(0).isoformat(), at(15).isoformat(), at(30).isoformat()
AT_ONCE = (f"materialize {BEGIN} {END}",)
IN_TWO = (f"materialize {BEGIN} {MIDDLE}", f"materialize-incremental {END}")


def views(folder: Path) -> list[FeatureView]:
    """Two of one file by symbol, and one by venue."""
    books = rows_of(
        ["BTC", "ETH", "BTC", "BTC"], [0, 5, 20, 40], [0, 5, 20, 40], mid=[1.0, 2.0, 3.0, 4.0], size=[1, 2, 3, 4]
    )
    venues = rows_of(["BTC"] * 2, [1, 2], [1, 2], mid=[7.0, 8.0]).append_column("venue", [[1, 2]])

    def view(name: str, table: pa.Table, entity: Entity, *fields: Field) -> FeatureView:
        source = FileSource(
            name=f"{name}_source",
            path=str(write(table, folder / f"{name}.parquet")),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        )
        return FeatureView(name=name, entities=[entity], schema=list(fields), source=source)

    symbol = Field(name="symbol", dtype=String)
    return [
        view("book", books, SYMBOL, symbol, Field(name="mid", dtype=Float64)),
        view("size", books, SYMBOL, symbol, Field(name="size", dtype=Int64)),
        view("venues", venues, VENUE, Field(name="venue", dtype=Int64), Field(name="mid", dtype=Float64)),
    ]


def repository(folder: Path, batch_engine: dict[str, Any] | None, settings: str = "") -> FeatureStore:
    """batch_engine: its options; None is Feast's own. settings: of the service, in its ``.env``."""
    folder.mkdir()
    (folder / ".env").write_text(settings)
    config: dict[str, Any] = {
        "project": "market",
        "provider": "local",
        "registry": "registry.db",
        "online_store": {"type": "sqlite", "path": "online.db"},
        "offline_store": {"type": OURS},
        "materialization": {"pull_latest_features": True},
        "entity_key_serialization_version": 3,
    }
    if batch_engine is not None:
        config["batch_engine"] = {"type": ENGINE, **batch_engine}
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config))
    store = FeatureStore(str(folder))
    store.apply([SYMBOL, VENUE, *views(folder)])
    return store


def online(folder: Path) -> Rows:
    """Every row of the online store."""
    with closing(sqlite3.connect(folder / "online.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(database.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}  # noqa: S608  # ours


def materialize(folder: Path, *commands: str) -> Rows:
    """What is online after some of Feast's commands."""
    for command in commands:
        cli(["-c", str(folder), *command.split()], standalone_mode=False)
    return online(folder)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    folder = tmp_path_factory.mktemp("local") / "repository"
    repository(folder, None)
    found = materialize(folder, *IN_TWO)
    assert sum(map(len, found.values())) == 6
    return found


@contextmanager
def pool() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"engine": "pool", "max_workers": 2}, ""


@contextmanager
def queue() -> Iterator[tuple[dict[str, Any], str]]:
    with running_postgres("server") as server, new_database(server) as url:
        upgrade(url)
        named = make_url(url)
        of_server = {"HOST": named.host, "PORT": named.port, "USER": named.username, "DB": named.database}
        settings = "".join(f"POSTGRES_{name}={value}\n" for name, value in of_server.items())
        yield {"engine": "queue", "rows_per_task": 1}, f"REDIS_HOST={HOST}\nREDIS_PORT={PORT}\n{settings}"


@contextmanager
def ray() -> Iterator[tuple[dict[str, Any], str]]:
    with Cluster(cpus=2) as cluster:
        yield {"ray_address": cluster.address, "rows_per_task": 1}, ""


# Two processes import Feast for each command on a pool: the others show that a view goes on where it ended.
@pytest.mark.parametrize(
    ("engine", "commands"),
    [(pool, AT_ONCE), (queue, IN_TWO), pytest.param(ray, IN_TWO, marks=pytest.mark.soak)],
)
def test_online_rows_are_those_of_feasts_own_engine(
    engine: Callable[[], AbstractContextManager[tuple[dict[str, Any], str]]],
    commands: tuple[str, ...],
    tmp_path: Path,
    expected: Rows,
) -> None:
    with engine() as (options, settings):
        repository(tmp_path / "repository", options, settings)
        assert materialize(tmp_path / "repository", *commands) == expected


def test_a_view_of_many_rows_is_written_by_parts_of_its_keys(tmp_path: Path, expected: Rows) -> None:
    store = repository(tmp_path / "repository", None)
    asked = AskedMaterialization("book", at(0), at(30), only_latest=True, disable_event_timestamp=False)

    def perform(part: KeyPart) -> Materialized:
        [done] = MaterializeViews(store.config, None, (replace(asked, part=part),)).perform(lambda: False)
        return done

    def book() -> list[tuple[Any, ...]]:
        return online(tmp_path / "repository")["market_book"]

    assert perform(KeyPart(most_rows=1)) == Materialized("book", None, rows=2)
    assert book() == []
    keys = []
    for number in range(3):
        assert perform(KeyPart(number, 3)) == Materialized("book", None)
        keys.append(len(book()))
    assert keys == [0, 1, 2], "by their hashes"
    assert book() == expected["market_book"]


def test_a_view_that_cannot_be_read_stops_no_other_and_is_told_by_its_error(tmp_path: Path) -> None:
    store = repository(tmp_path / "repository", {"engine": "pool", "max_workers": 1})
    (tmp_path / "repository" / "book.parquet").write_bytes(b"no Parquet")
    with pytest.raises(CorruptStore, match=r"book\.parquet"):
        store.materialize(at(0), at(15))
    assert [len(online(tmp_path / "repository")[f"market_{name}"]) for name in ("book", "size", "venues")] == [0, 2, 2]
    assert [store.get_feature_view(name).most_recent_end_time for name in ("book", "size")] == [None, at(15)]


@pytest.mark.parametrize(("linked", "count"), [(False, 3), (True, 1)])
def test_views_are_one_task_where_one_may_read_what_another_wrote(tmp_path: Path, *, linked: bool, count: int) -> None:
    asked = views(tmp_path)
    asked[1].offline = linked
    runs = runs_of_views([MaterializationTask("market", view, at(0), at(15)) for view in asked])
    assert len(runs) == count
    assert [each.view for run in runs for each in run] == ["book", "size", "venues"]


@pytest.mark.parametrize(
    ("options", "told"),
    [({"engine": "spark"}, "engine"), ({"ray_adress": "auto"}, "ray_adress"), ({"max_workers": 0}, "0")],
)
def test_an_option_that_there_is_not_is_refused(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=f"batch_engine: .*(?s:.*){told}"):
        repository(tmp_path / "repository", options).materialize(at(0), at(15))


def test_a_queue_needs_a_repository_that_its_workers_can_open(tmp_path: Path) -> None:
    config = RepoConfig(project="market", provider="local", registry=str(tmp_path / "registry.db"), repo_path=tmp_path)
    asked = AskedMaterialization("book", at(0), at(15), only_latest=True, disable_event_timestamp=False)
    with pytest.raises(InvalidRequest, match=r"batch_engine: queue needs a folder with a feature_store\.yaml, was "):
        views_kind().document(MaterializeViews(config, None, (asked,)))
