"""A package of features beside the service, installed as users do: in the catalogue, verified, online, historical."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.commands import SEVERAL

PACKAGE = Path(__file__).parents[2] / "examples" / "own_features"
COMMAND = "from runtime.cli import main; main()"
SERVED = """
import json, sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
import pandas as pd, yaml
from feast import FeatureStore
from api.build_request import BuildRequest
from feature_client import FeatureStoreClient
from feature_repo.apply import apply_definitions
from feature_repo.definitions import definitions
from feature_repo.materializing import materialize_unpushed
from market.clock import DAY_NS, format_iso, to_ns
from runtime.equities_demo import write_example
from storage.tables.computing import add_table, added_table, compute_groups
from tests.build_places import place_in
from tests.redis_servers import HOST, PORT, own_project
from training_sets.builds.builder import build_dataset

folder = Path(sys.argv[1])
now = datetime.now(UTC)
with own_project("own_features") as project:
    (folder / "built").mkdir()
    (folder / "feature_store.yaml").write_text(yaml.safe_dump({
        "project": project, "provider": "local", "registry": str(folder / "registry.db"),
        "online_store": {"type": "redis", "connection_string": f"{HOST}:{PORT},db=0"},
        "offline_store": {"type": "feature_repo.offline_store.AsOfOfflineStore"},
        "entity_key_serialization_version": 3, "materialization": {"pull_latest_features": True}}))
    store = FeatureStore(repo_path=str(folder))
    apply_definitions(store, definitions(features_folder=folder / "features"))
    add_table(write_example(folder / "bars", last_day=now.date() - timedelta(days=1)), folder / "tables")
    compute_groups([added_table(folder / "tables", "daily_bars")], folder / "features", now_ns=to_ns(now))
    materialize_unpushed(store, now, before_each=lambda _: None)
    client = FeatureStoreClient(repo_path=folder)
    names = ["gaps:opening_gap", "strength:strength_rank", "strength:return_5d"]
    online = client.get_online_features(names, [{"symbol": "AAPL"}, {"symbol": "MSFT"}])
    asked = pd.Timestamp(now) - pd.Timedelta(days=40)
    frame = pd.DataFrame({"symbol": ["AAPL", "MSFT"], "event_timestamp": [asked] * 2})
    found = client.get_historical_features(frame, names)
    place = replace(place_in(folder / "built", folder / "kernels", features=folder / "features"),
                    tables_folder=folder / "tables")
    begin, end = to_ns(now) - 800 * DAY_NS, to_ns(now) - 20 * DAY_NS
    periods = [f"{format_iso(begin + at * (end - begin) // 4)}" for at in (0, 2, 3, 4)]
    request = BuildRequest.model_validate({
        "symbols": ["AAPL", "MSFT"], "features": names, "calendar": "XNYS", "sample_interval": "1d",
        "target_config": {"type": "regression", "horizon": "5d"},
        **{f"{split}_period_{side}": periods[at + (side == "end")] for at, split in
           enumerate(("train", "validation", "test")) for side in ("start", "end")}}).to_request("2.1.0")
    (folder / "built" / "dataset").mkdir()
    manifest = build_dataset(request, place, folder / "built" / "dataset").manifest
    print(json.dumps({
        "views": sorted(view.name for view in store.list_feature_views()),
        "online": [{name: feature.value for name, feature in row.items()} for row in online.features],
        "columns": manifest["columns"], "records": manifest["records"], "leakage": manifest["leakage"],
        "ranks": found.to_df()["strength_rank"].tolist(), "is_proven": found.pit_report.is_proven}))
    client.close()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment in which the package is installed, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    copied = folder / "source"
    shutil.copytree(PACKAGE, copied)  # a build leaves files beside its source
    subprocess.run([*pip, "--target", str(folder / "site"), str(copied)], check=True, capture_output=True)
    root = str(PACKAGE.parents[1])
    return {**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{root}"}


def run(environment: Mapping[str, str], *arguments: str) -> str:
    found = subprocess.run(
        [sys.executable, *arguments], env=dict(environment), capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_an_installed_package_is_in_the_catalogue(installed: Mapping[str, str]) -> None:
    page = run(installed, *SEVERAL, json.dumps([["features", "page", "strength"], ["features", "page", "pressure"]]))
    assert "| `strength_rank` |" in page
    assert "| `pressure_15s` |" in page


@pytest.mark.soak
def test_an_installed_package_keeps_the_laws(installed: Mapping[str, str], tmp_path: Path) -> None:
    verify = ["verify", "features", "--cheats", "1", "--data", str(tmp_path), "--json"]
    verdicts = json.loads(run(installed, "-c", COMMAND, *verify))
    assert [verdict["group"] for verdict in verdicts] == ["pressure", "gaps", "strength"]
    assert all(verdict["is_clean"] and verdict["missed"] == [] for verdict in verdicts)


def test_an_installed_package_is_served_online_and_historically(installed: Mapping[str, str], tmp_path: Path) -> None:
    found = json.loads(run(installed, "-c", SERVED, str(tmp_path)).splitlines()[-1])
    assert {"pressure", "gaps", "strength"} <= set(found["views"])
    assert sorted(row["strength:strength_rank"] for row in found["online"]) == [0.0, 1.0]
    assert all(row["gaps:opening_gap"] is not None for row in found["online"])
    assert sorted(found["ranks"]) == [0.0, 1.0]
    assert found["is_proven"]
    # Its dataset: features of a table and of a cross-section, each made again of what the table knew.
    assert {"gaps__opening_gap", "strength__strength_rank"} < set(found["columns"])
    assert found["records"]["train"] > 300
    assert found["leakage"]["table_rows_computed_again"] == 2 * found["leakage"]["rows_joined_again"] > 300


def test_a_module_that_is_not_there_is_named() -> None:
    environment = {**os.environ, "FEATURE_SERVICE_FEATURE_MODULES": "no_such_module"}
    found = subprocess.run(
        [sys.executable, "-c", COMMAND, "features", "list"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode != 0
    assert "no_such_module" in found.stderr
    assert "Traceback" not in found.stderr
