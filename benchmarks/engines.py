"""Engines: 16 symbols of 8 days rebuilt by a process pool, the job queue and Ray, and what a task costs by itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import KERNEL_CACHE, Figure, seconds
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.database.migration import upgrade
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from tests.many_days import ranges, write_days
from tests.postgres_servers import new_database, running_postgres
from tests.ray_cluster import Cluster
from training_sets.engines.engine import Engine
from training_sets.engines.job_queue import Kind, QueueEngine
from training_sets.engines.pool import Pool
from training_sets.engines.ray import RayCluster
from training_sets.rebuild.days import rebuild_days
from training_sets.rebuild.queued import rebuild_kind

SYMBOLS: Final = [f"S{number:02d}USDT" for number in range(16)]
DAYS: Final = 8
TASKS: Final = 200


@dataclass(frozen=True, slots=True)
class Nothing:
    """A task that costs what an engine costs."""

    number: int

    def perform(self, is_stopping: Callable[[], bool]) -> int:
        assert not is_stopping()
        return self.number


def run(folder: Path) -> Iterator[Figure]:
    raw = folder / "raw"
    write_days(raw, SYMBOLS, DAYS)
    _rebuild(raw, folder / "warm", None)  # compiles
    for name, opened in (("pool", _pool), ("queue", _queue), ("ray", _ray)):
        one_s, one_here_s, *overhead_of_one = _measured(folder / f"{name}-1", raw, opened, 1)
        two_s, two_here_s, *overhead_of_two = _measured(folder / f"{name}-2", raw, opened, 2)
        for said, taken_s, here_s, goal in (
            ("one worker", one_s, one_here_s, "ratio 1 and its start"),
            ("two workers", two_s, two_here_s, "ratio 0.5 and its start"),
        ):
            yield Figure(
                f"engines: {name}, 16 symbols x 8 days, {said}",
                taken_s,
                "s",
                "lower",
                yardstick="in the process that asks",
                yardstick_value=here_s,
                goal=goal,
            )
        yield Figure(
            f"engines: {name}, two workers over one",
            one_s / two_s,
            "times as fast",
            "higher",
            goal="2 where two cores are free",
        )
        for said, (start_s, task_ms) in ((", one worker", overhead_of_one), ("", overhead_of_two)):
            yield Figure(f"engines: {name}, until the first task has ended{said}", start_s, "s", "lower", goal="5")
            yield Figure(f"engines: {name}, a task that does nothing{said}", task_ms, "ms", "lower", goal="1")


def _measured(
    folder: Path, raw: Path, opened: Callable[[Path, Path, int], AbstractContextManager[Engine]], workers: int
) -> tuple[float, float, float, float]:
    """Seconds of a rebuild by the engine and here, seconds until the first task, milliseconds of each after it."""
    features = folder / "engine"
    with opened(raw, features, workers) as engine:
        start_s, task_ms = _overhead(engine)
        here_s = seconds(lambda: _rebuild(raw, folder / "here", None))
        return seconds(lambda: _rebuild(raw, features, engine)), here_s, start_s, task_ms


def _rebuild(raw: Path, features: Path, engine: Engine | None) -> None:
    computed = sum(day.rows > 0 for day in rebuild_days(ranges(raw, features, KERNEL_CACHE, SYMBOLS), engine=engine))
    assert computed == len(SYMBOLS) * DAYS


def _overhead(engine: Engine) -> tuple[float, float]:
    """Seconds until the first task has ended, and milliseconds of each after it."""
    begun_s = time.perf_counter()
    ended_s = [time.perf_counter() for _ in engine.run([Nothing(number) for number in range(TASKS)])]
    return ended_s[0] - begun_s, (ended_s[-1] - ended_s[0]) / (TASKS - 1) * 1e3


@contextmanager
def _pool(_raw: Path, _features: Path, workers: int) -> Iterator[Engine]:
    yield Pool(workers)


@contextmanager
def _queue(raw: Path, features: Path, workers: int) -> Iterator[Engine]:
    """The process that asks is one worker, the others are processes of their own."""
    with ExitStack() as stack:
        url = stack.enter_context(new_database(stack.enter_context(running_postgres("server"))))
        upgrade(url)
        for _ in range(workers - 1):
            process = get_context("spawn").Process(target=_perform_tasks, args=(url, raw, features), daemon=True)
            process.start()
            stack.callback(process.kill)
        engine = _queue_engine(url, raw, features, workers)
        stack.enter_context(closing(engine.metadata))
        yield engine


def _queue_engine(url: str, raw: Path, features: Path, workers: int) -> QueueEngine:
    kinds: list[Kind[Any]] = [
        rebuild_kind(RawData(raw), FeatureLog(features), KERNEL_CACHE),
        Kind("nothing", Nothing, asdict, lambda document: Nothing(**document), int, int),
    ]
    return QueueEngine(Metadata(url), JobQueue(url), kinds, lambda: uuid.uuid4().hex, workers)


def _perform_tasks(url: str, raw: Path, features: Path) -> None:
    _queue_engine(url, raw, features, 1).worker(lambda: False).run()


@contextmanager
def _ray(_raw: Path, _features: Path, workers: int) -> Iterator[Engine]:
    with Cluster(cpus=workers) as cluster:
        engine = RayCluster(cluster.address, workers)
        list(engine.run([Nothing(0)]))  # the cluster itself is there for longer than a run
        yield engine
