"""The client as its own distribution: installed without the service, it runs on what it asks for and nothing else."""

from __future__ import annotations

import tomllib
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from market.clock import SECOND_NS
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.installations import install, linked, run
from tests.redis_servers import RedisServer
from transforms.rows import FeatureGroup, FeatureSet

ROOT = Path(__file__).parents[2]
B = 1_772_000_000 * SECOND_NS
SHIPPED = ("feature_client", "feature_repo", "market", "storage", "training_sets", "transforms")

ONLINE = """
import sys
from feature_client import FeatureStoreClient
with_values = FeatureStoreClient(sys.argv[1]).get_online_features(["price:mid_price"], [{"symbol": "BTCUSDT"}])
print(with_values.to_dict()["mid_price"][0])
"""
HISTORICAL = """
import sys
from datetime import timedelta
import pandas as pd, pyarrow as pa, pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64
from feature_client import FeatureStoreClient
import feature_client.sequences, training_sets.samples.sequences  # dataset(id).sequences(...) imports them when called
folder = sys.argv[1]
at = pd.Timestamp("2026-03-01", tz="UTC")
rows = {"symbol": ["BTCUSDT"], "event_timestamp": [at], "created": [at], "mid_price": [7.5]}
pq.write_table(pa.table(rows), folder + "/rows.parquet")
symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
times = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created"}
source = FileSource(path=folder + "/rows.parquet", **times)
view = FeatureView(name="price", entities=[symbol], schema=[Field(name="mid_price", dtype=Float64)], source=source)
FeatureStore(folder).apply([symbol, view])
asked = pd.DataFrame({"symbol": ["BTCUSDT"], "event_timestamp": [at]})
found = FeatureStoreClient(folder).get_historical_features(asked, ["price:mid_price"])
print(found.to_df()["mid_price"][0], found.pit_report.is_proven)
"""
FOREIGN = """
print(sorted({"numba", "great_expectations", "fastapi", "polars", "aio_pika", "sqlalchemy"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the client, and nothing that it depends on."""
    return install("feature_client", SHIPPED, tmp_path_factory.mktemp("client"))


def declared() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "feature_client" / "pyproject.toml").read_text())["project"]
    return project


def write_yaml(folder: Path, port: int, project: str) -> None:
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(
        f"project: {project}\nprovider: local\nregistry: {folder}/registry.db\n"
        f'online_store: {{type: redis, connection_string: "127.0.0.1:{port}"}}\n'
        "offline_store: {type: feature_repo.offline_store.AsOfOfflineStore}\nentity_key_serialization_version: 3\n"
    )


def test_the_installed_client_reads_online_on_its_declared_dependencies_alone(installed: Path, tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        project = f"client_{uuid.uuid4().hex}"
        columns = FeatureSet("1.0.0", ("mid_price",), (FeatureGroup("price", "p", ("mid_price",), (0,)),), "f")
        store = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project=project)
        row = OnlineRow("BTCUSDT", columns, B, B, np.array([100.5]), np.zeros(1, np.int8), {})
        store.write([row], now_ns=B)
        store.close()
        write_yaml(tmp_path / "repo", server.port, project)
        dependencies = linked(declared()["dependencies"], tmp_path / "site")
        assert run(ONLINE + FOREIGN, tmp_path / "repo", installed, dependencies) == "100.5\n[]\n"
    finally:
        server.kill()


def test_with_its_historical_extra_it_retrieves_training_rows_with_their_proof(installed: Path, tmp_path: Path) -> None:
    write_yaml(tmp_path / "repo", 1, "client")
    extra = declared()["optional-dependencies"]["historical"]
    dependencies = linked([*declared()["dependencies"], *extra], tmp_path / "site")
    assert not (dependencies / "great_expectations").exists()
    assert run(HISTORICAL, tmp_path / "repo", installed, dependencies) == "7.5 True\n"


def test_the_client_asks_for_what_the_service_asks_for() -> None:
    service = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    client = declared()
    every = [*client["dependencies"], *client["optional-dependencies"]["historical"]]
    assert set(every) <= set(service["dependencies"])
    assert (client["version"], client["requires-python"]) == (service["version"], service["requires-python"])
