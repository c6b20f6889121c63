"""What tests of the whole API ask it for, and what its service is made of."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from api.app import create_app
from api.services import ApiServices
from ingestion.pipeline.served_rows import ServedRows
from market.clock import MINUTE_NS, SECOND_NS, format_iso, parse_iso_ns
from tests import waiting
from training_sets.builds.builds import DatasetBuilds
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


def another_app(services: ApiServices, **changes: Any) -> FastAPI:  # noqa: ANN401  # fields of the services
    """A second application on the services, as in another process: its figures are its own."""
    return create_app(dataclasses.replace(services, registry=CollectorRegistry(), **changes))


CPCV = {"split_strategy": "cpcv", "cpcv_config": {"start_date": at(10), "end_date": at(210), "groups": 4}}
