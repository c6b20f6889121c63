"""Every engine under kills: 16 symbols of 8 days have the bytes of an undisturbed rebuild, whatever died meanwhile."""

from __future__ import annotations

import itertools
import os
import signal
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.database.migration import upgrade
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from tests.many_days import digests, ranges, rebuilt_here, write_days
from tests.postgres_servers import new_database, running_postgres
from tests.ray_cluster import Cluster
from tests.waiting import eventually
from training_sets.engines.engine import Engine
from training_sets.engines.job_queue import QueueEngine
from training_sets.engines.pool import Pool
from training_sets.engines.ray import RayCluster
from training_sets.rebuild.days import rebuild_days
from training_sets.rebuild.queued import rebuild_kind

pytestmark = pytest.mark.soak

SYMBOLS = [f"S{number:02d}USDT" for number in range(16)]
DAYS = 8
BETWEEN_KILLS = 20
"""Days that end between two deaths: a machine of any speed gets on."""

DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_days(folder, SYMBOLS, DAYS)
    return folder


@pytest.fixture(scope="module")
def expected(raw: Path, tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> dict[str, str]:
    return rebuilt_here(raw, tmp_path_factory.mktemp("features"), kernel_cache, SYMBOLS, DAYS)


def rebuilt(
    raw: Path, features: Path, kernel_cache: Path, engine: Engine, kill: Callable[[], object]
) -> tuple[dict[str, str], list[object]]:
    """The files of a rebuild in which something died after every few days; what ``kill`` returned each time."""
    wanted, seen, killed = ranges(raw, features, kernel_cache, SYMBOLS), set(), []
    for day in rebuild_days(wanted, engine=engine):
        seen.add((day.symbol, day.date))
        if len(seen) % BETWEEN_KILLS == 0:
            killed.append(kill())
    assert len(seen) == len(SYMBOLS) * DAYS
    assert not any(day.rows for day in rebuild_days(wanted)), "work that is there is not done again"
    return digests(features), killed


def test_a_pool(raw: Path, tmp_path: Path, kernel_cache: Path, expected: dict[str, str]) -> None:
    found, _ = rebuilt(raw, tmp_path, kernel_cache, Pool(2), lambda: None)
    assert found == expected


def queue_engine(url: str, raw: Path, features: Path, kernel_cache: Path) -> QueueEngine:
    kinds = [rebuild_kind(RawData(raw), FeatureLog(features), kernel_cache)]
    return QueueEngine(Metadata(url), JobQueue(url, stalled_after_s=3.0), kinds, lambda: uuid.uuid4().hex, 8)


def perform_tasks(url: str, raw: Path, features: Path, kernel_cache: Path) -> None:
    queue_engine(url, raw, features, kernel_cache).worker(lambda: False).run()


def test_a_queue_whose_workers_are_killed(
    raw: Path, tmp_path: Path, kernel_cache: Path, expected: dict[str, str]
) -> None:
    spawning = get_context("spawn")
    with running_postgres("server") as server, new_database(server) as url:
        upgrade(url)
        engine = queue_engine(url, raw, tmp_path, kernel_cache)
        workers = []

        def begin() -> None:
            process = spawning.Process(target=perform_tasks, args=(url, raw, tmp_path, kernel_cache), daemon=True)
            process.start()
            workers.append(process)

        def kill() -> None:
            workers.pop(0).kill()
            begin()

        begin()
        try:
            with closing(engine.metadata):
                found, killed = rebuilt(raw, tmp_path, kernel_cache, engine, kill)
        finally:
            workers[-1].kill()
    assert found == expected
    assert len(killed) >= len(SYMBOLS) * DAYS // BETWEEN_KILLS


def test_a_ray_cluster_whose_workers_nodes_and_head_are_killed(
    raw: Path, tmp_path: Path, kernel_cache: Path, expected: dict[str, str]
) -> None:
    whats = itertools.cycle(["worker", "node", "head"])
    with Cluster(cpus=1) as cluster:
        node = cluster.add_node(cpus=1)

        def kill() -> str:
            nonlocal node
            what = next(whats)
            if what == "worker":
                eventually(lambda: kill_a_worker(cluster), deadline_s=DEADLINE_S)
            elif what == "node":
                node.kill()
                node = cluster.add_node(cpus=1)
            else:
                cluster.kill_head()
                cluster.start_head()
            return what

        found, killed = rebuilt(raw, tmp_path, kernel_cache, RayCluster(cluster.address, 32), kill)
    assert found == expected
    assert {"worker", "node", "head"} <= set(killed)


def kill_a_worker(cluster: Cluster) -> bool:
    """Whether there was one that performs a task at this moment."""
    for process in cluster.performing():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            return True
    return False
