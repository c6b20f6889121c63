"""What the ingest workers say of themselves, as anybody may read it: one row a worker, renewed every few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select

from storage.database.metadata import Metadata
from storage.database.schema import INGEST_WORKERS

SILENT_AFTER: Final = timedelta(seconds=15)
"""A worker whose last heartbeat is older is taken for dead."""
LONGEST_START: Final = timedelta(minutes=10)
"""A worker that has compiled for longer than that does not start any more."""
MOST_INGEST_WORKERS: Final = 1000


@dataclass(frozen=True, slots=True)
class IngestWorker:
    """One worker as it last described itself; times are aware.

    status: ``symbols`` (by symbol: last_recv_ns, last_row_ns, status by group, lag_ms, messages, rows, gaps, rejected,
    late, held), ``subscriptions``, ``stages`` (by name: count, p50_ms, p95_ms, p99_ms),
    ``row_traces`` (count, slowest by step, the slowest rows), ``leases`` (fence by name),
    ``feature_registry_version``, that of its rows, ``follows_activations``, whether it changes with the active one, and
    ``computations_last_5min`` (count, and mean_ms from a row's time until it was stored). While its kernel is compiled
    only ``starts``, the symbols that it will follow.
    """

    worker_id: str
    started_at: datetime
    heartbeat_at: datetime
    status: Mapping[str, Any]

    def is_alive(self, now: datetime) -> bool:
        """Whether its last heartbeat is recent."""
        return now - self.heartbeat_at <= SILENT_AFTER

    def is_starting(self, now: datetime) -> bool:
        """Whether its kernel is being compiled, and no longer than a kernel takes."""
        return "starts" in self.status and self.is_alive(now) and now - self.started_at <= LONGEST_START


def read_ingest_workers(metadata: Metadata) -> list[IngestWorker]:
    """Every worker that left a row, the last heartbeat first. Raises StoreUnavailable."""
    query = (
        select(INGEST_WORKERS)
        .order_by(INGEST_WORKERS.c.heartbeat_at.desc(), INGEST_WORKERS.c.worker_id)
        .limit(MOST_INGEST_WORKERS)
    )
    return [IngestWorker(**row) for row in metadata.rows(query)]


def living_workers(metadata: Metadata, now: datetime) -> list[IngestWorker]:
    """Those whose last heartbeat is recent. Raises StoreUnavailable."""
    return [worker for worker in read_ingest_workers(metadata) if worker.is_alive(now)]
