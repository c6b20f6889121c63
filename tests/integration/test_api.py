"""The whole API on real embedded servers: live vectors, dataset builds and their downloads, stores that are away."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from api.access import OPEN_PATHS
from api.app import create_app
from api.services import ApiServices
from feature_repo.registry_versions import SHIPPED_FOLDER
from ingestion.pipeline.served_rows import ServedRows, available_as_if_live
from ingestion.sinks.sinks import OnlineSink, online_row
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import MINUTE_NS, SECOND_NS, format_iso, parse_iso_ns
from market.errors import Conflict, InvalidRequest
from registry.serving import ServedVersion
from runtime.building import dataset_builds
from runtime.feature_repository import apply_feature_store
from runtime.servers import Servers, running_servers
from runtime.serving import api_services
from runtime.settings import Settings, load_settings
from runtime.stores import open_stores
from runtime.wiring import compiled_kernel, instrument_pins, make_pipeline, online_store
from storage.database.dataset_records import DatasetRecord
from storage.database.metadata import Metadata
from storage.features.log import FeatureLog
from storage.instruments import InstrumentPins
from storage.online.address import redis_settings
from storage.online.memory import OnlineMemory
from storage.online.store import OnlineStore
from storage.places import local
from tests import waiting
from tests.generated_client import PACKAGE, generate
from tests.ports import free_port
from training_sets.builds.builds import DatasetBuilds
from training_sets.dataset.drift import ServedDrift
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.availability import available_period
from transforms.rows import FeatureRows

KEY = "integration-key"
START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 4 * MINUTE_NS
BUILD_DEADLINE_S = 120
eventually = partial(waiting.eventually, deadline_s=BUILD_DEADLINE_S, pause_s=0.05)


class Newest:
    """A sink that keeps the last row of each symbol."""

    def __init__(self) -> None:
        self.rows: dict[str, FeatureRows] = {}

    def write(self, served: Sequence[ServedRows]) -> None:
        self.rows.update((each.rows.symbol, each.rows) for each in served)

    def close(self) -> None:
        """Nothing is open."""


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
        play(pipeline, simulate(DEFAULT_SYMBOLS, seed=3, start_ns=START_NS, duration_ns=DURATION_NS))
    return sink.rows


@contextmanager
def working(builds: DatasetBuilds) -> Iterator[None]:
    """The jobs role, in a thread."""
    worker = builds.worker()
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        builds.close()
        worker.stop()
        thread.join(BUILD_DEADLINE_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def services(settings: Settings, servers: Servers, newest: dict[str, FeatureRows]) -> Iterator[ApiServices]:
    assert set(newest) == {"BTCUSDT", "ETHUSDT"}
    with (
        api_services(settings, servers, open_stores(settings), serving=ServedVersion("1.0.0")) as found,
        dataset_builds(settings, servers, open_stores(settings)) as builds,
        working(builds),
    ):
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
    eventually(lambda: client.get(f"/dataset/{dataset_id}").json()["status"] != "building")
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


def test_several_symbols_and_a_choice_of_features_are_one_answer(
    client: TestClient, newest: dict[str, FeatureRows]
) -> None:
    symbols = list(newest)
    query = {"symbols": ",".join([*symbols, "NOPE"]), "features": "vwap_3s,mid_price"}
    answer = client.get("/features/latest", params=query)
    document = answer.json()
    assert [vector["symbol"] for vector in document["vectors"]] == symbols
    assert document["not_found"] == ["NOPE"]
    for vector in document["vectors"]:
        rows = newest[vector["symbol"]]
        last = dict(zip(rows.feature_set.columns, rows.values[-1].tolist(), strict=True))
        assert sorted([*vector["features"], *vector["missing"]]) == ["mid_price", "vwap_3s"]
        assert vector["features"].items() <= last.items()
        assert vector["timestamp"] == format_iso(int(rows.row_ns[-1]))
    one = client.get("/features/latest", params={"symbol": symbols[0], "features": "mid_price"}).json()
    assert [*one["features"], *one["missing"]] == ["mid_price"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("symbol=BTCUSDT&features=mid_price,no_such", "was no_such"),
        ("symbol=BTCUSDT&symbols=ETHUSDT", "symbol, symbols: exactly one of the two must be given"),
        ("", "symbol, symbols: exactly one of the two must be given"),
        ("symbols=,", "symbols: must be 1 to 1000 names, was 0"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(client: TestClient, query: str, said: str) -> None:
    answer = client.get(f"/features/latest?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["message"]


@pytest.mark.parametrize(("interval", "status"), [("3s", 400), ("15s", 400), ("1m", 400), ("7s", 422), ("", 422)])
def test_only_the_interval_of_a_second_is_kept_online(client: TestClient, interval: str, status: int) -> None:
    answer = client.get("/features/latest", params={"symbol": "BTCUSDT", "interval": interval})
    assert answer.status_code == status
    assert "1s" in answer.json()["message"]


def another_app(services: ApiServices, **changes: Any) -> FastAPI:  # noqa: ANN401  # fields of the services
    """A second application on the services, as in another process: its figures are its own."""
    return create_app(dataclasses.replace(services, registry=CollectorRegistry(), **changes))


def test_every_route_but_health_metrics_and_the_openapi_page_wants_the_key(services: ApiServices) -> None:
    client = TestClient(another_app(services))
    for method, path in [
        ("GET", "/features/latest?symbol=BTCUSDT"),
        ("GET", "/features/stream?symbol=BTCUSDT"),
        ("GET", "/stats"),
        ("GET", "/stats/storage"),
        ("POST", "/dataset/build"),
        ("GET", "/dataset/list"),
        ("GET", "/dataset/x"),
        ("GET", "/dataset/x/download"),
        ("GET", "/cache/statistics"),
        ("POST", "/model/evaluate"),
    ]:
        assert client.request(method, path).status_code == 401
        assert client.request(method, path, headers={"X-API-Key": KEY + "x"}).status_code == 401
    document = client.get("/openapi.json").json()
    check_openapi(document)
    check_pages(client)
    assert client.get("/health").json()["status"] == "ok"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in OPEN_PATHS)


def check_openapi(document: dict[str, Any]) -> None:
    """Operation ids are those that a person would choose, and the errors those that are answered."""
    operations = {found["operationId"]: found for path in document["paths"].values() for found in path.values()}
    assert {"features_latest", "features_stream", "dataset_build", "dataset_show", "evaluate_model"} <= set(operations)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for name, status in (("features_latest", "404"), ("dataset_build", "422"), ("features_latest", "401")):
        content = operations[name]["responses"][status]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorDocument"}
        assert content["example"].keys() == {"error", "message", "trace_id"}


def check_pages(client: TestClient) -> None:
    """The pages have nothing from the internet, and what they have from us is there, without the key."""
    for path in ("/docs", "/redoc"):
        linked = re.findall(r'(?:src|href)="([^"]+)"', client.get(path).text)
        assert linked
        for address in linked:
            assert address.startswith("/docs/assets/")
            assert client.get(address).status_code == 200
    for path in ("/docs/assets/../../features/latest?symbol=BTCUSDT", "/docs/assets/%2e%2e/dataset/list"):
        assert client.get(path).status_code in {401, 404}


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


def test_a_page_of_another_origin_may_read_where_the_setting_names_it(services: ApiServices) -> None:
    client = TestClient(another_app(services, cors_origins=("https://console.example",)))
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
    path = "/features/latest?symbol=BTCUSDT"
    allowed = client.options(path, headers={"Origin": "https://console.example", **asked})
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://console.example"
    assert client.options(path, headers={"Origin": "https://other.example", **asked}).status_code == 400
    read = client.get(path, headers={"Origin": "https://console.example", "X-API-Key": KEY})
    assert read.headers["Access-Control-Allow-Origin"] == "https://console.example"


def test_a_stream_opens_by_a_token_that_the_key_gets(services: ApiServices) -> None:
    client = TestClient(another_app(services))
    assert client.post("/features/stream/token").status_code == 401
    token = client.post("/features/stream/token", headers={"X-API-Key": KEY}).json()["token"]
    # An unknown symbol is told behind the door, so the stream need not be read.
    path = "/features/stream?symbol=XUSDT"
    assert client.get(path).status_code == 401
    assert client.get(path, params={"symbol": "XUSDT", "token": token}).status_code == 404


def test_history_is_what_the_log_has_and_what_was_readable_then(
    client: TestClient, newest: dict[str, FeatureRows]
) -> None:
    asked = {"symbol": "BTCUSDT", "features": "mid_price,price:spread_abs", "from": format_iso(START_NS + MINUTE_NS)}
    asked["to"] = format_iso(START_NS + DURATION_NS + MINUTE_NS)
    answer = client.get("/features/history", params=asked)
    assert answer.status_code == 200
    document = answer.json()
    assert list(document["features"]) == ["mid_price", "spread_abs"]
    last = newest["BTCUSDT"]
    assert document["timestamps"][-1] == format_iso(int(last.row_ns[-1]))
    column = last.feature_set.columns.index("mid_price")
    assert document["features"]["mid_price"][-1] == last.values[-1, column]
    assert len(document["timestamps"]) == len(document["available"]) == len(document["features"]["spread_abs"]) > 150
    known = client.get("/features/history", params=asked | {"as_of": format_iso(START_NS + 2 * MINUTE_NS)}).json()
    assert 50 < len(known["timestamps"]) <= 60
    assert max(known["available"]) <= format_iso(START_NS + 2 * MINUTE_NS)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"symbol": "NOSUCH"}, 404),
        ({"features": "nothing"}, 400),
        ({"to": format_iso(START_NS)}, 400),
        ({"to": format_iso(START_NS + 100 * 86_400 * SECOND_NS)}, 400),
        ({"registry_version": "0.0.9"}, 404),
    ],
)
def test_a_history_that_cannot_be_had_says_why(
    client: TestClient, newest: dict[str, FeatureRows], changes: dict[str, str], status: int
) -> None:
    asked = {"symbol": "BTCUSDT", "features": "mid_price", "from": format_iso(START_NS), "to": "2026-01-05T12:04"}
    assert client.get("/features/history", params=asked | changes).status_code == status


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
            path.name: path.read_bytes() for path in folder.iterdir() if path.name != "_performance.json"
        }


CPCV = {"split_strategy": "cpcv", "cpcv_config": {"start_date": at(10), "end_date": at(210), "groups": 4}}


def test_folds_download_as_a_zip_of_every_fold_in_the_format_asked_for(client: TestClient) -> None:
    asked_folds = {"symbol": "BTCUSDT", "target_config": {"horizon": "5s"}, "output_format": "csv", **CPCV}
    started = client.post("/dataset/build", json=asked_folds)
    assert (started.status_code, started.json()["splits_info"]["folds"]) == (202, 6)
    document = finished(client, started.json()["dataset_id"])
    assert (document["status"], document["error_message"]) == ("ready", None)
    assert set(document["download_urls"]) == {"train", "test", "all"}
    for split, files in (("test", 6), ("all", 6 * 2 + 5)):
        answer = client.get(document["download_urls"][split])
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert len(archive.namelist()) == files
            header, *rows = archive.read("fold-003/test.csv").decode().splitlines()
            assert header.endswith('"target","fold","path"')
            assert all(row.endswith(",3,1") for row in rows)
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
    started = client.post("/dataset/build", json=asked(target_config={"type": "regression", "horizon": "7s"}))
    dataset_id = finished(client, started.json()["dataset_id"])["dataset_id"]
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
    assert document["download_urls"] == {}
    assert not (settings.dataset_storage_path / dataset_id).exists()
    answer = client.get(f"/dataset/{dataset_id}/download")
    assert (answer.status_code, answer.json()["error"]) == (409, "Conflict")


def targets_of(client: TestClient, ready: dict[str, Any], split: str) -> list[float]:
    table = pq.read_table(io.BytesIO(client.get(ready["download_urls"][split]).content))
    return [float(value) for value in table.column("target").to_numpy()]


def test_predictions_are_measured_on_a_split(client: TestClient, ready: dict[str, Any]) -> None:
    targets = targets_of(client, ready, "test")
    body = {"dataset_id": ready["dataset_id"], "split": "test", "model_version": "m1", "predictions": targets}
    answer = client.post("/model/evaluate", json=body)
    assert answer.status_code == 200
    document = answer.json()
    assert document["metrics"]["target"]["rmse"] == 0.0
    assert document["metrics"]["target"]["r2"] == 1.0
    details = document["details"]["target"]
    assert details["calibration"]["slope"] == pytest.approx(1.0)
    returns = details["returns"]
    assert returns["apart"]["rows"] < returns["overlapping"]["rows"] == len(targets)
    assert returns["apart"]["max_drawdown"] == 0.0
    assert returns["apart_after_costs"] == returns["apart"]
    assert (document["dataset_id"], document["split"], document["model_version"]) == (ready["dataset_id"], "test", "m1")
    assert document["evaluation_id"]
    assert document["metadata"]["rows"] == len(targets) == ready["test_records"]
    flat = client.post(
        "/model/evaluate", json={**body, "predictions": [0.0] * len(targets), "metrics_to_compute": ["mae"]}
    )
    assert flat.json()["metrics"] == {"target": {"mae": pytest.approx(float(np.mean(np.abs(targets))))}}


def test_a_sharpe_ratio_is_deflated_by_the_trials_that_are_told(client: TestClient, ready: dict[str, Any]) -> None:
    targets = targets_of(client, ready, "test")
    body = {"dataset_id": ready["dataset_id"], "split": "test", "model_version": "m1"}
    body |= {"predictions": [1.0] * len(targets), "metrics_to_compute": ["sharpe_ratio"]}
    untold = client.post("/model/evaluate", json=body).json()
    assert set(untold["metrics"]["target"]) == {"sharpe_ratio"}
    assert not untold["metadata"].keys() & {"trials", "sharpe_rows"}
    found = [client.post("/model/evaluate", json={**body, "trials": trials}).json() for trials in (1, 1_000)]
    one, many = (each["metrics"]["target"]["deflated_sharpe_ratio"] for each in found)
    assert 0.0 <= many < one <= 1.0
    assert found[0]["metrics"]["target"]["sharpe_ratio"] == untold["metrics"]["target"]["sharpe_ratio"]
    # Labels look ten seconds ahead: of rows a second apart, a tenth share nothing.
    metadata = found[1]["metadata"]
    assert (metadata["trials"], metadata["sharpe_rows"]) == (1_000, {"target": math.ceil(len(targets) / 10)})


def test_trials_are_told_of_one_fold_and_of_targets_that_are_values(client: TestClient) -> None:
    side = {"name": "side", "type": "classification", "horizon": "5s", "threshold": 1e-6}
    targets = [{"name": "gain", "horizon": "5s"}, side]
    body = {"symbol": "BTCUSDT", "target_config": targets, "output_format": "csv", **CPCV}
    built = finished(client, client.post("/dataset/build", json=body).json()["dataset_id"])
    assert built["status"] == "ready"
    asked_of = {"dataset_id": built["dataset_id"], "split": "test", "model_version": "m1"}
    every = client.post("/model/evaluate", json=asked_of).json()["metadata"]["rows"]
    rows = client.post("/model/evaluate", json={**asked_of, "fold": 2}).json()["metadata"]["rows"]
    for fold, predictions, status, rule in (
        (2, {"gain": [1.0] * rows}, 200, ""),
        (2, {"side": [1.0] * rows}, 400, "trials: must be of targets that are values, was of side"),
        (None, {"gain": [1.0] * every}, 400, "trials: must be of one fold or path, which fold names, was of 6"),
    ):
        answer = client.post(
            "/model/evaluate", json={**asked_of, "fold": fold, "predictions": predictions, "trials": 9}
        )
        assert answer.status_code == status
        assert rule in answer.json().get("message", "")
        if status == 200:
            assert 0.0 <= answer.json()["metrics"]["gain"]["deflated_sharpe_ratio"] <= 1.0


def test_the_best_of_many_candidates_is_judged_over_a_path_of_all_folds(client: TestClient) -> None:
    body = {"symbol": "BTCUSDT", "target_config": {"horizon": "5s"}, **CPCV}
    built = finished(client, client.post("/dataset/build", json=body).json()["dataset_id"])
    assert built["status"] == "ready"
    asked_of = {"dataset_id": built["dataset_id"], "split": "test", "model_version": "m1", "path": 2}
    rows = client.post("/model/evaluate", json=asked_of).json()["metadata"]["rows"]
    every = client.post("/model/evaluate", json={**asked_of, "path": None}).json()["metadata"]["rows"]
    # Four groups of which each fold tests two are three paths; at the end of a group that stands alone a row goes.
    assert every - 6 <= rows * 3 <= every + 6
    draw = np.random.default_rng(4)
    noise = {f"m{number}": draw.standard_normal(rows).tolist() for number in range(20)}
    found = client.post("/model/evaluate", json={**asked_of, "candidates": noise}).json()["selection"]
    assert found["best"] in noise
    assert (found["candidates"], found["parts"]) == (20, 16)
    assert 0.0 <= found["deflated_sharpe_ratio"] < 0.95
    assert 0.0 <= found["overfitting_probability"] <= 1.0
    for changes, rule in (
        ({"path": 5, "candidates": noise}, "path: must be one with rows, 0 to 2, was 5"),
        ({"fold": 1, "candidates": noise}, "path: must be of the test split of every fold of a cpcv dataset"),
        ({"candidates": {"m0": noise["m0"]}}, "candidates: must be two or more"),
        ({"candidates": noise["m0"]}, "candidates: must map model names to lists"),
        ({"candidates": {"m0": noise["m0"], "m1": noise["m1"][:-1]}}, "predictions of target: must be of shape"),
    ):
        answer = client.post("/model/evaluate", json={**asked_of, **changes})
        assert answer.status_code == 400
        assert rule in answer.json()["message"]


def test_a_damaged_split_is_neither_measured_nor_downloaded_and_its_path_is_not_told(
    client: TestClient, ready: dict[str, Any], settings: Settings
) -> None:
    body = {"dataset_id": ready["dataset_id"], "split": "test", "model_version": "m1"}
    path = settings.dataset_storage_path / ready["dataset_id"] / "test.parquet"
    whole = path.read_bytes()
    for at in (20, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            answers = [
                client.post("/model/evaluate", json=body),
                client.get(ready["download_urls"]["test"]),
                client.get(ready["download_urls"]["all"]),
            ]
        finally:
            path.write_bytes(whole)
        for answer in answers:
            assert answer.status_code == 500
            assert answer.json()["error"] == "InternalError"
            assert str(settings.dataset_storage_path) not in answer.text
    assert client.post("/model/evaluate", json=body).status_code == 200


def test_without_predictions_the_split_to_predict_is_named(client: TestClient, ready: dict[str, Any]) -> None:
    body = {"dataset_id": ready["dataset_id"], "split": "validation", "model_version": "m1"}
    document = client.post("/model/evaluate", json=body).json()
    assert document["metrics"] is None
    assert document["prepared_dataset_url"] == ready["download_urls"]["validation"]


def test_an_evaluation_that_cannot_be_made_says_what_can(client: TestClient, ready: dict[str, Any]) -> None:
    body = {"dataset_id": ready["dataset_id"], "split": "test", "model_version": "m1", "predictions": [0.5]}
    for changes, status, rule in (
        ({}, 400, "predictions of target: must be of shape"),
        ({"predictions": {"other": [0.5]}}, 400, "predictions: must be of target, was"),
        (
            {"predictions": [0.0] * ready["test_records"], "metrics_to_compute": ["f1"]},
            400,
            "metrics_to_compute: must be of mse, rmse",
        ),
        ({"split": "holdout"}, 422, "split"),
        ({"trials": 0}, 422, "trials"),
        ({"trials": 5, "predictions": None}, 400, "trials: must come with predictions, was 5 without"),
        ({"fold": 7}, 404, "split: must be one of train, validation, test"),
        ({"dataset_id": "nope"}, 404, "dataset: must exist"),
    ):
        answer = client.post("/model/evaluate", json={**body, **changes})
        assert answer.status_code == status
        assert rule in answer.json()["message"]


def test_the_cache_is_counted_thrown_away_and_warmed_by_a_job(
    client: TestClient, settings: Settings, ready: dict[str, Any]
) -> None:
    assert ready["status"] == "ready"
    pins = instrument_pins(settings)
    compact_tape(settings.raw_folder, "BTCUSDT", pins)
    # What was served whole is not rebuilt; another folder's log is empty.
    log = local(settings.feature_log_storage_path)
    aside = log.with_name("served")
    log.rename(aside)
    try:
        wanted = {"symbols": ["BTCUSDT"], "from": at(0), "to": at(240)}
        assert client.get("/cache/statistics").json()["files"] == 0
        started = client.post("/cache/warm", json=wanted)
        assert started.status_code == 202
        assert set(started.json()["job_ids"]) == {"BTCUSDT"}
        eventually(lambda: not client.get("/cache/statistics").json()["warming"])
        found = client.get("/cache/statistics").json()
        assert found["is_enabled"] is True
        [of_symbol] = found["symbols"]
        assert (of_symbol["symbol"], of_symbol["days"], of_symbol["first_day"]) == ("BTCUSDT", 1, "2026-01-05")
        assert of_symbol["bytes"] == found["bytes"] > 0
        built = finished(client, client.post("/dataset/build", json=asked(embargo="1s")).json()["dataset_id"])
        assert built["status"] == "ready"
        after = client.get("/cache/statistics").json()
        assert after["days_reused"] == found["days_reused"] + 1
        assert after["days_computed"] == found["days_computed"]
        assert (after["hit_count"], after["miss_count"]) == (after["days_reused"], after["days_computed"])
        assert (after["current_size_bytes"], after["current_entries_count"]) == (after["bytes"], after["files"])
        assert after["eviction_count"] == 0
        for name in ("symbol", "from", "to"):
            other = {"symbol": "ETHUSDT", "from": "2026-01-06T00:00:00Z", "to": "2026-01-04T00:00:00Z"}
            assert client.post("/cache/invalidate", json={name: other[name]}).json() == {"files_removed": 0}
        removed = client.post("/cache/invalidate", json={"symbol": "BTCUSDT", "from": at(0)}).json()
        assert removed == {"files_removed": found["files"]}
        assert client.get("/cache/statistics").json()["symbols"] == []
        refused = client.post("/cache/warm", json={**wanted, "to": "2025-01-01T00:00:00Z", "from": "2025-01-01"})
        assert refused.status_code == 400
        assert "BTCUSDT: must be warmed within its raw data" in refused.json()["message"]
        assert client.post("/cache/warm", json={**wanted, "symbols": ["SOLUSDT"]}).status_code == 400
        one = {"symbol": "BTCUSDT", "start_date": at(0), "end_date": at(240)}
        for question in (
            {"symbol": "BTCUSDT"},
            {"pattern": "BTC*"},
            {"date_range": "2026-01-05/2026-01-06"},
            {"all": "true"},
        ):
            assert client.post("/cache/warm", json=one).status_code == 202
            eventually(lambda: not client.get("/cache/statistics").json()["warming"])
            assert client.post("/cache/invalidate", params=question).json() == removed
        assert client.get("/cache/statistics").json()["eviction_count"] == 5 * removed["files_removed"]
        assert client.post("/cache/invalidate", params={"pattern": "ETH*"}).json() == {"files_removed": 0}
        neither = client.post("/cache/invalidate")
        assert neither.status_code == 422
        assert "all=true" in neither.json()["message"]
    finally:
        shutil.rmtree(log, ignore_errors=True)
        aside.rename(log)


def test_an_identical_request_gets_the_build_that_is_on_its_way(client: TestClient) -> None:
    one, other = (client.post("/dataset/build", json=asked(embargo="7s")).json() for _ in range(2))
    assert one["dataset_id"] == other["dataset_id"]
    assert finished(client, one["dataset_id"])["attempt"] == 1


def test_an_unknown_dataset_is_not_found(client: TestClient) -> None:
    for path in ("/dataset/nope", "/dataset/nope/download"):
        assert client.get(path).status_code == 404


def test_a_split_must_be_one_of_those_there_are(client: TestClient, ready: dict[str, Any]) -> None:
    assert client.get(f"/dataset/{ready['dataset_id']}/download?split=holdout").status_code == 422


def test_redis_away_is_503_with_a_time_to_retry(services: ApiServices) -> None:
    with closing(OnlineStore.connect(redis_settings(f"127.0.0.1:{free_port()}"), project="p")) as away:
        app = another_app(services, online=away)
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


def test_while_redis_is_away_the_ingest_of_the_same_process_answers_from_memory(
    services: ApiServices, newest: dict[str, FeatureRows]
) -> None:
    memory = OnlineMemory()
    rows = newest["BTCUSDT"]
    memory.keep([online_row(ServedRows(rows, rows.row_ns))])
    with closing(OnlineStore.connect(redis_settings(f"127.0.0.1:{free_port()}"), project="p")) as away:
        away_services = dataclasses.replace(services, online=away, memory=memory)
        client = TestClient(another_app(away_services), headers={"X-API-Key": KEY})
        remembered = client.get("/features/latest?symbol=BTCUSDT")
        unknown = client.get("/features/latest?symbol=ETHUSDT")
    stored = TestClient(another_app(services), headers={"X-API-Key": KEY}).get("/features/latest?symbol=BTCUSDT")
    assert remembered.status_code == 200
    own = {"trace_id", "age_ms"}
    assert {k: v for k, v in remembered.json().items() if k not in own} == {
        k: v for k, v in stored.json().items() if k not in own
    }
    assert remembered.json()["age_ms"] > 0
    assert unknown.status_code == 503


def test_postgres_away_is_503_and_live_features_are_still_served(services: ApiServices) -> None:
    with closing(Metadata(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")) as away:
        client = TestClient(another_app(services, metadata=away), headers={"X-API-Key": KEY})
        assert client.get("/dataset/list").status_code == 503
        assert client.get("/features/latest?symbol=BTCUSDT").status_code == 200
        assert client.get("/health").json()["database_connected"] is False


def building(services: ApiServices, ready: dict[str, Any]) -> str:
    """A record that says "building", as a process that was killed leaves it."""
    like = services.metadata.get_dataset(ready["dataset_id"])
    record: DatasetRecord = dataclasses.replace(like, dataset_id=uuid4().hex, status="building", path=None)
    services.metadata.create_dataset(record)
    return record.dataset_id


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


def test_the_available_period_is_that_of_the_feature_log(settings: Settings, newest: dict[str, FeatureRows]) -> None:
    last_ns = int(newest["BTCUSDT"].row_ns[-1])
    assert available_period(FeatureLog(settings.feature_log_storage_path), "BTCUSDT") == (START_NS + SECOND_NS, last_ns)
    assert available_period(FeatureLog(settings.feature_log_storage_path), "SOLUSDT") is None


def test_a_data_quality_report_is_answered_and_kept(client: TestClient, services: ApiServices) -> None:
    compact_tape(services.raw.folder, "BTCUSDT", InstrumentPins(services.raw.folder))
    answer = client.get("/data-quality/report", params={"symbol": "BTCUSDT", "from": at(0), "to": at(200)})
    assert answer.status_code == 200
    document = answer.json()
    assert (document["symbol"], document["missing_rate"], document["sequence_gaps"]) == ("BTCUSDT", 0.0, 0)
    assert services.quality_reports.newest("BTCUSDT", limit=1) == [document]


def test_the_coverage_certificate_of_a_period_is_that_of_the_open_tape_too(
    client: TestClient, services: ApiServices
) -> None:
    assert not services.raw.parts("ETHUSDT"), "is on its open tape alone"
    of_tape = client.get("/coverage", params={"symbol": "ETHUSDT", "from": at(60), "to": at(180)}).json()
    assert of_tape["streams"]["ticker"]["held"] == 120
    answer = client.get("/coverage", params={"symbol": "BTCUSDT", "from": at(60), "to": at(180)})
    assert answer.status_code == 200
    document = answer.json()
    assert (document["from"], document["to"]) == (at(60), at(180))
    assert {
        name: (each["held"], each["expected"]) for name, each in document["streams"].items() if name != "orderbook"
    } == {
        "trades": (2, 2),
        "klines": (2, 2),
        "ticker": (120, 120),
    }
    assert document["streams"]["orderbook"]["held"] == document["streams"]["orderbook"]["expected"] > 0
    assert client.get("/coverage", params={"symbol": "BTCUSDT", "from": at(60), "to": at(60)}).status_code == 400
    assert client.get("/coverage", params={"symbol": "NOPE"}).status_code == 404


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"symbol": "NOPE"}, 404), ({"from": at(10), "to": at(10)}, 400), ({"to": "2027-01-01T00:00:00Z"}, 400)],
)
def test_a_report_that_cannot_be_made_says_why(client: TestClient, changes: dict[str, str], status: int) -> None:
    asked_for = {"symbol": "BTCUSDT", "from": at(0), "to": at(200), **changes}
    answer = client.get("/data-quality/report", params=asked_for)
    assert answer.status_code == status
