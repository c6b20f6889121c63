"""Versions that are served next to the active one, so that a model can be tried on them.

1. The caller accepts the cost of a row, which is measured on the tape and reported first. A version over the
   budget, or whose cost cannot be measured, is refused.
2. Workers see it in the database and compute its rows in addition to their own; see
   ``ingestion.worker.shadow_serving``. Each worker reports on it in its status.
3. It ends when it is ended, or becomes the active one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from market.errors import Conflict, InvalidRequest
from registry.active import ActiveVersion
from registry.differences import Differences
from registry.states import Asked, change
from storage.database.ingest_workers import IngestWorker
from storage.database.registry_records import VersionRecord


@dataclass(frozen=True, slots=True)
class WorkerShadow:
    """What a worker reports about a version that it serves next to its own.

    state: preparing, serving or failed; detail: why it failed. rows: written so far. row_ms: what one costs; None
    before it was measured.
    """

    worker_id: str
    version: str
    state: str
    detail: str | None
    rows: int
    row_ms: float | None


class ShadowVersions:
    """Begins and ends them. Methods raise StoreUnavailable."""

    def __init__(
        self,
        active: ActiveVersion,
        differences: Differences,
        *,
        row_budget_ms: float,
        now: Callable[[], datetime],
        announce: Callable[[], object],
    ) -> None:
        self._active = active
        self._store = active.store
        self._differences = differences
        self._row_budget_ms = row_budget_ms
        self._now = now
        self._announce = announce

    def versions(self) -> list[str]:
        """The versions served next to the active one."""
        return self._store.shadows()

    def begin(self, version: str, asked: Asked, *, accepted_ms: float | None) -> VersionRecord:
        """Serve a version next to the active one from now on. accepted_ms: what a row of it may cost.

        Raises InvalidRequest, with what a row costs, where that is not accepted; Conflict where the version is active,
        its file is broken, its cost is over the budget or cannot be measured, or the files decide what is served.
        """
        self._active.check_changeable()
        if version == self._active.version:
            raise Conflict(f"registry version {version}: must not be active to be a shadow, was")
        looked = self._differences.folder.look(version)
        if looked.problems:
            raise Conflict(f"registry version {version}: must be valid: {'; '.join(looked.problems)}")
        cost = self._differences.cost(version)
        if cost.ms is None:
            raise Conflict(f"registry version {version}: its cost could not be measured: {cost.reason}")
        if cost.ms > self._row_budget_ms:
            raise Conflict(f"cost of a row: must be at most {self._row_budget_ms:g} ms, was {cost.ms:.3f} ms")
        if accepted_ms is None or accepted_ms < cost.ms:
            was = "was not given" if accepted_ms is None else f"was {accepted_ms:g}"
            raise InvalidRequest(
                f"accept_row_cost_ms: must be at least {cost.ms:.3f}, what a row of {version} costs of processor time "
                f"for each symbol and second, {was}"
            )
        self._announce()
        made = change("shadow", version, asked, at=self._now(), details=cost.document())
        return self._store.shadow(looked, made, row_cost_ms=cost.ms)

    def end(self, version: str, asked: Asked) -> VersionRecord:
        """Stop serving a version next to the active one. Raises Conflict if it was not served."""
        return self._store.end_shadow(version, change("end_shadow", version, asked, at=self._now()))


def shadows_of(worker: IngestWorker) -> list[WorkerShadow]:
    """What a worker reports about the versions that it serves next to its own."""
    found: dict[str, dict[str, Any]] = worker.status.get("shadow_versions") or {}
    return [
        WorkerShadow(worker.worker_id, version, each["state"], each["detail"], each["rows"], each["row_ms"])
        for version, each in found.items()
    ]
