"""Whether ingest can write the feature log, and goes on at all, as its workers tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from api.checks import Check
from api.services import ProcessServices
from market.clock import to_datetime
from market.errors import StoreUnavailable
from storage.database.ingest_workers import IngestWorker, living_workers

FEATURE_LOG: Final = "feature_log"
INGEST: Final = "ingest"


def feature_log_check(services: ProcessServices) -> Check:
    """Raises StoreUnavailable when a worker's object store is away; without a database nothing is known of it."""

    def check() -> Mapping[str, Any]:
        away = [each.worker_id for each in _workers(services) if (each.status.get("worker") or {}).get("log_is_away")]
        if away:
            raise StoreUnavailable(
                f"feature log: its object store must respond, does not for {', '.join(away)}; rows wait, also on tape"
            )
        return {}

    return check


def ingest_check(services: ProcessServices) -> Check:
    """Raises StoreUnavailable when a worker waits for what was published of a symbol."""

    def check() -> Mapping[str, Any]:
        waiting = [
            f"{symbol} of {each.worker_id}" for each in _workers(services) if (symbol := each.status.get("waits_for"))
        ]
        if waiting:
            raise StoreUnavailable(
                f"ingest: the object store of raw Parquet must answer, does not; waits with {', '.join(waiting)}, "
                "which has no tape or scale there, or an older one"
            )
        return {}

    return check


def _workers(services: ProcessServices) -> list[IngestWorker]:
    with suppress(StoreUnavailable):  # the check of the database says so
        return living_workers(services.metadata, to_datetime(services.clock.now_ns()))
    return []
