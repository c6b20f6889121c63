"""What the stores answer when asked how they are: each in its own thread, all within one bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from api.services import ProcessServices
from feature_repo.registry_versions import load_registry_version
from market.errors import FeatureServiceError, StoreUnavailable
from storage.tape import tape_symbols

DEADLINE_S: Final = 2.0
CHECK_THREADS: Final = 8
"""Bounds the checks that hang at once; those waiting for a thread are dropped at the deadline."""
MOST_BUILDS_COUNTED: Final = 1000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one check found; ``reason`` says why it found nothing, None when it did."""

    found: Mapping[str, Any]
    reason: str | None = None


Check = Callable[[], Mapping[str, Any]]


async def ask(pool: ThreadPoolExecutor, checks: Mapping[str, Check], deadline_s: float) -> dict[str, Answer]:
    """The answer of each check. One that fails or does not answer in time is a reason, never an error."""
    loop = asyncio.get_running_loop()
    running = {name: loop.run_in_executor(pool, check) for name, check in checks.items()}
    if running:
        await asyncio.wait(running.values(), timeout=deadline_s)
    return {name: _answer(name, future, deadline_s) for name, future in running.items()}


def store_checks(services: ProcessServices) -> dict[str, Check]:
    """The checks of everything this process rests on; ``queue`` only where a message queue is used."""
    checks: dict[str, Check] = {
        "database": lambda: _database(services),
        "online_store": lambda: _online_store(services),
        "tape": lambda: _tape(services),
        "registry": lambda: _registry(services),
    }
    check_queue = services.check_queue
    if check_queue is not None:
        checks["message_queue"] = lambda: _queue(check_queue)
    return checks


def _answer(name: str, future: asyncio.Future[Mapping[str, Any]], deadline_s: float) -> Answer:
    if not future.done():
        future.cancel()
        return Answer({}, f"{name}: no response within {deadline_s:g} s")
    error = future.exception()
    if error is None:
        return Answer(future.result())
    if isinstance(error, FeatureServiceError):
        return Answer({}, str(error))
    _log.error("check of %s failed", name, exc_info=error)
    return Answer({}, f"{name}: the check failed with {type(error).__name__}")


def _database(services: ProcessServices) -> Mapping[str, Any]:
    building = services.metadata.list_datasets(status="building", limit=MOST_BUILDS_COUNTED)
    ready = services.metadata.list_datasets(status="ready", limit=1)
    seconds = (ready[0].updated_at - ready[0].created_at).total_seconds() if ready else None
    return {"active_builds": len(building), "last_build_seconds": seconds}


def _online_store(services: ProcessServices) -> Mapping[str, Any]:
    vectors = services.online.read(services.symbols)
    return {"vectors": [vector for vector in vectors if vector is not None]}


def _tape(services: ProcessServices) -> Mapping[str, Any]:
    try:
        return {"symbols": tape_symbols(services.raw.folder)}
    except OSError as error:
        raise StoreUnavailable(f"tape: cannot be read: {error}") from error


def _registry(services: ProcessServices) -> Mapping[str, Any]:
    return {"served_version": load_registry_version(services.default_version, services.versions_folder).version}


def _queue(check_queue: Callable[[], None]) -> Mapping[str, Any]:
    check_queue()
    return {}
