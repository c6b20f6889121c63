"""What tests of the online store share: real Redis servers, a project for each test, and its Feast repositories."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType
from feast.types import Float64

from storage.online.store import OnlineStore
from tests.online_servers import Server, running_server
from tests.pushed_rows import Repository


@pytest.fixture(scope="session", params=["embedded", "configured"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One for all files: each test has a project of its own on it."""
    with running_server(request.param) as found:
        yield found


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
