"""The routes of evaluation over finished datasets, on a PostgreSQL of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from fastapi.testclient import TestClient

from api.app import create_app
from api.services import ApiServices
from feature_repo.registry_versions import load_registry_version
from market.clock import ManualClock, parse_iso_ns
from storage.database.dataset_records import DatasetRecord
from storage.database.metadata import Metadata
from storage.database.migration import upgrade
from storage.features.log import FeatureLog
from storage.places import Place
from storage.raw.raw_data import RawData
from tests.postgres_servers import new_database, running_postgres
from training_sets.dataset.datasets import Datasets
from training_sets.request.request import DatasetRequest, request_document


@contextmanager
def evaluating(datasets: Mapping[str, tuple[DatasetRequest, Place]], folder: Path) -> Iterator[TestClient]:
    """A client of the API that knows these datasets by id, each with its request and its path. folder: an empty one."""
    with running_postgres("server") as server, new_database(server) as url:
        upgrade(url)
        metadata = Metadata(url)
        for dataset_id, (request, path) in datasets.items():
            metadata.create_dataset(
                DatasetRecord(
                    dataset_id=dataset_id,
                    symbols=request.symbols,
                    request=request_document(request),
                    feature_registry_version=request.registry_version,
                    feature_set=load_registry_version(request.registry_version).feature_set.fingerprint,
                    created_at=datetime(2026, 1, 6, tzinfo=UTC),
                    updated_at=datetime(2026, 1, 6, tzinfo=UTC),
                    status="ready",
                    path=str(path),
                )
            )
        none = cast("Any", None)
        numbers = iter(range(100_000))
        services = ApiServices(
            online=none,
            metadata=metadata,
            builds=none,
            backfills=none,
            quality_reports=none,
            feed=none,
            clock=ManualClock(parse_iso_ns("2026-01-06T00:00:00")),
            api_key="k",
            make_trace_id=lambda: f"t{next(numbers)}",
            symbols=("BTCUSDT",),
            raw=RawData(folder),
            versions_folder=folder,
            features=FeatureLog(folder),
            datasets=Datasets(folder),
            life_cycle=none,
            feature_server=none,
        )
        try:
            # Without its lifespan: no feed is read.
            yield TestClient(create_app(services), headers={"X-API-Key": "k"})
        finally:
            metadata.close()
