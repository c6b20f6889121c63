"""Ingest workers in processes of their own, and what they tell of themselves: rows, memory, threads, syncs."""

from __future__ import annotations

import multiprocessing
import os
import resource
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import KERNEL_CACHE
from runtime.servers import Servers
from runtime.settings import load_settings
from storage import group_sync

VERSION: Final = "2.0.0"


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """An ingest role in a process of its own. results: a queue of what it tells."""

    process: Any
    stop: Event
    results: Any

    def end(self) -> dict[str, Any]:
        """Stop it; what it has measured."""
        self.stop.set()
        found: dict[str, Any] = self.results.get(timeout=60)
        self.process.join()
        return found


def start_worker(folder: Path, port: int, servers: Servers, settings: Mapping[str, str]) -> RunningWorker:
    """A worker on the broker at ``port``, ready to take messages."""
    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.Queue()
    process = start_process(
        _worker, {"FEATURE_SERVICE_DATA_PATH": str(folder), **settings}, port, servers, stop, results
    )
    assert results.get(timeout=300) == "ready"
    return RunningWorker(process, stop, results)


def _worker(
    changes: Mapping[str, str],
    port: int,
    servers: Servers,
    stop: Event,
    results: Any,  # noqa: ANN401  # a queue
) -> None:
    from runtime.ingest_role import IngestRole
    from runtime.sources import SourceChoice

    settings = load_settings(
        {
            "FEATURE_SERVICE_CACHE_PATH": str(KERNEL_CACHE.parent),
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_PORT": str(port),
            **changes,
        },
        env_file=None,
    )
    role = IngestRole(settings, servers, SourceChoice("gateway"), version=VERSION)
    running = threading.Thread(target=role.run)
    running.start()
    results.put("ready")
    memory, threads = [], []
    syncs = SyncCount()
    begun = os.times()
    while not stop.wait(1.0):
        memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
        threads.append(sum(1 for _ in Path("/proc/self/task").iterdir()))
        syncs.end_second()
    ended = os.times()
    results.put(
        {
            "status": role.status(),
            "memory_mb": memory,
            "cpu": _cpu_share(begun, ended),
            "threads": threads,
            "syncs": syncs.by_second,
        }
    )
    role.stop()
    running.join()


class SyncCount:
    """Counts the syncs of this process by thread, from now on: calls of fsync, fdatasync and syncfs."""

    def __init__(self) -> None:
        self.by_second: list[dict[str, int]] = []
        self._counts: Counter[str] = Counter()
        for place, name in ((os, "fsync"), (os, "fdatasync"), (group_sync, "sync_filesystem")):
            setattr(place, name, self._counted(getattr(place, name)))

    def end_second(self) -> None:
        counts, self._counts = self._counts, Counter()
        self.by_second.append(dict(counts))

    def _counted(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def counted(descriptor: int) -> None:
            self._counts[threading.current_thread().name] += 1
            sync(descriptor)

        return counted


def _cpu_share(begun: os.times_result, ended: os.times_result) -> float:
    return (ended.user + ended.system - begun.user - begun.system) / (ended.elapsed - begun.elapsed)


def start_process(target: Callable[..., None], *arguments: object) -> Any:  # noqa: ANN401  # a spawned process
    started = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    started.start()
    return started
