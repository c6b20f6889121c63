"""Feast's own servers and its UI on a repository with our two stores, as its commands start them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from feast import FeatureStore

from feature_repo.registry_listing import NAMED, listing
from tests.ports import free_port
from tests.redis_servers import HOST, PORT, own_project
from tests.waiting import eventually

pytestmark = pytest.mark.soak  # a process that imports Feast for each
NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = ("maker", "taker", "rebate", "floor", "cap", "tier")
DEFINITIONS = f"""
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

venue = Entity(name="venue", join_keys=["venue"], value_type=ValueType.STRING)
fees = FeatureView(
    name="fees", entities=[venue], ttl=timedelta(days=1),
    schema=[Field(name=name, dtype=Float64) for name in {NAMES}],
    source=FileSource(name="fees_file", path="fees.parquet", timestamp_field="at", created_timestamp_column="known"),
)
model = FeatureService(name="model", features=[fees])
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Applied and materialized: the newer value of one venue was known ten minutes after it happened."""
    folder = tmp_path_factory.mktemp("commands")
    at = [NOW - timedelta(minutes=60), NOW - timedelta(minutes=30)]
    known = [NOW - timedelta(minutes=60), NOW - timedelta(minutes=20)]
    kind = pa.timestamp("us", "UTC")
    columns: dict[str, Any] = {"venue": ["bybit"] * 2, "at": pa.array(at, kind), "known": pa.array(known, kind)}
    columns |= {name: [number - 1.0, float(number)] for number, name in enumerate(NAMES, 2)}
    pq.write_table(pa.table(columns), folder / "fees.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    with own_project("commands") as project:
        config = {
            "project": project,
            "provider": "local",
            "registry": "registry.db",
            "online_store": {
                "type": "feature_repo.online_store.AtomicRedisOnlineStore",
                "connection_string": f"{HOST}:{PORT},db=0",
            },
            "offline_store": {"type": "feature_repo.offline_store.AsOfOfflineStore", "bitemporal": True},
            "entity_key_serialization_version": 3,
        }
        (folder / "feature_store.yaml").write_text(yaml.safe_dump(config))
        for words in (["apply"], ["plan"], ["materialize-incremental", NOW.isoformat()]):
            feast(folder, *words)
        yield folder
        feast(folder, "teardown")


def feast(folder: Path, *words: str) -> str:
    program = "import sys; from feast.cli.cli import cli; cli(sys.argv[1:])"
    command = [sys.executable, "-c", program, "--chdir", str(folder), *words]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert finished.returncode == 0, (words, finished.stdout, finished.stderr[-3000:])
    return finished.stdout


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[None]:
    program = "import sys; from feast.cli.cli import cli; cli(sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", program, "--chdir", str(folder), *words])
    try:
        yield
        assert process.poll() is None, "the server must run until it is stopped"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def get(url: str, body: object = None) -> Any:  # noqa: ANN401  # any JSON
    sent = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, sent, {"Content-Type": "application/json"})  # noqa: S310  # ours
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310  # ours
        return json.loads(answer.read())


def listens(url: str) -> bool:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310  # ours
        return True
    return False


ORDER = """
import json, sys
from feast import FeatureStore
from feature_client import feature_matrix
names = ["fees:" + name for name in ("maker", "taker", "rebate", "floor", "cap", "tier")]
found = FeatureStore(sys.argv[1]).get_online_features(names, [{"venue": "bybit"}]).to_dict()
print(json.dumps([list(found), feature_matrix(found, names).tolist()]))
"""


def test_feasts_answer_has_another_order_in_each_process_and_a_matrix_of_it_has_not(repo: Path) -> None:
    orders, matrices = set(), set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", ORDER, str(repo)]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout
        order, matrix = json.loads(told.splitlines()[-1])
        orders.add(tuple(order))
        matrices.add(tuple(matrix[0]))
    assert len(orders) > 1
    assert matrices == {(2.0, 3.0, 4.0, 5.0, 6.0, 7.0)}


def test_feasts_feature_server_reads_our_online_store(repo: Path) -> None:
    port = free_port()
    with serving(repo, "serve", "-p", str(port), "--no-access-log"):
        eventually(lambda: listens(f"http://127.0.0.1:{port}/health"), deadline_s=90, pause_s=0.5)
        asked = {"feature_service": "model", "entities": {"venue": ["bybit", "none"]}}
        found = get(f"http://127.0.0.1:{port}/get-online-features", asked)
    column = found["results"][found["metadata"]["feature_names"].index("maker")]
    assert column["values"] == [2.0, None]
    assert column["statuses"] == ["PRESENT", "NOT_FOUND"]


def test_feasts_offline_server_answers_from_our_offline_store(repo: Path, tmp_path: Path) -> None:
    port = free_port()
    config = yaml.safe_load((repo / "feature_store.yaml").read_text())
    config["registry"] = str(repo / "registry.db")
    config["offline_store"] = {"type": "remote", "host": "127.0.0.1", "port": port}
    (tmp_path / "feature_store.yaml").write_text(yaml.safe_dump(config))
    times = [NOW - timedelta(minutes=minutes) for minutes in (25, 15)]
    asked = pd.DataFrame({"venue": ["bybit"] * 2, "event_timestamp": times})

    def answers() -> list[float] | None:
        with contextlib.suppress(pa.ArrowException, OSError):
            store = FeatureStore(repo_path=str(tmp_path))
            found: list[float] = store.get_historical_features(asked, ["fees:maker"]).to_df()["maker"].tolist()
            return found
        return None

    with serving(repo, "serve_offline", "-p", str(port)):
        eventually(lambda: answers() is not None, deadline_s=90, pause_s=0.5)
        # The newer value happened before both, and was known between them.
        assert answers() == [1.0, 2.0]


@pytest.mark.skipif(importlib.util.find_spec("grpc") is None, reason="feast[grpcio] is not installed")
def test_feasts_ui_and_registry_server_list_what_is_registered(repo: Path) -> None:
    port, project = free_port(), yaml.safe_load((repo / "feature_store.yaml").read_text())["project"]
    url = f"http://127.0.0.1:{port}"
    with serving(repo, "ui", "--port", str(port)):
        eventually(lambda: listens(f"{url}/projects-list.json"), deadline_s=90, pause_s=0.5)
        assert project in {each["id"] for each in get(f"{url}/projects-list.json")["projects"]}
        theirs = {kind: get(f"{url}/api/v1/{kind}?project={project}") for kind in NAMED}
        with urllib.request.urlopen(url, timeout=30) as page:  # ours
            assert "<title>Feast" in page.read().decode()
    assert [view["spec"]["name"] for view in theirs["feature_views"]["featureViews"]] == ["fees"]
    # What our API lists of a registry is what Feast's does.
    ours = {kind: listing(FeatureStore(repo_path=str(repo)), kind, project) for kind in NAMED}
    for kind in NAMED:
        assert ours[kind] == theirs[kind], kind

    port = free_port()
    config = yaml.safe_load((repo / "feature_store.yaml").read_text())
    config["registry"] = {"registry_type": "remote", "path": f"127.0.0.1:{port}"}
    with serving(repo, "serve_registry", "-p", str(port)):
        store = FeatureStore(config=_config(config, repo))

        def listed() -> list[str]:
            with contextlib.suppress(Exception):  # whatever gRPC says of a server that is not there yet
                return [view.name for view in store.list_feature_views()]
            return []

        eventually(lambda: listed() == ["fees"], deadline_s=90, pause_s=0.5)
        found = store.get_online_features(["fees:maker"], [{"venue": "bybit"}]).to_dict()
    assert found["maker"] == [2.0]


def _config(config: dict[str, Any], repo: Path) -> Any:  # noqa: ANN401  # untyped in Feast
    from feast import RepoConfig

    return RepoConfig(**config, repo_path=repo)
