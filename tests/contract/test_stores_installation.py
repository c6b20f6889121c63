"""The two stores as their own distribution: beside Feast alone they run the tutorial that `feast init` writes."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.installations import ROOT, install, linked, run
from tests.redis_servers import HOST, PORT

SHIPPED = ("feature_service_feast", "feature_repo", "market")
STOCK = "online_store:\n    type: sqlite\n    path: data/online_store.db\n"
OURS = f"""online_store:
    type: feature_service_feast.online_store.AtomicRedisOnlineStore
    connection_string: {HOST}:{PORT}
offline_store:
    type: feature_service_feast.offline_store.AsOfOfflineStore
"""

INIT = """
import sys
from feast.cli.cli import cli
cli(["init", sys.argv[1].rpartition("/")[2]], standalone_mode=False)
"""
# What the template's test_workflow.py does, and how it is done, with answers instead of prints.
TUTORIAL = """
import json, os, sys
from datetime import datetime, timedelta
import pandas as pd
from feast import FeatureStore
from feast.cli.cli import cli
from feast.data_source import PushMode
sys.path.append(os.getcwd())
for _ in range(2):
    cli(["apply"], standalone_mode=False)
store = FeatureStore(".")
rows = pd.read_parquet("data/driver_stats.parquet")
end = rows["event_timestamp"].max()
keys = [1001, 1002, 1003, 1004, 1005, 1001, 7]
hours = [0, 5.5, 23, 40, 200, 0, 1]
times = [end - pd.Timedelta(hours=hour) for hour in hours]
numbers = list(range(len(keys)))
asked = pd.DataFrame({"driver_id": keys, "event_timestamp": times, "val_to_add": numbers, "val_to_add_2": numbers})
names = ["driver_hourly_stats:" + name for name in ("conv_rate", "acc_rate", "avg_daily_trips")]
names += ["transformed_conv_rate:conv_rate_plus_val1", "transformed_conv_rate:conv_rate_plus_val2"]
history = store.get_historical_features(asked, names).to_df()
columns = ["driver_id", "val_to_add", *(name.partition(":")[2] for name in names)]
found = {"history": json.loads(history[columns].to_json(orient="values"))}
cli(["materialize-incremental", datetime.now().isoformat()], standalone_mode=False)
def online(features):
    entities = [{"driver_id": key, "val_to_add": 1000, "val_to_add_2": 2000} for key in (1001, 1002, 7)]
    return store.get_online_features(features, entities).to_dict()
names += ["driver_hourly_stats:driver_metadata", "driver_hourly_stats:driver_config"]
names += ["driver_hourly_stats:driver_profile"]
services = [store.get_feature_service("driver_activity_v" + number) for number in "123"]
found["online"] = [online(names), *map(online, services)]
event = {"driver_id": [1001], "event_timestamp": [datetime.now()], "created": [datetime.now()], "conv_rate": [1.0]}
event |= {"acc_rate": [1.0], "avg_daily_trips": [1000], "driver_metadata": [{"vehicle_type": "truck"}]}
event |= {"driver_config": [json.dumps({"zone": "north"})], "driver_profile": [{"name": "a", "age": "30"}]}
store.push("driver_stats_push_source", pd.DataFrame(event), to=PushMode.ONLINE_AND_OFFLINE)
found["pushed"] = online(services[2])
found["rows"] = len(pd.read_parquet("data/driver_stats.parquet")) - len(rows)
cli(["teardown"], standalone_mode=False)
print(json.dumps(found, sort_keys=True, default=str))
"""


def declared() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "feature_service_feast" / "pyproject.toml").read_text())["project"]
    return project


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the stores, and nothing that they depend on."""
    return install("feature_service_feast", SHIPPED, tmp_path_factory.mktemp("stores"))


def test_one_package_is_installed_that_names_no_other_of_ours(installed: Path) -> None:
    assert [path.name for path in installed.iterdir() if path.suffix != ".dist-info"] == ["feature_service_feast"]
    texts = {path.name: path.read_text(encoding="utf-8") for path in installed.glob("*/*.py")}
    assert {"offline_store.py", "online_store.py"} <= texts.keys()
    assert [name for name, text in texts.items() if re.search(r"\b(feature_repo|market|transforms)\.\w", text)] == []


@pytest.mark.soak  # three processes that import Feast
def test_the_tutorial_of_feast_gives_the_same_on_the_installed_stores(installed: Path, tmp_path: Path) -> None:
    dependencies = linked(
        declared()["dependencies"], tmp_path / "site-packages"
    )  # dill pickles what lies elsewhere by value
    name = f"drivers_{uuid.uuid4().hex[:8]}"
    start = tmp_path / name
    run(INIT, start, installed, dependencies, cwd=tmp_path)
    found = {}
    for place, stores in (("feast", STOCK), ("ours", OURS)):
        shutil.copytree(start, tmp_path / place / name)
        repo = tmp_path / place / name / "feature_repo"
        yaml = (repo / "feature_store.yaml").read_text()
        assert STOCK in yaml
        (repo / "feature_store.yaml").write_text(yaml.replace(STOCK, stores))
        found[place] = json.loads(run(TUTORIAL, repo, installed, dependencies).splitlines()[-1])

    theirs, ours = found["feast"], found["ours"]
    # Feast's dask store answers a question that is asked twice once, drops the driver it does not know, and sorts.
    assert [row[0] for row in ours["history"]] == [1001, 1002, 1003, 1004, 1005, 1001, 7]
    assert ours["history"][-1][2:] == [None] * 5
    assert all(row in ours["history"] for row in theirs["history"])
    assert ours["online"] == theirs["online"]
    assert ours["pushed"] == theirs["pushed"]
    assert ours["pushed"]["conv_rate"][0] == 1.0
    assert (ours["rows"], theirs["rows"]) == (1, 1)


def test_the_stores_ask_for_what_the_service_asks_for() -> None:
    service = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stores = declared()
    assert set(stores["dependencies"]) <= set(service["dependencies"])
    assert (stores["version"], stores["requires-python"]) == (service["version"], service["requires-python"])
