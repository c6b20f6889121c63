"""OpenLineage: an ended build and a rebuild are told to the server that the settings name, and nothing waits for it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from runtime.building import dataset_notices, lineage_post
from runtime.settings import load_settings
from training_sets.builds.open_lineage import dataset_event, rebuild_event

DATASET = "51b28d6ede9840a49a9ea067d1b47f78"
ENDED = datetime(2026, 1, 5, 12, tzinfo=UTC)
NOTICE: dict[str, Any] = {"dataset_id": DATASET, "status": "ready", "symbols": ["BTCUSDT"]}
FILE = "date=2026-01-05/symbol=BTCUSDT/part.parquet"
MANIFEST = {
    "raw_partitions": [{"path": f"raw_trades/{FILE}"}, {"path": f"raw_trades/date=2026-01-06/{FILE[16:]}"}],
    "feature_partitions": [{"path": f"price/symbol=BTCUSDT/{FILE[:15]}/part.parquet"}],
    "served_partitions": [],
    "feature_references": ["price:mid_price"],
}


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of HTTP, and the documents that it was sent."""
    taken: list[dict[str, Any]] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: a test reads what was taken."""

    with HTTPServer(("127.0.0.1", 0), Take) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/api/v1/lineage", taken
        listening.shutdown()
        thread.join()


def test_a_dataset_that_is_ready_is_told_with_the_tables_that_it_was_made_of() -> None:
    event = dataset_event(NOTICE, MANIFEST, ENDED)
    assert (event["eventType"], event["eventTime"]) == ("COMPLETE", "2026-01-05T12:00:00+00:00")
    assert event["run"] == {"runId": "51b28d6e-de98-40a4-9a9e-a067d1b47f78", "facets": {}}
    assert [each["name"] for each in event["inputs"]] == ["features/price/BTCUSDT", "raw/raw_trades/BTCUSDT"]
    [output] = event["outputs"]
    assert output["name"] == f"datasets/{DATASET}"
    assert output["facets"]["version"]["datasetVersion"] == DATASET
    assert output["facets"]["schema"]["fields"] == [{"name": "price:mid_price", "type": "float64"}]
    assert event["schemaURL"].endswith("RunEvent")


@pytest.mark.parametrize(("status", "told"), [("failed", "FAIL"), ("cancelled", "ABORT")])
def test_a_dataset_that_is_not_ready_is_told_with_its_error_and_no_output(status: str, told: str) -> None:
    event = dataset_event(NOTICE | {"status": status, "error_message": "no rows"}, None, ENDED)
    assert (event["eventType"], event["inputs"], event["outputs"]) == (told, [], [])
    assert event["run"]["facets"]["errorMessage"]["message"] == "no rows"


def test_a_rebuild_is_told_by_its_groups() -> None:
    event = rebuild_event(DATASET, "BTCUSDT", ["orderbook", "price"], ENDED)
    assert [each["name"] for each in event["outputs"]] == ["features/orderbook/BTCUSDT", "features/price/BTCUSDT"]
    assert [each["name"] for each in event["inputs"]] == ["raw/BTCUSDT"]


def test_the_server_of_the_settings_is_told_and_one_that_is_away_costs_a_warning(
    server: tuple[str, list[dict[str, Any]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url, taken = server
    asked: dict[str, str | None] = {"FEATURE_SERVICE_DATA_PATH": str(tmp_path)}
    named = "FEATURE_SERVICE_OPENLINEAGE_URL"
    assert lineage_post(load_settings(asked)) is None
    failed = NOTICE | {"status": "failed", "error_message": "no rows"}
    dataset_notices(load_settings(asked | {named: url})).send(failed)
    assert [each["eventType"] for each in taken] == ["FAIL"]
    away = load_settings(asked | {named: "http://127.0.0.1:1/secret"})
    with caplog.at_level(logging.WARNING):
        dataset_notices(away).send(failed)
        # A manifest that cannot be read is no reason to keep a notice back either.
        dataset_notices(away).send(NOTICE)
    assert [record.levelname for record in caplog.records if "OpenLineage event" in record.message] == ["WARNING"] * 2
    assert "secret" not in caplog.text
