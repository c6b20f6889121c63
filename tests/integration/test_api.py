"""The whole API on real embedded servers: live vectors, dataset builds and their downloads, stores that are away."""

from __future__ import annotations

import dataclasses
import io
import shutil
import socket
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.services import ApiServices
from feature_repo.registry_versions import SHIPPED_FOLDER
from ingestion.pipeline import ServedRows, available_as_if_live
from ingestion.replay import replay
from ingestion.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.sinks import OnlineSink
from market.clock import MINUTE_NS, SECOND_NS, format_iso, parse_iso_ns
from market.errors import Conflict, InvalidRequest, StoreUnavailable
from runtime.settings import Settings, load_settings
from runtime.wiring import (
    Servers,
    api_services,
    apply_feature_store,
    compiled_kernel,
    dataset_builds,
    make_pipeline,
    online_store,
    running_servers,
)
from storage.metadata import DatasetRecord, Metadata
from storage.online import OnlineStore
from training_sets.availability import available_period
from training_sets.claims import release, take_claim
from training_sets.folds import TimeBased, default_periods
from training_sets.request import DatasetRequest
from training_sets.targets import RegressionTarget
from transforms.rows import FeatureRows

KEY = "integration-key"
START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 4 * MINUTE_NS
BUILD_DEADLINE_S = 120


class Newest:
    """A sink that keeps the last row of each symbol."""

    def __init__(self) -> None:
        self.rows: dict[str, FeatureRows] = {}

    def write(self, served: Sequence[ServedRows]) -> None:
        self.rows.update((each.rows.symbol, each.rows) for each in served)

    def close(self) -> None:
        """Nothing is open."""


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + BUILD_DEADLINE_S
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def settings(kernel_cache: Path) -> Iterator[Settings]:
    # Not pytest's own folder: another run of it closes the passage that root's PostgreSQL needs to get to its cluster.
    with tempfile.TemporaryDirectory(prefix="fs-") as folder:
        # The API builds with the newest version there is: the one that is served here.
        versions = Path(folder) / "versions"
        versions.mkdir()
        shutil.copy(SHIPPED_FOLDER / "1.0.0.yaml", versions)
        yield load_settings(
            {
                "FEATURE_SERVICE_DATA_PATH": folder,
                "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
                "FEATURE_SERVICE_API_KEY": KEY,
                "FEATURE_REGISTRY_VERSIONS_DIR": str(versions),
                "FEATURE_SERVICE_SYMBOLS": "BTCUSDT,ETHUSDT",
                "REDIS_HOST": None,
                "POSTGRES_HOST": None,
            },
            env_file=None,
        )


@pytest.fixture(scope="module")
def servers(settings: Settings) -> Iterator[Servers]:
    with running_servers(settings) as found:
        apply_feature_store(settings, found)
        yield found


@pytest.fixture(scope="module")
def newest(settings: Settings, servers: Servers) -> dict[str, FeatureRows]:
    """The last rows of a short simulated market, which is in the online store and in the feature log."""
    sink = Newest()
    pipeline = make_pipeline(
        settings,
        compiled_kernel(settings, "1.0.0"),
        sinks=[OnlineSink(online_store(servers)), sink],
        availability=available_as_if_live,
    )
    with closing(pipeline):
        replay(pipeline, simulate(DEFAULT_SYMBOLS, seed=3, start_ns=START_NS, duration_ns=DURATION_NS))
    return sink.rows


@pytest.fixture(scope="module")
def services(settings: Settings, servers: Servers, newest: dict[str, FeatureRows]) -> Iterator[ApiServices]:
    assert set(newest) == {"BTCUSDT", "ETHUSDT"}
    with api_services(settings, servers) as found:
        yield found


@pytest.fixture(scope="module")
def client(services: ApiServices) -> Iterator[TestClient]:
    with TestClient(create_app(services), headers={"X-API-Key": KEY}) as found:
        yield found


def at(seconds: int) -> str:
    return format_iso(START_NS + seconds * SECOND_NS)


def asked(**changes: object) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "train_period_start": at(10),
        "train_period_end": at(110),
        "validation_period_start": at(110),
        "validation_period_end": at(160),
        "test_period_start": at(160),
        "test_period_end": at(210),
        "target_config": {"type": "regression", "horizon": "10s"},
        **changes,
    }


