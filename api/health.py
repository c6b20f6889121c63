"""The health route: what the service can and cannot reach, answered within a bound whatever hangs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from fastapi import APIRouter, Request

from api.schemas import Health, HealthOfServices
from api.services import ApiServices, Services
from feature_repo.registry_versions import registry_versions
from market.clock import format_iso
from market.errors import FeatureServiceError, StoreUnavailable
from storage.tape import tape_symbols

DEADLINE_S: Final = 2.0
CHECK_THREADS: Final = 6
"""Bounds the checks that hang at once; those waiting for a thread are dropped at the deadline."""
MOST_BUILDS_COUNTED: Final = 1000

_NOT_MEASURED: Final = "this process does not measure it"
_NO_QUEUE: Final = "this process uses no message queue"

router = APIRouter(tags=["health"])
_log = logging.getLogger(__name__)


@router.get("/health")
async def health(request: Request, services: Services) -> Health:
    """Status "ok", or "degraded" with the service that is away; 200 in both cases. Unknown fields say why."""
    pool: ThreadPoolExecutor = request.app.state.health_pool
    checks: dict[str, Callable[[ApiServices], Mapping[str, Any]]] = {
        "database": _database,
        "online_store": _online_store,
        "tape": _tape,
        "registry": _registry,
    }
    # Its own threads and a deadline: requests that hang in a store must not keep this route from answering.
    loop = asyncio.get_running_loop()
    running = {name: loop.run_in_executor(pool, check, services) for name, check in checks.items()}
    await asyncio.wait(running.values(), timeout=DEADLINE_S)
    known: dict[str, Any] = {}
    reasons = {
        "message_queue": _NO_QUEUE,
        "queue_connected": _NO_QUEUE,
        "average_latency_ms_last_5min": _NOT_MEASURED,
        "data_quality_ok": _NOT_MEASURED,
    }
    status = {}
    for name, answer in running.items():
        reason = _failure(name, answer)
        status[name] = "ok" if reason is None else "unavailable"
        if reason is None:
            found = answer.result()
            known |= found
            reasons |= {field: "there is none yet" for field, value in found.items() if value is None}
        else:
            reasons |= dict.fromkeys((name, *_FIELDS[name]), reason)
    return Health(
        status="ok" if set(status.values()) == {"ok"} else "degraded",
        timestamp=format_iso(services.clock.now_ns()),
        services=HealthOfServices(
            database=status["database"],
            message_queue="not_used",
            online_store=status["online_store"],
            tape=status["tape"],
        ),
        database_connected=status["database"] == "ok",
        feature_registry_loaded=status["registry"] == "ok" and known["newest_version"] is not None,
        latest_feature_computation_timestamp=known.get("latest_feature_computation_timestamp"),
        active_dataset_builds_count=known.get("active_dataset_builds_count"),
        last_dataset_build_duration_seconds=known.get("last_dataset_build_duration_seconds"),
        reasons={field: reason for field, reason in reasons.items() if field != "newest_version"},
    )


_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "database": ("active_dataset_builds_count", "last_dataset_build_duration_seconds"),
    "online_store": ("latest_feature_computation_timestamp",),
    "tape": (),
    "registry": (),
}
"""The flat fields that each check knows."""


def _failure(name: str, answer: asyncio.Future[Mapping[str, Any]]) -> str | None:
    if not answer.done():
        answer.cancel()
        return f"{name}: must answer within {DEADLINE_S:g} s, did not"
    error = answer.exception()
    if error is None:
        return None
    if isinstance(error, FeatureServiceError):
        return str(error)
    _log.error("health check of %s failed", name, exc_info=error)
    return f"{name}: must answer, failed with {type(error).__name__}"


def _database(services: ApiServices) -> Mapping[str, Any]:
    building = services.metadata.list_datasets(status="building", limit=MOST_BUILDS_COUNTED)
    ready = services.metadata.list_datasets(status="ready", limit=1)
    seconds = (ready[0].updated_at - ready[0].created_at).total_seconds() if ready else None
    return {"active_dataset_builds_count": len(building), "last_dataset_build_duration_seconds": seconds}


def _online_store(services: ApiServices) -> Mapping[str, Any]:
    times = [found.available_ns for found in services.online.read(services.symbols) if found is not None]
    return {"latest_feature_computation_timestamp": format_iso(max(times)) if times else None}


def _tape(services: ApiServices) -> Mapping[str, Any]:
    try:
        tape_symbols(services.raw_folder)
    except OSError as error:
        raise StoreUnavailable(f"tape: must be readable, was {error}") from error
    return {}


def _registry(services: ApiServices) -> Mapping[str, Any]:
    return {"newest_version": next(reversed(registry_versions(services.versions_folder)), None)}
