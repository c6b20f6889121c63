"""Feast's clients read, write and list through our API, and views are materialized by it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
from feast import FeatureStore, FileSource, RepoConfig

from market.clock import to_datetime
from tests.conftest import ROOT, missing
from tests.feast_served import KEY, Served, column
from tests.three_features import OURS, B

# The registry


def test_what_is_registered_is_listed_as_feasts_registry_server_tells_it(served: Served) -> None:
    def told(path: str) -> dict[str, Any]:
        answer = served.ours.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    entities = told("entities")
    assert {each["spec"]["name"] for each in entities["entities"]} >= {"symbol", "driver", "city"}
    assert entities["pagination"] == {"totalCount": len(entities["entities"]), "totalPages": 1}
    views = told(f"feature_views?project={served.store.project}")["featureViews"]
    assert {each["spec"]["name"]: each["type"] for each in views} == {
        "price": "featureView",
        "orderflow": "featureView",
        "stats": "featureView",
        "sector": "featureView",
        "doubled": "onDemandFeatureView",
    }
    stats = told("feature_views/stats")
    assert stats["spec"]["entities"] == ["driver", "city"]
    assert {field["name"]: field["valueType"] for field in stats["spec"]["features"]}["trips"] == "INT64"
    assert stats == next(each for each in views if each["spec"]["name"] == "stats")
    assert "model" in {each["spec"]["name"] for each in told("feature_services")["featureServices"]}
    assert "drives" in {each["name"] for each in told("data_sources")["dataSources"]}
    assert served.store.project in {each["spec"]["name"] for each in told("projects")["projects"]}
    assert told("entities?project=nobodys") == {"entities": [], "pagination": {}}
    missing_ = served.ours.get("/api/v1/feature_views/nosuch")
    assert (missing_.status_code, "nosuch" in missing_.json()) == (404, True)
    assert served.ours.get("/api/v1/permissions").status_code == 422


# Feast's clients


@pytest.fixture
def url(served: Served) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(served.app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def test_a_stock_client_with_a_remote_online_store_reads_and_writes(served: Served, url: str, tmp_path: Path) -> None:
    config = RepoConfig(
        project=served.store.project,
        provider="local",
        registry=str(cast("Any", served.store.config.registry).path),
        online_store={"type": "remote", "path": url},
        auth={"type": "oidc", "token": KEY},
        entity_key_serialization_version=3,
        repo_path=tmp_path,
    )
    client = FeatureStore(config=config)
    served.put("R", [100.5, None, 0.5])
    found = client.get_online_features(OURS, [{"symbol": "R"}, {"symbol": "NOSUCH"}]).to_dict()
    assert found == {
        "symbol": ["R", "NOSUCH"],
        "mid_price": [100.5, None],
        "vwap_3s": [None, None],
        "spread_abs": [0.5, None],
    }
    frame = pd.DataFrame({"symbol": ["R"], "beta": [2.5], "event_timestamp": [to_datetime(B)]})
    client.write_to_online_store("sector", frame)
    assert client.get_online_features(["sector:beta"], [{"symbol": "R"}]).to_dict()["beta"] == [2.5]
    with pytest.raises(Exception, match="only ingest may write them"):
        client.write_to_online_store("price", frame.rename(columns={"beta": "mid_price"}).assign(spread_abs=1.0))


def test_javascript_reads_by_name_over_plain_http(served: Served, url: str) -> None:
    node = shutil.which("node")
    if node is None:
        missing("node")
    assert node is not None
    served.put("JS", [100.5, None, 0.25])

    def read(*features: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [node, ROOT / "examples" / "feature_server.mjs", url, "JS,NOSUCH", *features],
            env={"FEATURE_SERVICE_API_KEY": key},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    known, unknown = json.loads(read(*OURS).stdout)
    assert known == {
        "symbol": {"value": "JS", "status": "PRESENT"},
        "mid_price": {"value": 100.5, "status": "PRESENT"},
        "vwap_3s": {"value": None, "status": "NULL_VALUE"},
        "spread_abs": {"value": 0.25, "status": "PRESENT"},
    }
    assert unknown["mid_price"] == {"value": None, "status": "NOT_FOUND"}
    refused = read("nosuch:x")
    assert (refused.returncode, refused.stderr.startswith("404: "), "nosuch" in refused.stderr) == (1, True, True)
    assert read(*OURS, key="wrong").stderr.startswith("401: ")


def test_views_are_materialized_from_their_sources_and_ours_are_left(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(cast("FileSource", served.store.get_feature_view("sector").batch_source).path)
    when = datetime.now(UTC) - timedelta(minutes=5)
    pq.write_table(
        pa.table({"symbol": ["MAT"], "beta": [4.5], "event_timestamp": pa.array([when], pa.timestamp("us", "UTC"))}),
        source,
    )
    end = (when + timedelta(minutes=1)).isoformat()
    answer = served.ours.post(
        "/materialize", json={"start_ts": (when - timedelta(minutes=1)).isoformat(), "end_ts": end}
    )
    assert (answer.status_code, answer.json()) == (200, None), answer.text
    assert column(served.ask(entities={"symbol": ["MAT"]}, features=["sector:beta"]), "beta")["values"] == [4.5]
    assert served.ours.post("/materialize-incremental", json={"end_ts": end}).status_code == 200
    assert "aterializ" not in capsys.readouterr().out.replace("path=/materialize", "")
