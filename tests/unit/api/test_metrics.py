"""What this process tells Prometheus: its answers by route, and what the stores say when they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_probe
from api.metrics import SLICE_S, SLICES, HttpMetrics, Measured
from api.services import ProcessServices
from feature_repo.registry_versions import SHIPPED_FOLDER
from market.clock import ManualClock, parse_iso_ns
from market.errors import StoreUnavailable
from storage.database.metadata import DatasetRecord, Metadata
from storage.online.store import OnlineStore
from storage.raw.raw_data import RawData

BASE = "feature_service_http_request_seconds"


class Timer:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def measured_app(registry: CollectorRegistry, timer: Timer) -> FastAPI:
    app = FastAPI()

    @app.get("/slow/{name}")
    def slow(name: str) -> PlainTextResponse:
        timer.seconds += 0.003
        return PlainTextResponse(name)

    @app.get("/broken")
    def broken() -> None:
        raise ValueError("inside")

    app.add_middleware(Measured, metrics=HttpMetrics(registry, timer=timer))
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


def test_the_mean_is_of_the_last_five_minutes_alone() -> None:
    timer = Timer()
    metrics = HttpMetrics(CollectorRegistry(), timer=timer)
    assert metrics.average_ms() is None
    for seconds in (0.010, 0.030):
        metrics.observe(method="GET", route="/", status=200, began=timer.seconds - seconds)
    assert metrics.average_ms() == pytest.approx(20)
    timer.seconds += SLICE_S * (SLICES - 1)
    metrics.observe(method="GET", route="/", status=200, began=timer.seconds - 0.050)
    assert metrics.average_ms() == pytest.approx(30)
    timer.seconds += SLICE_S
    assert metrics.average_ms() == pytest.approx(50)
    timer.seconds += SLICE_S * SLICES
    assert metrics.average_ms() is None


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
