"""Whether ingest can write the feature log, as its workers tell."""

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


def feature_log_check(services: ProcessServices) -> Check:
    """Raises StoreUnavailable when a worker's object store is away; without a database nothing is known of it."""

    def check() -> Mapping[str, Any]:
        workers: list[IngestWorker] = []
        with suppress(StoreUnavailable):  # the check of the database says so
            workers = living_workers(services.metadata, to_datetime(services.clock.now_ns()))
        away = [each.worker_id for each in workers if (each.status.get("worker") or {}).get("log_is_away")]
        if away:
            raise StoreUnavailable(
                f"feature log: its object store must respond, does not for {', '.join(away)}; rows wait, also on tape"
            )
        return {}

    return check
