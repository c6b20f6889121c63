"""Stores as health finds them: there, empty, away, broken or hanging; and what it answers over them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
from fastapi.testclient import TestClient
from httpx import Response

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