def finished(client: TestClient, dataset_id: str) -> dict[str, Any]:
    """The dataset's document once its build has ended."""
    assert eventually(lambda: client.get(f"/dataset/{dataset_id}").json()["status"] != "building")
    document: dict[str, Any] = client.get(f"/dataset/{dataset_id}").json()
    return document


@pytest.fixture(scope="module")
def ready(client: TestClient) -> dict[str, Any]:
    """A dataset that was built through the API."""
    started = client.post("/dataset/build", json=asked())
    assert started.status_code == 202
    document = finished(client, started.json()["dataset_id"])
    assert (document["status"], document["error_message"]) == ("ready", None)
    return document


def test_the_latest_vector_is_the_last_row_served(client: TestClient, newest: dict[str, FeatureRows]) -> None:
    for symbol, rows in newest.items():
        answer = client.get("/features/latest", params={"symbol": symbol, "interval": "1s"})
        assert answer.status_code == 200
        document = answer.json()
        last = dict(zip(rows.feature_set.columns, rows.values[-1].tolist(), strict=True))
        assert document["timestamp"] == format_iso(int(rows.row_ns[-1]))
        assert document["features"] == {name: value for name, value in last.items() if not np.isnan(value)}
        assert set(document["missing"]) == {name for name, value in last.items() if np.isnan(value)}
        assert document["features"]
        assert document["missing"]
        assert document["feature_set"] == rows.feature_set.fingerprint
        assert document["trace_id"] == answer.headers["X-Trace-Id"]


def test_an_unknown_symbol_is_not_found(client: TestClient) -> None:
    answer = client.get("/features/latest?symbol=NOPE", headers={"X-Trace-Id": "abc"})
    assert answer.status_code == 404
    assert answer.json() == {
        "error": "NotFound",
        "message": "symbol: must be one that has sent data, was 'NOPE'",
        "trace_id": "abc",
    }


@pytest.mark.parametrize(("interval", "status"), [("3s", 400), ("15s", 400), ("1m", 400), ("7s", 422), ("", 422)])
def test_only_the_interval_of_a_second_is_kept_online(client: TestClient, interval: str, status: int) -> None:
    answer = client.get("/features/latest", params={"symbol": "BTCUSDT", "interval": interval})
    assert answer.status_code == status
    assert "1s" in answer.json()["message"]


def test_every_route_but_health_and_the_openapi_page_wants_the_key(services: ApiServices) -> None:
    client = TestClient(create_app(services))
    for method, path in [
        ("GET", "/features/latest?symbol=BTCUSDT"),
        ("POST", "/dataset/build"),
        ("GET", "/dataset/list"),
        ("GET", "/dataset/x"),
        ("GET", "/dataset/x/download"),
    ]:
        assert client.request(method, path).status_code == 401
        assert client.request(method, path, headers={"X-API-Key": KEY + "x"}).status_code == 401
    document = client.get("/openapi.json").json()
    assert client.get("/health").json()["status"] == "ok"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path != "/health")


def test_health_knows_the_newest_row(client: TestClient) -> None:
    document = client.get("/health").json()
    assert document["status"] == "ok"
    assert document["latest_feature_computation_timestamp"].startswith("2026-01-05T12:0")
    assert document["feature_registry_loaded"] is True


def test_a_build_is_accepted_and_ends_ready_with_its_proof(client: TestClient, ready: dict[str, Any]) -> None:
    assert ready["progress"] == 1
    assert ready["train_records"] == 90  # 100 sampled, the last 10 purged: their labels end in the next period
    assert [split["overlaps_next"] for split in ready["splits_info"]["splits"]] == [False, False, False]
    assert ready["targets"] == [
        {"type": "regression", "horizon_seconds": 10, "decision_delay_seconds": 0, "name": "target"}
    ]
    assert ready["manifest"]["feature_set"] == ready["feature_set"]
    listed = client.get("/dataset/list", params={"status": "ready", "symbol": "BTCUSDT", "limit": 5}).json()
    assert ready["dataset_id"] in [document["dataset_id"] for document in listed]
    assert client.get("/dataset/list?symbol=SOLUSDT").json() == []


def test_a_split_downloads_as_the_file_that_was_built(client: TestClient, ready: dict[str, Any]) -> None:
    for split in ("train", "validation", "test"):
        answer = client.get(ready["download_urls"][split])
        assert answer.status_code == 200
        table = pq.read_table(io.BytesIO(answer.content))
        assert table.num_rows == ready[f"{split}_records"] > 0
        assert table.column_names == ready["manifest"]["columns"]


