"""What is stored, over HTTP: splits and folds downloaded, split anew and deleted; cached days; quality and coverage."""

from __future__ import annotations

import dataclasses
import io
import shutil
import zipfile
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from api.services import ApiServices
from ingestion.tape.compaction import compact_tape
from runtime.settings import Settings
from runtime.wiring import instrument_pins
from storage.database.dataset_records import DatasetRecord
from storage.instruments import InstrumentPins
from storage.places import local
from tests.api_service import CPCV, asked, at, eventually, finished


def test_a_split_downloads_as_the_file_that_was_built(client: TestClient, ready: dict[str, Any]) -> None:
    for split in ("train", "validation", "test"):
        answer = client.get(ready["download_urls"][split])
        assert answer.status_code == 200
        table = pq.read_table(io.BytesIO(answer.content))
        assert table.num_rows == ready[f"{split}_records"] > 0
        assert table.column_names == ready["manifest"]["columns"]
        head = client.head(ready["download_urls"][split])
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["Content-Length"]) == len(answer.content)
        assert head.headers["ETag"] == answer.headers["ETag"]


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


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"date_range": "monday/friday"}, "date_range: must be <first date>/<last date>, was 'monday/friday'"),
        ({"date_range": "2026-01-05"}, "date_range: must be <first date>/<last date>, was '2026-01-05'"),
        ({"date_range": "2026-01-06/2026-01-05"}, "date_range: must not end before it begins"),
        ({"symbol": "BTCUSDT", "pattern": "ETH*"}, "symbol, pattern: must be one of the two, was 'BTCUSDT' and 'ETH*'"),
        ({"symbol": "BTCUSDT", "all": "true"}, "was all=true and symbol, pattern or date_range"),
    ],
)
def test_days_to_discard_are_named_in_one_way(client: TestClient, query: dict[str, str], told: str) -> None:
    answer = client.post("/cache/invalidate", params=query)
    assert (answer.status_code, answer.json()["error"]) == (422, "MalformedRequest")
    assert told in answer.json()["message"]


def test_an_unknown_dataset_is_not_found(client: TestClient) -> None:
    for path in ("/dataset/nope", "/dataset/nope/download"):
        assert client.get(path).status_code == 404


def test_a_split_must_be_one_of_those_there_are(client: TestClient, ready: dict[str, Any]) -> None:
    assert client.get(f"/dataset/{ready['dataset_id']}/download?split=holdout").status_code == 422


def building(services: ApiServices, ready: dict[str, Any]) -> str:
    """A record that says "building", as a process that was killed leaves it."""
    like = services.metadata.get_dataset(ready["dataset_id"])
    record: DatasetRecord = dataclasses.replace(like, dataset_id=uuid4().hex, status="building", path=None)
    services.metadata.create_dataset(record)
    return record.dataset_id


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
