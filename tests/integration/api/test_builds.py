"""Datasets that are built over HTTP: accepted, refused, cancelled, failed, and given again where one stands."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.services import ApiServices
from market.clock import SECOND_NS, parse_iso_ns
from market.errors import Conflict, InvalidRequest
from runtime.building import dataset_builds
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.stores import open_stores
from tests.api_service import DURATION_NS, KEY, START_NS, asked, at, finished
from tests.generated_client import PACKAGE, generate
from training_sets.dataset.drift import ServedDrift
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget


def test_a_build_is_accepted_and_ends_ready_with_its_proof(client: TestClient, ready: dict[str, Any]) -> None:
    assert ready["progress"] == 1
    assert ready["train_records"] == 90  # 100 sampled, the last 10 purged: their labels end in the next period
    assert [split["overlaps_next"] for split in ready["splits_info"]["splits"]] == [False, False, False]
    assert ready["targets"] == [
        {"type": "regression", "horizon_seconds": 10, "decision_delay_seconds": 0, "name": "target"}
    ]
    assert ready["manifest"]["feature_set"] == ready["feature_set"]
    [fold] = ready["timeline"]
    edges = ("start", "embargo_from", "used_from", "used_until", "end")
    assert {period["name"]: [period[name] for name in edges] for period in fold["periods"]} == {
        "train": [at(10), at(10), at(10), at(100), at(110)],
        "validation": [at(110), at(110), at(110), at(150), at(160)],
        "test": [at(160), at(160), at(160), at(210), at(210)],
    }
    listed = client.get("/dataset/list", params={"status": "ready", "symbol": "BTCUSDT", "limit": 5}).json()
    assert ready["dataset_id"] in [document["dataset_id"] for document in listed]
    assert client.get("/dataset/list?symbol=SOLUSDT").json() == []


def test_served_rows_are_compared_with_what_a_dataset_holds(
    client: TestClient, services: ApiServices, ready: dict[str, Any]
) -> None:
    dataset_id = ready["dataset_id"]
    # Of the last hour nothing was served: the rows are of a day that was replayed.
    document = client.get("/data-quality/drift", params={"dataset_id": dataset_id}).json()
    assert document["symbols"] == {"BTCUSDT": {"rows": 0, "drifted": [], "columns": {}}}
    assert document["limits"] == {"psi": 0.25, "ks": 0.3, "missing_rate": 0.1}
    assert client.get("/data-quality/drift", params={"dataset_id": "none"}).status_code == 404
    assert client.get("/data-quality/drift", params={"dataset_id": dataset_id, "hours": 25}).status_code == 422
    served = ServedDrift(services.features, services.versions_folder, services.drift_limits)
    found = served.of(services.metadata.get_dataset(dataset_id), until_ns=START_NS + 3600 * SECOND_NS, hours=1)
    assert found["symbols"]["BTCUSDT"]["rows"] > 100
    assert found["symbols"]["BTCUSDT"]["columns"]["spread_rel"]["psi"] is not None


def test_a_request_whose_dataset_stands_is_answered_with_it_at_once(client: TestClient, ready: dict[str, Any]) -> None:
    answer = client.post("/dataset/build", json=asked())
    assert answer.status_code == 200
    document = answer.json()
    assert (document["status"], document["dataset_id"]) == ("ready", ready["dataset_id"])
    assert document["estimated_completion"] is not None


def test_a_cancelled_build_ends_stays_cancelled_and_leaves_no_files(
    settings: Settings, servers: Servers, services: ApiServices
) -> None:
    begun: list[str] = []
    with dataset_builds(settings, servers, open_stores(settings)) as builds:

        def cancel_at_the_second_step(step: str) -> None:
            begun.append(step)
            if len(begun) == 2:
                [record] = services.metadata.list_datasets(status="building")
                builds.cancel(record.dataset_id)

        with pytest.raises(Conflict, match="must be building, was cancelled"):
            builds.build(request_of("BTCUSDT"), on_step=cancel_at_the_second_step)
        [newest_record] = services.metadata.list_datasets(limit=1)
        assert (newest_record.status, newest_record.error_message) == ("cancelled", "cancelled")
        assert not (settings.dataset_storage_path / newest_record.dataset_id).exists()
        with pytest.raises(Conflict, match="must be building, was cancelled"):
            builds.cancel(newest_record.dataset_id)
    assert len(begun) == 2


def test_the_query_form_builds_with_a_split_by_time(client: TestClient) -> None:
    # 240 s split 70/15/15 leave 36 s to validate and test, less than the minute that the query form looks ahead.
    query = {"symbol": "ETHUSDT", "from": at(0), "to": at(240)}
    refused = client.post("/dataset/build", params=query)
    assert refused.status_code == 400
    assert "target: must look less far ahead" in refused.json()["message"]
    started = client.post("/dataset/build", params={**query, "to": at(600)})
    assert started.status_code == 202
    assert [split["end"] for split in started.json()["splits_info"]["splits"]] == [at(420), at(510), at(600)]
    document = finished(client, started.json()["dataset_id"])
    assert document["status"] == "ready"
    assert document["train_records"] > 0
    assert document["validation_records"] == 0
    performance = document["performance"]
    assert performance["peak_memory_mb"] > 50
    assert sum(performance["phase_seconds"].values()) == pytest.approx(performance["build_duration_seconds"])
    assert "reading prices" in performance["phase_seconds"]
    assert performance["records_per_second"] > 0
    assert performance["cache_misses_count"] == 0  # it was served


def test_a_period_alone_is_of_every_symbol_that_has_rows_in_it(client: TestClient) -> None:
    started = client.post("/dataset/build", params={"from": at(0), "to": at(620)})
    assert started.status_code == 202
    assert started.json()["estimated_completion"] >= "2026"
    document = finished(client, started.json()["dataset_id"])
    assert (document["status"], document["symbols"]) == ("ready", ["BTCUSDT", "ETHUSDT"])
    refused = client.post("/dataset/build", params={"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"})
    assert refused.status_code == 400
    assert "symbols: must be one with rows from 2020-01-01T00:00:00Z" in refused.json()["message"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"split_strategy": "random"}, "random_config: must be given for a random split"),
        ({"symbol": "SOLUSDT"}, "SOLUSDT has no rows"),
        ({"symbol": "../x"}, "symbol: must be 1 to 64 characters"),
        ({"feature_registry_version": "9.9.9"}, "registry version: must be one of 1.0.0"),
        (
            {"train_period_start": "2025-01-05T12:00:00Z", "train_period_end": "2025-01-05T13:00:00Z"},
            "BTCUSDT has rows from 2026-01-05T12:00:01Z to 2026-01-05T12:0",
        ),
        ({"train_period_start": "1990-01-01T00:00:00Z"}, "dataset: must have 1 to 80000000 samples"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused_at_once_with_what_can(
    client: TestClient, changes: dict[str, object], rule: str
) -> None:
    before = client.get("/dataset/list").json()
    answer = client.post("/dataset/build", json=asked(**changes))
    assert answer.status_code == 400
    assert answer.json()["error"] == "InvalidRequest"
    assert rule in answer.json()["message"]
    assert client.get("/dataset/list").json() == before


def test_a_malformed_build_names_what_is_wrong(client: TestClient) -> None:
    unknown = client.post("/dataset/build", json=asked(splitstrategy="time_based"))
    assert unknown.status_code == 422
    assert "body.splitstrategy" in unknown.json()["message"]
    for content in (b"{", b"[]", b"", b"\xff"):
        assert client.post("/dataset/build", content=content).status_code == 422
    both = client.post("/dataset/build", params={"symbol": "BTCUSDT"}, json=asked())
    assert (both.status_code, both.json()["error"]) == (422, "MalformedRequest")


def test_a_failed_build_says_why_and_leaves_no_files(client: TestClient, settings: Settings) -> None:
    # It reaches into the rows, but no label of the last seconds has its end.
    started = client.post(
        "/dataset/build",
        json=asked(
            train_period_start=at(236),
            train_period_end=at(300),
            validation_period_start=at(300),
            validation_period_end=at(400),
            test_period_start=at(400),
            test_period_end=at(500),
        ),
    )
    assert started.status_code == 202
    dataset_id = started.json()["dataset_id"]
    document = finished(client, dataset_id)
    assert document["status"] == "failed"
    assert "train period: must hold rows with a label" in document["error_message"]
    assert re.search(
        r"of \d+ samples in all periods, \d+ had no row of features and \d+ no label", document["error_message"]
    )
    assert document["download_urls"] == {}
    assert not (settings.dataset_storage_path / dataset_id).exists()
    answer = client.get(f"/dataset/{dataset_id}/download")
    assert (answer.status_code, answer.json()["error"]) == (409, "Conflict")


def test_an_identical_request_gets_the_build_that_is_on_its_way(client: TestClient) -> None:
    one, other = (client.post("/dataset/build", json=asked(embargo="7s")).json() for _ in range(2))
    assert one["dataset_id"] == other["dataset_id"]
    assert finished(client, one["dataset_id"])["attempt"] == 1


def request_of(symbol: str, *, reach_s: int = 1) -> DatasetRequest:
    return DatasetRequest(
        (symbol,),
        TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
        (RegressionTarget(reach_s * SECOND_NS),),
        "1.0.0",
    )


def test_a_build_in_this_thread_returns_the_dataset_or_raises_why_not(settings: Settings, servers: Servers) -> None:
    steps: list[str] = []
    with dataset_builds(settings, servers, open_stores(settings)) as builds:
        built = builds.build(request_of("ETHUSDT"), on_step=steps.append)
        assert (estimate_ns := builds.estimated_completion_ns(built.path.name)) is not None
        assert estimate_ns > parse_iso_ns("2026-01-05T12:00:00")
        with pytest.raises(InvalidRequest, match="SOLUSDT has no rows"):
            builds.build(request_of("SOLUSDT"))
    assert built.records["train"] > 0
    assert steps[:2] == ["making sure that the features exist", "reading prices"]
    assert len(steps) == 5
    assert built.path.is_dir()
    assert not list(built.path.parent.glob(".*"))


def test_a_client_that_is_generated_from_the_document_asks_the_api(
    services: ApiServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made = import_module(PACKAGE)
    latest = import_module(f"{PACKAGE}.api.features.features_latest")
    build = import_module(f"{PACKAGE}.api.datasets.dataset_build")
    models = import_module(f"{PACKAGE}.models")
    with TestClient(create_app(services), headers={"X-API-Key": KEY}) as inner:
        client = made.Client(base_url="http://testserver").set_httpx_client(inner)
        vector = latest.sync(client=client, symbol="BTCUSDT", features="mid_price")
        assert (type(vector).__name__, vector.symbol) == ("FeatureVector", "BTCUSDT")
        assert vector.features["mid_price"] > 0
        both = latest.sync(client=client, symbols="BTCUSDT,NOBODY")
        assert (len(both.vectors), both.not_found) == (1, ["NOBODY"])
        refused = latest.sync_detailed(client=client, symbol="NOBODY")
        assert (refused.status_code, refused.parsed.error) == (404, "NotFound")
        started = build.sync(client=client, body=models.BuildRequest.from_dict(asked()))
        assert started.status in {"building", "ready"}
        show = import_module(f"{PACKAGE}.api.datasets.dataset_show")
        assert finished(inner, started.dataset_id)["status"] == "ready"
        assert show.sync(client=client, dataset_id=started.dataset_id).train_records > 0