def test_all_splits_download_as_one_zip_with_the_manifest(
    client: TestClient, ready: dict[str, Any], settings: Settings
) -> None:
    answer = client.get(ready["download_urls"]["all"])
    assert answer.headers["Content-Type"] == "application/zip"
    folder = settings.dataset_storage_path / ready["dataset_id"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.name: path.read_bytes() for path in folder.iterdir()
        }


CPCV = {"split_strategy": "cpcv", "cpcv_config": {"start_date": at(10), "end_date": at(210), "groups": 4}}


def test_folds_download_as_a_zip_of_every_fold_in_the_format_asked_for(client: TestClient) -> None:
    asked_folds = {"symbol": "BTCUSDT", "target_config": {"horizon": "5s"}, "output_format": "csv", **CPCV}
    started = client.post("/dataset/build", json=asked_folds)
    assert (started.status_code, started.json()["splits_info"]["folds"]) == (202, 6)
    document = finished(client, started.json()["dataset_id"])
    assert (document["status"], document["error_message"]) == ("ready", None)
    assert set(document["download_urls"]) == {"train", "test", "all"}
    for split, files in (("test", 6), ("all", 6 * 2 + 3)):
        answer = client.get(document["download_urls"][split])
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert len(archive.namelist()) == files
            header, *rows = archive.read("fold=003/test.csv").decode().splitlines()
            assert header.endswith('"target","fold"')
            assert all(row.endswith(",3") for row in rows)
    assert client.get(f"/dataset/{document['dataset_id']}/download?split=validation").status_code == 404


def test_another_split_of_the_same_rows_is_another_dataset(client: TestClient, ready: dict[str, Any]) -> None:
    path = f"/dataset/{ready['dataset_id']}/resplit"
    started = client.post(path, json=CPCV)
    assert started.status_code == 202
    document = finished(client, started.json()["dataset_id"])
    assert document["status"] == "ready"
    assert document["dataset_id"] != ready["dataset_id"]
    assert document["targets"] == ready["targets"]
    assert document["splits_info"]["split_strategy"] == "cpcv"
    assert client.post(path, json={"split_strategy": "cpcv"}).status_code == 400
    assert client.post("/dataset/nope/resplit", json=CPCV).status_code == 404


