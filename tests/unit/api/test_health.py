"""Health answers whatever the stores do."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from api import health
from api.app import create_app
from api.services import ApiServices
from feature_repo.registry_versions import SHIPPED_FOLDER
from market.clock import ManualClock, parse_iso_ns
from market.errors import StoreUnavailable
from storage.metadata import DatasetRecord, Metadata
from storage.online import OnlineStore
from storage.online_vector import OnlineVector
from training_sets.builds import DatasetBuilds

NOW = "2026-01-05T12:00:00Z"


class Datasets:
    """One ready dataset that took 90 s, one that is being built."""

    def list_datasets(self, *, status: str, limit: int) -> list[DatasetRecord]:
        created = datetime(2026, 1, 5, tzinfo=UTC)
        record = DatasetRecord(
            dataset_id="d",
            symbols=("BTCUSDT",),
            request={},
            feature_registry_version="1.0.0",
            feature_set="f",
            created_at=created,
            updated_at=created + timedelta(seconds=90),
        )
        return [record][:limit] if status in {"building", "ready"} else []


class Empty:
    def read(self, symbols: Sequence[str]) -> list[OnlineVector | None]:
        return [None for _ in symbols]


class Away:
    def read(self, _symbols: Sequence[str]) -> list[OnlineVector | None]:
        raise StoreUnavailable("redis x:1: must answer, was away")


class Broken:
    def read(self, _symbols: Sequence[str]) -> list[OnlineVector | None]:
        raise ValueError("an internal detail")


class Hanging:
    def __init__(self) -> None:
        self.release = threading.Event()

    def read(self, _symbols: Sequence[str]) -> list[OnlineVector | None]:
        self.release.wait(30)
        return []


def ask(tmp_path: Path, *, online: object, metadata: object, versions_folder: Path = SHIPPED_FOLDER) -> dict[str, Any]:
    services = ApiServices(
        online=cast("OnlineStore", online),
        metadata=cast("Metadata", metadata),
        builds=cast("DatasetBuilds", None),
        clock=ManualClock(parse_iso_ns(NOW)),
        api_key="k",
        make_trace_id=lambda: "t",
        symbols=("BTCUSDT",),
        raw_folder=tmp_path,
        versions_folder=versions_folder,
    )
    with TestClient(create_app(services)) as client:
        answer = client.get("/health")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    assert set(document["services"]) == {"database", "message_queue", "online_store", "tape"}
    empty = {field for field, value in document.items() if value is None}
    assert empty <= set(document["reasons"])
    return document


def test_everything_there_is_ok(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Empty(), metadata=Datasets())
    assert (document["status"], document["timestamp"]) == ("ok", NOW)
    assert document["services"]["database"] == document["services"]["online_store"] == document["services"]["tape"]
    assert document["services"]["database"] == "ok"
    assert document["database_connected"] is True
    assert document["feature_registry_loaded"] is True
    assert document["active_dataset_builds_count"] == 1
    assert document["last_dataset_build_duration_seconds"] == 90
    assert document["latest_feature_computation_timestamp"] is None


def test_a_store_that_is_away_degrades_and_the_rest_still_comes(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Away(), metadata=Datasets())
    assert document["status"] == "degraded"
    assert document["services"]["online_store"] == "unavailable"
    assert document["reasons"]["online_store"] == "redis x:1: must answer, was away"
    assert document["reasons"]["latest_feature_computation_timestamp"] == "redis x:1: must answer, was away"
    assert document["active_dataset_builds_count"] == 1


def test_an_unexpected_failure_degrades_and_does_not_tell_its_inside(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Broken(), metadata=Datasets())
    assert document["reasons"]["online_store"] == "online_store: must answer, failed with ValueError"
    assert document["status"] == "degraded"


def test_a_store_that_hangs_does_not_hang_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "DEADLINE_S", 0.2)
    hanging = Hanging()
    try:
        document = ask(tmp_path, online=hanging, metadata=Datasets())
    finally:
        hanging.release.set()
    assert document["services"]["online_store"] == "unavailable"
    assert document["reasons"]["online_store"] == "online_store: must answer within 0.2 s, did not"
    assert document["services"]["database"] == "ok"


def test_an_empty_registry_is_told(tmp_path: Path) -> None:
    assert (
        ask(tmp_path, online=Empty(), metadata=Datasets(), versions_folder=tmp_path)["feature_registry_loaded"] is False
    )
