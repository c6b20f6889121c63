"""Figures of the whole service: what cannot be had is null, with its reason, and the rest still comes."""

from __future__ import annotations

import os
import platform
import re
import threading
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request

from api.checks import Check, ask, store_checks
from api.computations import computations_check
from api.parameters import OnlySymbol
from api.rolling_windows import symbol_windows
from api.services import ApiServices, Services
from api.upkeep import upkeep_check
from market.clock import SECOND_NS, format_iso, to_datetime, to_ns
from market.errors import FeatureServiceError, InvalidRequest, NotFound, StoreUnavailable
from storage.database.computations import Processed, read_processed
from storage.database.ingest_workers import IngestWorker, read_ingest_workers
from storage.objects.path import ObjectPath
from storage.places import Place
from storage.tape.segments import tapes_folder

DEADLINE_S: Final = 5.0
THREADS: Final = 4
MOST_FILES: Final = 200_000
"""A folder with more is not counted: its disk says more, faster."""

ROW_FIGURES: Final = {
    "grid_ms": "row_grid_ms",
    "seconds": "rows_total",
    "ticks": "tick_rows_total",
    "skipped_ticks": "skipped_ticks_total",
}
"""Rows of a worker: those at whole seconds, those between, and ticks between that were left out in overload."""

router = APIRouter(prefix="/stats", tags=["stats"])
Figures = dict[str, Any]


@router.get("")
async def everything(request: Request, services: Services) -> dict[str, Any]:
    """All sections by name, and when they were collected."""
    parts = {
        (section, name): check for section, of in SECTIONS.items() for name, check in of(request, services).items()
    }
    answers = await ask(
        request.app.state.stats_pool, {f"{at[0]} {at[1]}": each for at, each in parts.items()}, DEADLINE_S
    )
    sections: dict[str, Any] = {
        section: _figures({name: answers[f"{section} {name}"] for of, name in parts if of == section})
        for section in SECTIONS
    }
    return {**sections, "collected_at": format_iso(services.clock.now_ns())}


@router.get("/storage")
async def storage(request: Request, services: Services) -> Figures:
    """Bytes and files of each store, each byte counted in one of them, and bytes of the online store and database."""
    return await _section(request, services, "storage")


@router.get("/processing")
async def processing(request: Request, services: Services) -> Figures:
    """Rows computed and messages received in the last hour and day, and the work of each ingest worker."""
    return await _section(request, services, "processing")


@router.get("/rolling-windows")
async def rolling_windows(request: Request, services: Services, symbol: OnlySymbol = None) -> Figures:
    """For each followed symbol, or one: the contents of its windows, its newest row, and each group's look-back."""
    if symbol is not None and symbol not in services.symbols:
        raise NotFound(f"symbol: must be one of {', '.join(services.symbols)}, was {symbol!r}")
    figures = await _section(request, services, "rolling-windows")
    if symbol is not None and figures["symbols"] is not None:
        figures["symbols"] = [each for each in figures["symbols"] if each["symbol"] == symbol]
    return figures


@router.get("/subscriptions")
async def subscriptions(request: Request, services: Services) -> Figures:
    """The queues with waiting messages and readers; the subscriptions, and when each last delivered a message.

    ``queues`` is empty if no message queue is used.
    """
    return await _section(request, services, "subscriptions")


@router.get("/upkeep")
async def upkeep(request: Request, services: Services) -> Figures:
    """For each upkeep task: last success, age, next run, lag, progress, and what it found."""
    return await _section(request, services, "upkeep")


@router.get("/service")
async def service(request: Request, services: Services) -> Figures:
    """The followed symbols, the overall status, and this process."""
    return await _section(request, services, "service")


async def _section(request: Request, services: ApiServices, section: str) -> Figures:
    return _figures(await ask(request.app.state.stats_pool, SECTIONS[section](request, services), DEADLINE_S))


def _figures(answers: Mapping[str, Any]) -> Figures:
    """Each figure by name, null where its check failed; ``reasons`` says why it did."""
    figures: Figures = {}
    reasons = {}
    for name, answer in answers.items():
        figures[name] = answer.found.get("figure")
        if answer.reason is not None:
            reasons[name] = answer.reason
    return {**figures, "reasons": reasons}


def _check(figure: Callable[[], object]) -> Check:
    return lambda: {"figure": figure()}


def _storage(_request: Request, services: ApiServices) -> dict[str, Check]:
    raw, tapes = services.raw.place, tapes_folder(services.raw.folder)
    return {
        "raw_data_storage": _check(partial(_folder, raw, but=tapes)),
        "tape_storage": _check(partial(_folder, tapes)),
        "feature_log_storage": _check(partial(_folder, services.features.folder)),
        "dataset_storage": _check(partial(_folder, services.datasets.place)),
        "online_store": _check(lambda: _online_store(services)),
        "database_bytes": _check(services.metadata.size_bytes),
    }


