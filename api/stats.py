"""Figures of the whole service: what cannot be had is null, with its reason, and the rest still comes."""

from __future__ import annotations

import os
import platform
import re
import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request

from api.checks import Check, ask
from api.services import ApiServices, Services
from api.upkeep import upkeep_check
from market.clock import SECOND_NS, format_iso, to_datetime, to_ns
from market.errors import InvalidRequest, StoreUnavailable
from storage.database.ingest_workers import IngestWorker, read_ingest_workers
from transforms.catalogue import GROUPS, group_horizon_ns, group_warm_up_ns
from transforms.status import STATUS_NAMES

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
async def everything(request: Request, services: Services) -> dict[str, Figures]:
    """Every section, by name."""
    parts = {
        (section, name): check for section, of in SECTIONS.items() for name, check in of(request, services).items()
    }
    answers = await ask(
        request.app.state.stats_pool, {f"{at[0]} {at[1]}": each for at, each in parts.items()}, DEADLINE_S
    )
    return {
        section: _figures({name: answers[f"{section} {name}"] for of, name in parts if of == section})
        for section in SECTIONS
    }


@router.get("/storage")
async def storage(request: Request, services: Services) -> Figures:
    """Bytes and files of each folder, of the online store and of the database."""
    return await _section(request, services, "storage")


@router.get("/processing")
async def processing(request: Request, services: Services) -> Figures:
    """What each ingest worker did: its symbols, and the latency of its stages."""
    return await _section(request, services, "processing")


@router.get("/rolling-windows")
async def rolling_windows(request: Request, services: Services) -> Figures:
    """Of each followed symbol: its newest row, and how far back each group sees and what it knows."""
    return await _section(request, services, "rolling-windows")


@router.get("/subscriptions")
async def subscriptions(request: Request, services: Services) -> Figures:
    """What the workers are subscribed to, and when each last brought a message."""
    return await _section(request, services, "subscriptions")


@router.get("/upkeep")
async def upkeep(request: Request, services: Services) -> Figures:
    """Of each task of upkeep: last success, age, next, lag, progress, and what it found."""
    return await _section(request, services, "upkeep")


@router.get("/service")
async def service(request: Request, services: Services) -> Figures:
    """This process."""
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
    folders = {
        "tape": services.raw.folder / "tape",
        "raw": services.raw.folder,
        "features": services.features.folder,
        "datasets": services.datasets.folder,
    }
    checks = {name: _check(partial(_folder, path)) for name, path in folders.items()}
    checks["online_store"] = _check(lambda: _online_store(services))
    checks["database_bytes"] = _check(services.metadata.size_bytes)
    return checks


def _folder(path: Path) -> dict[str, int]:
    files = size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            files += 1
            if files > MOST_FILES:
                raise InvalidRequest(f"{path}: must hold at most {MOST_FILES} files to be counted, held more")
            try:
                size += (Path(folder) / name).stat().st_size
            except FileNotFoundError:  # removed since it was listed
                files -= 1
    return {"files": files, "bytes": size}


def _online_store(services: ApiServices) -> dict[str, int | None]:
    used, limit = services.online.memory()
    return {"used_bytes": used, "limit_bytes": limit}


def _processing(_request: Request, services: ApiServices) -> dict[str, Check]:
    return {"workers": _check(lambda: [_worker(each, services) for each in _workers(services)])}


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
    return {"symbols": _check(lambda: _windows(services))}


def _windows(services: ApiServices) -> dict[str, Figures | None]:
    now_ns = services.clock.now_ns()
    found: dict[str, Figures | None] = {}
    for symbol, vector in zip(services.symbols, services.online.read(services.symbols), strict=True):
        found[symbol] = (
            None
            if vector is None
            else {
                "newest_row": format_iso(vector.row_ns),
                "age_seconds": vector.age_ns(now_ns) / SECOND_NS,
                "feature_registry_version": vector.version,
                "groups": {
                    group: {
                        "status": STATUS_NAMES[status],
                        "horizon_seconds": group_horizon_ns(group) / SECOND_NS if group in GROUPS else None,
                        "warm_up_seconds": group_warm_up_ns(group) / SECOND_NS if group in GROUPS else None,
                    }
                    for group, status in vector.statuses.items()
                },
            }
        )
    return found


def _subscriptions(_request: Request, services: ApiServices) -> dict[str, Check]:
    def of_workers() -> list[Figures]:
        now = to_datetime(services.clock.now_ns())
        return [
            {**each, "worker_id": worker.worker_id}
            for worker in _workers(services)
            if worker.is_alive(now)
            for each in worker.status.get("subscriptions") or ()
        ]

    return {"subscriptions": _check(of_workers)}


def _workers(services: ApiServices) -> list[IngestWorker]:
    workers = read_ingest_workers(services.metadata)
    if not workers:
        raise StoreUnavailable("no ingest worker has reported")
    return workers


def _upkeep(_request: Request, services: ApiServices) -> dict[str, Check]:
    return {"tasks": _check(lambda: [state.document() for state in upkeep_check(services)()["states"]])}


def _service(request: Request, services: ApiServices) -> dict[str, Check]:
    figures: dict[str, Callable[[], object]] = {
        "version": lambda: version("feature-service"),
        "python": platform.python_version,
        "process_id": os.getpid,
        "started_at": lambda: format_iso(services.started_ns),
        "uptime_seconds": lambda: (services.clock.now_ns() - services.started_ns) / SECOND_NS,
        "symbols": lambda: list(services.symbols),
        "threads": threading.active_count,
        "memory_bytes": _memory_bytes,
        "average_latency_ms_last_5min": lambda: _latency_ms(request),
    }
    return {name: _check(figure) for name, figure in figures.items()}


def _latency_ms(request: Request) -> float:
    found: float | None = request.app.state.http_metrics.average_ms()
    if found is None:
        raise StoreUnavailable("no requests in the last 5 minutes")
    return found


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
