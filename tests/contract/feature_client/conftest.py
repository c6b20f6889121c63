"""What tests of the client share: a repository on a real Redis, the writer of its rows, and a client at a set time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from feature_client import FeatureStoreClient
from market.clock import SECOND_NS, ManualClock
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from tests.redis_servers import HOST, PORT, own_project
from tests.three_features import B


@pytest.fixture
def project() -> Iterator[str]:
    with own_project("client") as name:
        yield name


@pytest.fixture
def writer(project: str) -> Iterator[OnlineStore]:
    store = OnlineStore.connect(redis_settings(f"{HOST}:{PORT}"), project=project)
    yield store
    store.close()


@pytest.fixture
def repo_path(tmp_path: Path, project: str) -> Path:
    config = {
        "project": project,
        "provider": "local",
        "registry": str(tmp_path / "registry.db"),
        "online_store": {"type": "redis", "connection_string": f"{HOST}:{PORT},db=0"},
        "offline_store": {"type": "feature_repo.offline_store.AsOfOfflineStore", "bitemporal": False},
        "entity_key_serialization_version": 3,
    }
    (tmp_path / "feature_store.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(B + SECOND_NS)


@pytest.fixture
def client(repo_path: Path, clock: ManualClock) -> Iterator[FeatureStoreClient]:
    client = FeatureStoreClient(repo_path, clock=clock)
    yield client
    client.close()
