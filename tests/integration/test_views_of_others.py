"""A view that a package adds, through the commands alone: registered, kept, materialized, served, in a dataset."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_client import FeatureStoreClient
from feature_repo.store import open_repository
from market.errors import InvalidRequest
from runtime.commands.options import settings_for
from runtime.servers import running_servers
from tests.conftest import missing
from tests.ports import free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
COMMAND = "from runtime.cli import main; main()"
DEADLINE_S = 300
KEY = "the key of the test"
BEGIN = datetime(2026, 1, 5, 12, tzinfo=UTC)
THEIRS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64
from feature_repo.definitions import price, symbol

venue = Entity(name="venue", join_keys=["venue"], value_type=ValueType.STRING)
fees = FeatureView(
    name="fees", entities=[symbol, venue], ttl=timedelta(days=3650), schema=[Field(name="maker", dtype=Float64)],
    source=FileSource(name="fees", path=PATH, timestamp_field="at", created_timestamp_column="known"),
)
priced = FeatureService(name="priced", features=[price[["mid_price"]], fees])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own folder: root's PostgreSQL must be able to pass through to its cluster.
    with tempfile.TemporaryDirectory(prefix="fs-others-") as name:
        yield Path(name)


@pytest.fixture
def package(folder: Path) -> Path:
    """A folder with a module of views and the entry point that an installed package has."""
    site = folder / "site"
    about = site / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "their_views.py").write_text(THEIRS.replace("PATH", repr(str(folder / "fees.parquet"))))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[feature_service.definitions]\ntheirs = their_views\n")
    rows = [("bybit", BEGIN, BEGIN, 1.0), ("bybit", BEGIN + timedelta(minutes=4), BEGIN + timedelta(minutes=6), 2.0)]
    rows += [("other", BEGIN, BEGIN, 9.0), ("bybit", datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), 3.0)]
    venues, at, known, maker = zip(*rows, strict=True)
    kind = pa.timestamp("us", "UTC")
    columns: dict[str, Any] = {"symbol": ["BTCUSDT"] * len(rows), "venue": venues, "at": pa.array(at, kind)}
    columns |= {"known": pa.array(known, kind), "maker": maker}
    pq.write_table(pa.table(columns), folder / "fees.parquet")
    return site


def service(*words: str, environment: Mapping[str, str]) -> Any:  # noqa: ANN401  # any JSON
    command = [sys.executable, "-c", COMMAND, *words, "--json"]
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert finished.returncode == 0, (words, finished.stdout, finished.stderr[-3000:])
    return json.loads(finished.stdout)


@pytest.mark.soak  # the demonstration, and as many processes as there are commands
def test_what_a_package_adds_goes_through_every_door(folder: Path, package: Path, kernel_cache: Path) -> None:
    bare = {**os.environ, "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent), "FEATURE_SERVICE_API_KEY": KEY}
    bare |= dict.fromkeys(("REDIS_HOST", "POSTGRES_HOST", "RABBITMQ_HOST"), "")
    theirs = {**bare, "PYTHONPATH": str(package)}
    data = folder / "demo"
    service("demo", "--out", str(data), environment=bare)
    with running_servers(settings_for(data, embedded=True)):
        changes = json.dumps(service("apply", "--data", str(data), environment=theirs))
        assert all(name in changes for name in ("venue", "fees", "priced"))
        # Where the package is not installed, its views stay; where it is, nothing changes.
        service("apply", "--data", str(data), environment=bare)
        service("apply", "--data", str(data), environment=theirs)
        done = service("upkeep", "run", "materialization", "--data", str(data), environment=theirs)
        assert "fees" in json.dumps(done)
        check_the_sdk(data)
        check_a_dataset(data, theirs)
        check_the_server(data, theirs)


def check_the_sdk(data: Path) -> None:
    store = open_repository(data / "historical")
    assert {"fees", "price"} <= {view.name for view in store.list_feature_views()}
    times = [BEGIN + timedelta(minutes=minutes) for minutes in (5, 7)]
    asked = pd.DataFrame({"symbol": "BTCUSDT", "venue": "bybit", "event_timestamp": times})
    found = store.get_historical_features(asked, store.get_feature_service("priced")).to_df()
    assert found["maker"].tolist() == [1.0, 2.0]  # the second was known two minutes after it happened
    assert found["mid_price"].notna().all()
    copied = shutil.copytree(data / "client", data.parent / "copied")  # all that a process needs that reads
    with closing(FeatureStoreClient(copied)) as client:
        names = ["fees:maker", "price:mid_price"]
        [row] = client.get_online_features(names, [{"symbol": "BTCUSDT", "venue": "bybit"}]).features
        assert (row["fees:maker"].value, row["fees:maker"].status) == (3.0, "PRESENT")
        assert set(row) == set(names)


def check_a_dataset(data: Path, environment: Mapping[str, str]) -> None:
    period = ("--symbol", "BTCUSDT", "--from", "2026-01-05T12:01", "--to", "2026-01-05T12:10", "--horizon", "30s")
    named = ("--registry", "1.0.0", "--feature", "fees:maker", "--feature-key", "venue=bybit")
    built = service("dataset", "build", *period, *named, "--data", str(data), environment=environment)
    with closing(FeatureStoreClient(data / "historical")) as client:
        dataset = client.dataset(built["dataset_id"])
        assert dataset.feature_references[-1] == "fees:maker"
        features = pd.concat([dataset.load(split).features for split in ("train", "validation", "test")])
        maker = features["fees__maker"]
        at = maker.index.get_level_values("timestamp")
        is_known = at >= pd.Timestamp(BEGIN + timedelta(minutes=6))
        assert set(maker[is_known]) == {2.0}
        assert set(maker[~is_known]) == {1.0}
        with pytest.raises(InvalidRequest, match="sequences: must have only features of the log"):
            dataset.sequences(length=2)


def check_the_server(data: Path, environment: Mapping[str, str]) -> None:
    node = shutil.which("node")
    if node is None:
        missing("node")
    assert node is not None
    port = free_port()
    run = [sys.executable, "-c", COMMAND, "run", "--roles", "api", "--data", str(data)]
    process = subprocess.Popen(run, cwd=ROOT, env={**environment, "FEATURE_SERVICE_PORT": str(port)})
    script = (
        "import('file:///' + process.argv[1]).then(async (m) => console.log(JSON.stringify(await m.onlineFeatures("
        "process.argv[2], process.argv[3], {entities: {symbol: ['BTCUSDT'], venue: ['bybit']}, "
        "feature_service: 'priced'}))))"
    )
    asking = [node, "-e", script, str(ROOT / "examples" / "feature_server.mjs"), f"http://127.0.0.1:{port}", KEY]

    def answered() -> str:
        return subprocess.run(asking, capture_output=True, text=True, check=False, timeout=60).stdout

    try:
        eventually(lambda: "mid_price" in answered(), deadline_s=120, pause_s=1.0)
        [row] = json.loads(answered().splitlines()[-1])
    finally:
        process.terminate()
        process.wait(60)
    assert row["maker"] == {"value": 3.0, "status": "PRESENT"}
    assert row["mid_price"]["value"] is None  # no ingest runs here
