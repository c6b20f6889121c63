"""What this process tells Prometheus: its answers by route, and what the stores say when they are asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from api.app import create_probe
from api.metrics import HttpMetrics, Measured
from api.requests import RequestNotes
from api.services import ProcessServices
from feature_repo.registry_versions import SHIPPED_FOLDER
from market.clock import ManualClock, parse_iso_ns, to_datetime
from market.errors import StoreUnavailable
from storage.database.dataset_records import DatasetRecord
from storage.database.metadata import Metadata
from storage.online.store import OnlineStore
from storage.raw.raw_data import RawData

NOW_NS: Final = parse_iso_ns("2026-01-05T12:00:00Z")
BASE = "feature_service_http_request_seconds"


class Timer:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def measured_app(registry: CollectorRegistry, timer: Timer, kept: list[Mapping[str, Any]] | None = None) -> FastAPI:
    app = FastAPI()

    @app.get("/slow/{name}")
    def slow(name: str) -> PlainTextResponse:
        timer.seconds += 0.003
        return PlainTextResponse(name)

    @app.get("/broken")
    def broken() -> None:
        raise ValueError("inside")

    notes = RequestNotes(ManualClock(NOW_NS), None if kept is None else kept.append)
    app.add_middleware(Measured, metrics=HttpMetrics(registry, timer=timer), notes=notes)
    return app


def test_answers_are_counted_by_route_and_not_by_path() -> None:
    registry, timer = CollectorRegistry(), Timer()
    client = TestClient(measured_app(registry, timer), raise_server_exceptions=False)
    for path in ("/slow/a", "/slow/b", "/nowhere/1", "/nowhere/2", "/broken"):
        client.get(path)
    client.request("INVENTED", "/nowhere/3")

    def count(method: str, route: str, status: int, part: str = "count") -> float | None:
        return registry.get_sample_value(f"{BASE}_{part}", {"method": method, "route": route, "status": str(status)})

    assert count("GET", "/slow/{name}", 200) == 2
    assert count("GET", "/slow/{name}", 200, "sum") == pytest.approx(0.006)
    assert count("none", "none", 404) == 3
    assert count("GET", "/broken", 500) == 1


def test_a_request_is_a_line_of_the_log_and_a_row_without_its_query() -> None:
    kept: list[Mapping[str, Any]] = []
    client = TestClient(measured_app(CollectorRegistry(), Timer(), kept), raise_server_exceptions=False)
    with capture_logs() as lines:
        client.get("/slow/a?symbol=BTCUSDT&token=secret")
        client.get("/slow/b?symbol=';--")
        client.request("POSSIBLYINVENTED", "/nowhere")
        client.get("/broken")
        client.get("/health")
    rows = [tuple(each[name] for name in ("endpoint", "method", "status_code", "symbol")) for each in kept]
    assert rows[:4] == [
        ("/slow/{name}", "GET", 200, "BTCUSDT"),
        ("/slow/{name}", "GET", 200, None),
        ("none", "POSSIBLYIN", 404, None),
        ("/broken", "GET", 500, None),
    ]
    assert kept[0]["response_time_ms"] == pytest.approx(3)
    assert kept[0]["request_timestamp"] == to_datetime(NOW_NS - 3_000_000)
    assert [(line["path"], line["status"], line["log_level"]) for line in lines] == [
        ("/slow/a", 200, "info"),
        ("/slow/b", 200, "info"),
        ("/nowhere", 404, "info"),
        ("/broken", 500, "info"),
        ("/health", 404, "debug"),
    ]
    assert lines[0].keys() == {"event", "log_level", "method", "path", "status", "ms", "trace_id"}


class NoBuilds:
    def list_datasets(self, *, status: str, limit: int) -> list[DatasetRecord]:
        assert status
        assert limit
        return []


class Away:
    def read(self, _symbols: object) -> None:
        raise StoreUnavailable("redis: call failed")


def probe(tmp_path: Path) -> TestClient:
    services = ProcessServices(
        online=cast("OnlineStore", Away()),
        metadata=cast("Metadata", NoBuilds()),
        clock=ManualClock(parse_iso_ns("2026-01-05T12:00:00Z")),
        make_trace_id=lambda: "t",
        symbols=("BTCUSDT",),
        raw=RawData(tmp_path),
        versions_folder=SHIPPED_FOLDER,
    )
    return TestClient(create_probe(services))


def test_the_probe_says_which_store_is_away_and_counts_its_own_answers(tmp_path: Path) -> None:
    with probe(tmp_path) as client:
        client.get("/health")
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["feature_service_store_up", "online_store"] == 0
    assert samples["feature_service_store_up", "database"] == 1
    assert samples["feature_service_dataset_builds_active",] == 0
    assert samples[f"{BASE}_count", "GET", "/health", "200"] == 1
    assert not any(name == "feature_service_online_row_age_seconds" for name, *_ in samples)


def test_the_probe_serves_nothing_else(tmp_path: Path) -> None:
    with probe(tmp_path) as client:
        assert client.get("/features/latest?symbol=BTCUSDT").status_code == 404
        assert set(client.get("/openapi.json").json()["paths"]) == {"/health", "/ready", "/metrics"}
