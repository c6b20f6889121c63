"""How long rows take to be computed, as the ingest workers tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.checks import Check
from api.services import ProcessServices
from market.clock import to_datetime
from market.errors import StoreUnavailable
from storage.database.ingest_workers import IngestWorker, read_ingest_workers

COMPUTATIONS: Final = "computations"
NONE_STORED: Final = "no row was stored in the last 5 minutes"


def computations_check(services: ProcessServices) -> Check:
    """The mean in ms from a row's time until it was stored, over the last 5 minutes of all workers that live."""

    def check() -> Mapping[str, Any]:
        now = to_datetime(services.clock.now_ns())
        mean_ms = mean_latency_ms(each for each in read_ingest_workers(services.metadata) if each.is_alive(now))
        if mean_ms is None:
            raise StoreUnavailable(NONE_STORED)
        return {"mean_ms": mean_ms}

    return check


def mean_latency_ms(workers: Iterable[IngestWorker]) -> float | None:
    """Of every row that the workers stored in their last 5 minutes; None of none."""
    told = [each.status.get("computations_last_5min") or {"count": 0} for each in workers]
    count = sum(each["count"] for each in told)
    return sum(each["count"] * each["mean_ms"] for each in told if each["count"]) / count if count else None