def _folder(path: Place, *, but: Path | None = None) -> dict[str, int]:
    files = size = 0
    if isinstance(path, ObjectPath):
        for file in path.rglob("*"):
            files, size = files + 1, size + file.stat().st_size
            if files > MOST_FILES:
                raise _too_many(path)
        return {"size_bytes": size, "file_count": files}
    linked: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(path):
        if but is not None and Path(folder) == but.parent and but.name in folders:
            folders.remove(but.name)
        for name in names:
            files += 1
            if files > MOST_FILES:
                raise _too_many(path)
            try:
                found = (Path(folder) / name).stat()
            except FileNotFoundError:  # removed since it was listed
                files -= 1
                continue
            place = found.st_dev, found.st_ino
            if found.st_nlink == 1 or place not in linked:  # what is published has a second link
                size += found.st_size
            if found.st_nlink > 1:
                linked.add(place)
    return {"size_bytes": size, "file_count": files}


def _too_many(path: Place) -> InvalidRequest:
    return InvalidRequest(f"{path}: must hold at most {MOST_FILES} files to be counted, held more")


def _online_store(services: ApiServices) -> dict[str, int | None]:
    used, limit = services.online.memory()
    return {"used_bytes": used, "limit_bytes": limit}


def _processing(_request: Request, services: ApiServices) -> dict[str, Check]:
    processed = cache(partial(_processed, services))
    return {
        "features_computed_1h": _check(lambda: processed().rows_1h),
        "features_computed_24h": _check(lambda: processed().rows_24h),
        "events_processed_1h": _check(lambda: processed().events_1h),
        "events_processed_24h": _check(lambda: processed().events_24h),
        "average_latency_ms_last_5min": _check(lambda: computations_check(services)()["mean_ms"]),
        "computed_at": _check(lambda: format_iso(services.clock.now_ns())),
        "workers": _check(lambda: [_worker(each, services) for each in _workers(services)]),
    }


def _processed(services: ApiServices) -> Processed:
    return read_processed(services.metadata, to_datetime(services.clock.now_ns()))


def _worker(worker: IngestWorker, services: ApiServices) -> Figures:
    return {
        "worker_id": worker.worker_id,
        "is_alive": worker.is_alive(to_datetime(services.clock.now_ns())),
        "started_at": format_iso(to_ns(worker.started_at)),
        "heartbeat_at": format_iso(to_ns(worker.heartbeat_at)),
        "symbols": worker.status.get("symbols"),
        "stages": worker.status.get("stages"),
        "rows": {name: worker.status.get("worker", {}).get(figure) for name, figure in ROW_FIGURES.items()},
        "leases": worker.status.get("leases"),
    }


def _rolling_windows(_request: Request, services: ApiServices) -> dict[str, Check]:
    return {"symbols": _check(lambda: symbol_windows(services))}


def _subscriptions(_request: Request, services: ApiServices) -> dict[str, Check]:
    def of_workers() -> list[Figures]:
        now = to_datetime(services.clock.now_ns())
        return [
            {**each, "worker_id": worker.worker_id}
            for worker in _workers(services)
            if worker.is_alive(now)
            for each in worker.status.get("subscriptions") or ()
        ]

    def of_queues() -> list[Figures]:
        lengths = {} if services.queue_lengths is None else services.queue_lengths()
        return [
            {
                "queue_name": queue,
                "messages_in_queue": messages,
                "active_consumers": readers,
                "subscription_status": "active" if readers else "unread",
            }
            for queue, (messages, readers) in lengths.items()
        ]

    return {"queues": _check(of_queues), "subscriptions": _check(of_workers)}


def _workers(services: ApiServices) -> list[IngestWorker]:
    workers = read_ingest_workers(services.metadata)
    if not workers:
        raise StoreUnavailable("no ingest worker has reported; feature-service run --roles ingest starts one")
    return workers


def _upkeep(_request: Request, services: ApiServices) -> dict[str, Check]:
    return {"tasks": _check(lambda: [state.document() for state in upkeep_check(services)()["states"]])}


def _service(_request: Request, services: ApiServices) -> dict[str, Check]:
    figures: dict[str, Callable[[], object]] = {
        "tracked_symbols": lambda: list(services.symbols),
        "version": lambda: version("feature-service"),
        "python": platform.python_version,
        "process_id": os.getpid,
        "started_at": lambda: format_iso(services.started_ns),
        "uptime_seconds": lambda: (services.clock.now_ns() - services.started_ns) / SECOND_NS,
        "threads": threading.active_count,
        "memory_bytes": _memory_bytes,
    }
    return {**{name: _check(figure) for name, figure in figures.items()}, **_health(services)}


def _health(services: ApiServices) -> dict[str, Check]:
    """Whether every store answers, and when that was asked."""

    def status() -> str:
        for check in store_checks(services).values():
            try:
                check()
            except FeatureServiceError:
                return "degraded"
        return "ok"

    return {
        "service_status": _check(status),
        "last_health_check": _check(lambda: format_iso(services.clock.now_ns())),
    }


def _memory_bytes() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None, "Linux states VmRSS"
    return int(found[1]) * 1024


SECTIONS: Final[Mapping[str, Callable[[Request, ApiServices], dict[str, Check]]]] = {
    "storage": _storage,
    "processing": _processing,
    "rolling-windows": _rolling_windows,
    "subscriptions": _subscriptions,
    "upkeep": _upkeep,
    "service": _service,
}