def test_a_deleted_dataset_is_gone_with_its_files_and_a_building_one_stays(
    client: TestClient, services: ApiServices, settings: Settings, ready: dict[str, Any]
) -> None:
    dataset_id = finished(client, client.post("/dataset/build", json=asked()).json()["dataset_id"])["dataset_id"]
    assert (settings.dataset_storage_path / dataset_id).is_dir()
    assert client.delete(f"/dataset/{dataset_id}").status_code == 204
    assert not (settings.dataset_storage_path / dataset_id).exists()
    assert client.get(f"/dataset/{dataset_id}").status_code == 404
    assert client.delete(f"/dataset/{dataset_id}").status_code == 404
    unfinished = building(services, ready)
    assert client.delete(f"/dataset/{unfinished}").status_code == 409
    cancelled = client.post(f"/dataset/{unfinished}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert client.delete(f"/dataset/{unfinished}").status_code == 204


def test_a_cancelled_build_ends_stays_cancelled_and_leaves_no_files(
    settings: Settings, servers: Servers, services: ApiServices
) -> None:
    begun: list[str] = []
    with dataset_builds(settings, servers) as builds:

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
    assert document["download_urls"] == {}
    assert not (settings.dataset_storage_path / dataset_id).exists()
    answer = client.get(f"/dataset/{dataset_id}/download")
    assert (answer.status_code, answer.json()["error"]) == (409, "Conflict")


def test_an_unknown_dataset_is_not_found(client: TestClient) -> None:
    for path in ("/dataset/nope", "/dataset/nope/download"):
        assert client.get(path).status_code == 404


def test_a_split_must_be_one_of_those_there_are(client: TestClient, ready: dict[str, Any]) -> None:
    assert client.get(f"/dataset/{ready['dataset_id']}/download?split=holdout").status_code == 422


def test_redis_away_is_503_with_a_time_to_retry(services: ApiServices) -> None:
    with closing(OnlineStore.connect("127.0.0.1", unused_port(), project="p")) as away:
        app = create_app(dataclasses.replace(services, online=away))
        client = TestClient(app, headers={"X-API-Key": KEY})
        answer = client.get("/features/latest?symbol=BTCUSDT")
        health = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["error"] == "StoreUnavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    assert health.json()["services"]["online_store"] == "unavailable"
    assert health.json()["services"]["database"] == "ok"


def test_postgres_away_is_503_and_live_features_are_still_served(services: ApiServices) -> None:
    with closing(Metadata(f"postgresql+psycopg://nobody@127.0.0.1:{unused_port()}/none")) as away:
        client = TestClient(create_app(dataclasses.replace(services, metadata=away)), headers={"X-API-Key": KEY})
        assert client.get("/dataset/list").status_code == 503
        assert client.get("/features/latest?symbol=BTCUSDT").status_code == 200
        assert client.get("/health").json()["database_connected"] is False


def building(services: ApiServices, ready: dict[str, Any]) -> str:
    """A record that says "building", as a process that was killed leaves it."""
    like = services.metadata.get_dataset(ready["dataset_id"])
    record: DatasetRecord = dataclasses.replace(like, dataset_id=uuid4().hex, status="building", path=None)
    services.metadata.create_dataset(record)
    return record.dataset_id


def test_a_build_of_a_dead_process_fails_as_interrupted_and_a_living_one_goes_on(
    services: ApiServices, settings: Settings, ready: dict[str, Any]
) -> None:
    dead, alive = building(services, ready), building(services, ready)
    folders = {dataset_id: settings.dataset_storage_path / dataset_id for dataset_id in (dead, alive)}
    (folders[dead]).mkdir()
    (folders[dead] / "train.parquet").write_bytes(b"half")
    claim = take_claim(folders[alive])
    try:
        assert services.builds.fail_interrupted() == 1
    finally:
        release(folders[alive], claim)
    assert services.metadata.get_dataset(dead).status == "failed"
    assert services.metadata.get_dataset(dead).error_message == "interrupted"
    assert not folders[dead].exists()
    assert services.metadata.get_dataset(alive).status == "building"
    assert services.builds.fail_interrupted() == 1
    assert services.metadata.get_dataset(alive).status == "failed"


def request_of(symbol: str) -> DatasetRequest:
    return DatasetRequest(
        (symbol,),
        TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
        (RegressionTarget(SECOND_NS),),
        "1.0.0",
    )


def test_closing_leaves_no_build_behind_that_says_building(
    settings: Settings, servers: Servers, services: ApiServices
) -> None:
    with dataset_builds(settings, servers) as builds:
        ids = [builds.start(request_of("BTCUSDT")).dataset_id for _ in range(3)]
    ended = [services.metadata.get_dataset(dataset_id) for dataset_id in ids]
    assert {record.status for record in ended} <= {"ready", "failed"}
    assert (ended[-1].status, ended[-1].error_message) == ("failed", "interrupted")
    assert services.builds.fail_interrupted() == 0
    with pytest.raises(StoreUnavailable, match="was closing"):
        builds.start(request_of("BTCUSDT"))


def test_too_many_waiting_builds_are_refused_for_now(settings: Settings, servers: Servers) -> None:
    with dataset_builds(settings, servers) as builds, pytest.raises(StoreUnavailable, match="at most 16 at a time"):
        # The worker has the first import of Feast before it, or at least a build: it cannot keep up with this.
        _ = [builds.start(request_of("BTCUSDT")) for _ in range(100)]


def test_a_build_in_this_thread_returns_the_dataset_or_raises_why_not(settings: Settings, servers: Servers) -> None:
    steps: list[str] = []
    with dataset_builds(settings, servers) as builds:
        assert builds.estimated_completion_ns() is None
        built = builds.build(request_of("ETHUSDT"), on_step=steps.append)
        assert builds.estimated_completion_ns() is not None
        with pytest.raises(InvalidRequest, match="SOLUSDT has no rows"):
            builds.build(request_of("SOLUSDT"))
    assert built.records["train"] > 0
    assert steps[0] == "reading prices"
    assert not (built.path / ".claim").exists()


def test_the_available_period_is_that_of_the_feature_log(settings: Settings, newest: dict[str, FeatureRows]) -> None:
    last_ns = int(newest["BTCUSDT"].row_ns[-1])
    assert available_period(settings.feature_log_storage_path, "BTCUSDT") == (START_NS + SECOND_NS, last_ns)
    assert available_period(settings.feature_log_storage_path, "SOLUSDT") is None
