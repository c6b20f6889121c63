"""Health answers whatever the stores do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response

from api import checks
from api.app import create_app
from api.services import ApiServices
from backfill.jobs import BackfillJobs
from feature_repo.registry_versions import SHIPPED_FOLDER
from feature_repo.serving import FeatureServing
from market.clock import MILLISECOND_NS, SECOND_NS, ManualClock, parse_iso_ns
from market.errors import StoreUnavailable
from registry.life_cycle import RegistryLifeCycle
from storage.database.dataset_records import DatasetRecord
from storage.database.metadata import Metadata
from storage.database.quality_reports import QualityReports
from storage.database.upkeep import UpkeepState, UpkeepStore
from storage.features.log import FeatureLog
from storage.online.address import redis_settings
from storage.online.feed import RowFeed
from storage.online.store import OnlineStore
from storage.online.vector import OnlineVector
from storage.raw.raw_data import RawData
from training_sets.builds.builds import DatasetBuilds
from training_sets.dataset.datasets import Datasets as DatasetsFolder
from transforms.status import GAP, NO_DATA, OK, STALE, WARMUP

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

    def rows(self, _query: object) -> list[dict[str, Any]]:
        """Ingest workers: two that live, one of which stored nothing, and one that is dead."""
        now = datetime(2026, 1, 5, 12, tzinfo=UTC)
        told = (
            (1, {"count": 100, "mean_ms": 10.0}),
            (2, {"count": 300, "mean_ms": 30.0}),
            (3, {"count": 0, "mean_ms": None}),
            (600, {"count": 900, "mean_ms": 900.0}),
        )
        return [
            {
                "worker_id": str(age_s),
                "started_at": now,
                "heartbeat_at": now - timedelta(seconds=age_s),
                "status": {"computations_last_5min": recent},
            }
            for age_s, recent in told
        ]


class NoWorkers(Datasets):
    def rows(self, _query: object) -> list[dict[str, Any]]:
        return []


class Empty:
    def read(self, symbols: Sequence[str]) -> list[OnlineVector | None]:
        return [None for _ in symbols]


class Away:
    def read(self, _symbols: Sequence[str]) -> list[OnlineVector | None]:
        raise StoreUnavailable("redis x:1: call failed")


class Broken:
    def read(self, _symbols: Sequence[str]) -> list[OnlineVector | None]:
        raise ValueError("an internal detail")


class Kept:
    """One task of upkeep that runs every minute and last succeeded so long ago."""

    def __init__(self, age_s: float, *, error: str | None = None) -> None:
        now = datetime(2026, 1, 5, 12, tzinfo=UTC)
        succeeded = now - timedelta(seconds=age_s)
        self._state = UpkeepState(
            task="compaction",
            period=timedelta(minutes=1),
            registered_at=now - timedelta(days=1),
            now=now,
            started_at=succeeded,
            ended_at=succeeded,
            succeeded_at=succeeded,
            error=error,
        )

    def states(self) -> list[UpkeepState]:
        return [self._state]


class Hanging:
    def __init__(self) -> None:
        self.release = threading.Event()

    def read(self, _symbols: Sequence[str]) -> list[OnlineVector | None]:
        self.release.wait(30)
        return []


class Served:
    """The newest rows, a second old, with their statuses by symbol."""

    def __init__(self, statuses: Mapping[str, Mapping[str, int]], *, age_s: int = 1) -> None:
        self._statuses = statuses
        self._row_ns = parse_iso_ns(NOW) - age_s * SECOND_NS

    def read(self, symbols: Sequence[str]) -> list[OnlineVector | None]:
        return [self._vector(symbol) if symbol in self._statuses else None for symbol in symbols]

    def _vector(self, symbol: str) -> OnlineVector:
        available_ns = self._row_ns + 12 * MILLISECOND_NS
        none = np.empty(0)
        return OnlineVector(symbol, self._row_ns, available_ns, "1.0.0", "f", (), none, self._statuses[symbol], {})


def get(
    path: str,
    tmp_path: Path,
    *,
    online: object,
    metadata: object,
    versions_folder: Path = SHIPPED_FOLDER,
    check_queue: Callable[[], None] | None = None,
    upkeep: object | None = None,
) -> Response:
    services = ApiServices(
        online=cast("OnlineStore", online),
        metadata=cast("Metadata", metadata),
        builds=cast("DatasetBuilds", None),
        backfills=cast("BackfillJobs", None),
        quality_reports=cast("QualityReports", None),
        feed=RowFeed.connect(redis_settings("127.0.0.1:6379"), project="p"),  # connects when it is read
        clock=ManualClock(parse_iso_ns(NOW)),
        api_key="k",
        make_trace_id=lambda: "t",
        symbols=("BTCUSDT", "ETHUSDT"),
        raw=RawData(tmp_path),
        versions_folder=versions_folder,
        features=FeatureLog(tmp_path),
        datasets=DatasetsFolder(tmp_path),
        life_cycle=cast("RegistryLifeCycle", None),
        feature_server=cast("FeatureServing", None),
        check_queue=check_queue,
        upkeep=cast("UpkeepStore | None", upkeep),
    )
    with TestClient(create_app(services)) as client:
        answer: Response = client.get(path)
    return answer


def ask(
    tmp_path: Path,
    *,
    online: object,
    metadata: object,
    versions_folder: Path = SHIPPED_FOLDER,
    check_queue: Callable[[], None] | None = None,
    upkeep: object | None = None,
) -> dict[str, Any]:
    answer = get(
        "/health",
        tmp_path,
        online=online,
        metadata=metadata,
        versions_folder=versions_folder,
        check_queue=check_queue,
        upkeep=upkeep,
    )
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    assert set(document["services"]) == {"database", "message_queue", "online_store", "tape", "upkeep"}
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


def test_the_latency_is_that_of_computing_rows_over_all_workers_that_live(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Empty(), metadata=Datasets())
    assert document["average_latency_ms_last_5min"] == pytest.approx(25)
    without = ask(tmp_path, online=Empty(), metadata=NoWorkers())
    assert without["average_latency_ms_last_5min"] is None
    assert without["reasons"]["average_latency_ms_last_5min"] == "no row was stored in the last 5 minutes"
    assert without["status"] == "ok"


def test_a_store_that_is_away_degrades_and_the_rest_still_comes(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Away(), metadata=Datasets())
    assert document["status"] == "degraded"
    assert document["services"]["online_store"] == "unavailable"
    assert document["reasons"]["online_store"] == "redis x:1: call failed"
    assert document["reasons"]["latest_feature_computation_timestamp"] == "redis x:1: call failed"
    assert document["active_dataset_builds_count"] == 1


def test_an_unexpected_failure_degrades_and_does_not_tell_its_inside(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Broken(), metadata=Datasets())
    assert document["reasons"]["online_store"] == "online_store: the check failed with ValueError"
    assert document["status"] == "degraded"


def test_a_store_that_hangs_does_not_hang_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DEADLINE_S", 0.2)
    hanging = Hanging()
    try:
        document = ask(tmp_path, online=hanging, metadata=Datasets())
    finally:
        hanging.release.set()
    assert document["services"]["online_store"] == "unavailable"
    assert document["reasons"]["online_store"] == "online_store: no response within 0.2 s"
    assert document["services"]["database"] == "ok"


def test_an_empty_registry_is_told(tmp_path: Path) -> None:
    assert (
        ask(tmp_path, online=Empty(), metadata=Datasets(), versions_folder=tmp_path)["feature_registry_loaded"] is False
    )


def test_quality_is_ok_while_rows_are_fresh_and_unbroken(tmp_path: Path) -> None:
    online = Served({"BTCUSDT": {"price": OK, "position": NO_DATA}, "ETHUSDT": {"price": WARMUP}})
    document = ask(tmp_path, online=online, metadata=Datasets())
    assert document["data_quality_ok"] is True
    assert document["latest_feature_computation_timestamp"] == "2026-01-05T11:59:59.012000Z"
    assert "data_quality_ok" not in document["reasons"]


def test_a_gap_a_silent_source_and_an_old_row_are_no_quality_and_are_named(tmp_path: Path) -> None:
    broken = Served({"BTCUSDT": {"orderbook": GAP, "price": OK}, "ETHUSDT": {"orderflow": STALE}})
    document = ask(tmp_path, online=broken, metadata=Datasets())
    assert document["data_quality_ok"] is False
    assert document["reasons"]["data_quality_ok"] == (
        "BTCUSDT orderbook: must not be GAP, STALE nor QUARANTINED, was GAP; "
        "ETHUSDT orderflow: must not be GAP, STALE nor QUARANTINED, was STALE"
    )
    old = ask(tmp_path, online=Served({"BTCUSDT": {"price": OK}}, age_s=31), metadata=Datasets())
    assert old["data_quality_ok"] is False
    assert old["reasons"]["data_quality_ok"] == "BTCUSDT: newest row must be at most 30 s old, was 31"


def test_a_broker_that_is_used_is_asked_and_one_that_is_not_is_not(tmp_path: Path) -> None:
    def away() -> None:
        raise StoreUnavailable("rabbitmq x:1: cannot connect")

    unused = ask(tmp_path, online=Empty(), metadata=Datasets())
    assert (unused["queue_connected"], unused["services"]["message_queue"]) == (None, "not_used")
    there = ask(tmp_path, online=Empty(), metadata=Datasets(), check_queue=lambda: None)
    assert (there["queue_connected"], there["services"]["message_queue"], there["status"]) == (True, "ok", "ok")
    gone = ask(tmp_path, online=Empty(), metadata=Datasets(), check_queue=away)
    assert (gone["queue_connected"], gone["services"]["message_queue"]) == (False, "unavailable")
    assert gone["status"] == "degraded"
    assert gone["reasons"]["queue_connected"] == "rabbitmq x:1: cannot connect"


def test_it_is_ready_once_every_store_answers_and_a_followed_symbol_is_served(tmp_path: Path) -> None:
    empty = get("/ready", tmp_path, online=Empty(), metadata=Datasets())
    assert (empty.status_code, empty.headers["Retry-After"]) == (503, "5")
    assert empty.json() == {
        "ready": False,
        "missing": ["features: must be served for one of BTCUSDT, ETHUSDT, were for none"],
    }
    away = get("/ready", tmp_path, online=Away(), metadata=Datasets())
    assert away.json() == {"ready": False, "missing": ["redis x:1: call failed"]}
    served = get("/ready", tmp_path, online=Served({"ETHUSDT": {"price": OK}}), metadata=Datasets())
    assert (served.status_code, served.json()) == (200, {"ready": True, "missing": []})


def test_upkeep_that_is_older_than_twice_its_period_degrades_and_says_why(tmp_path: Path) -> None:
    in_time = ask(tmp_path, online=Empty(), metadata=Datasets(), upkeep=Kept(120))
    assert (in_time["status"], in_time["services"]["upkeep"]) == ("ok", "ok")
    assert "upkeep" not in in_time["reasons"]
    late = ask(tmp_path, online=Empty(), metadata=Datasets(), upkeep=Kept(121, error="disk x: must be writable"))
    assert (late["status"], late["services"]["upkeep"]) == ("degraded", "late")
    assert late["reasons"]["upkeep"] == (
        "compaction: last success must be at most 120 s ago, was 121 s, since disk x: must be writable"
    )


def test_upkeep_of_which_nothing_is_known_is_told_as_such(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Empty(), metadata=Datasets())
    assert document["services"]["upkeep"] == "unknown"
    assert document["reasons"]["upkeep"] == "no process of the service has registered upkeep tasks yet"


def test_late_upkeep_does_not_keep_the_service_from_being_ready(tmp_path: Path) -> None:
    served = Served({"ETHUSDT": {"price": OK}})
    answer = get("/ready", tmp_path, online=served, metadata=Datasets(), upkeep=Kept(1000))
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
