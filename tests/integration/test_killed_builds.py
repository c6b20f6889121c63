"""Real job workers, killed at random points: each dataset ends complete or failed, and a new request succeeds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import SystemClock, to_datetime
from runtime.feature_repository import apply_feature_store
from runtime.servers import Servers, running_servers
from runtime.settings import Settings, load_settings
from runtime.wiring import compiled_kernel, instrument_pins, make_pipeline, metadata_store
from storage.database.job_queue import JobQueue
from storage.database.job_worker import Interrupted
from storage.database.metadata import Metadata
from tests.build_places import books_on
from tests.killed_builds import (
    DEADLINE_S,
    DURATION_NS,
    HEARTBEAT_S,
    START_NS,
    check_files,
    ended,
    eventually,
    opened,
    request_of,
    started,
)
from tests.tcp_proxy import TcpProxy
from training_sets.builds import attempt
from training_sets.builds.attempt import MOST_ATTEMPTS
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.builds import BUILD_TASK, QUEUE
from training_sets.builds.watch import BuildWatch
from training_sets.dataset.datasets import Datasets


@pytest.fixture(scope="module")
def settings(kernel_cache: Path) -> Iterator[Settings]:
    # Not pytest's own folder: another run of it closes the passage that root's PostgreSQL needs to get to its cluster.
    with tempfile.TemporaryDirectory(prefix="fs-") as folder:
        yield load_settings(
            {
                "FEATURE_SERVICE_DATA_PATH": folder,
                "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
                "REDIS_HOST": None,
                "POSTGRES_HOST": None,
                "RABBITMQ_HOST": None,
            },
            env_file=None,
        )


@pytest.fixture(scope="module")
def servers(settings: Settings) -> Iterator[Servers]:
    with running_servers(settings) as found:
        apply_feature_store(settings, found)
        pipeline = make_pipeline(settings, compiled_kernel(settings, "1.0.0"), availability=available_as_if_live)
        play(pipeline, simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=START_NS, duration_ns=DURATION_NS))
        pipeline.close()
        compact_tape(settings.raw_folder, "BTCUSDT", instrument_pins(settings))
        # So that every build has features to rebuild.
        shutil.rmtree(settings.feature_log_storage_path)
        yield found


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What builds of this process wait for at their first step, so that none is over before a test stops it."""
    found = threading.Event()

    def held(*arguments: Any, on_step: Callable[[str], None], **others: Any) -> Dataset:  # noqa: ANN401  # as it takes
        def begin_step(name: str) -> None:
            on_step(name)
            assert found.wait(DEADLINE_S)

        return build_dataset(*arguments, on_step=begin_step, **others)

    monkeypatch.setattr(attempt, "build_dataset", held)
    yield found
    found.set()


@pytest.fixture
def metadata(servers: Servers) -> Iterator[Metadata]:
    with metadata_store(servers) as found:
        yield found


def kill_workers(settings: Settings, servers: Servers, metadata: Metadata, *, kills: int, seed: int) -> list[str]:
    """Kill so many workers at random points, let one finish; how every dataset ended."""
    rng = Random(seed)
    begun: list[str] = []
    with opened(settings, servers, metadata) as (builds, _):
        for at in range(kills):
            if at % 2 == 0:
                # Every other time a process finds only what a killed one left.
                begun.append(builds.start(request_of(1 + seed * 1000 + at)).dataset_id)
                shutil.rmtree(settings.feature_log_storage_path, ignore_errors=True)
            process = started(settings)
            before = metadata.get_dataset(begun[-1]).updated_at
            if rng.random() < 0.8:
                # Once it has taken something up, so that most kills meet a build and not an import.
                eventually(lambda before=before: metadata.get_dataset(begun[-1]).updated_at > before)  # type: ignore[misc]  # bound now
            time.sleep(rng.random() * 1.5)
            assert ended(process, signal.SIGKILL) == -signal.SIGKILL
        begun.append(builds.start(request_of(1 + seed * 1000 + kills)).dataset_id)
        process = started(settings)
        try:
            eventually(lambda: not metadata.list_datasets(status="building"))
        finally:
            assert ended(process, signal.SIGTERM) == 0
    records = [metadata.get_dataset(dataset_id) for dataset_id in begun]
    for record in records:
        check_files(settings, record)
        assert record.announced_at is not None
    assert records[-1].status == "ready"
    return [f"{record.status} after {record.attempt}" for record in records]


@pytest.mark.soak
def test_workers_killed_at_random_points_leave_complete_or_failed_datasets(
    settings: Settings, servers: Servers, metadata: Metadata
) -> None:
    endings = kill_workers(settings, servers, metadata, kills=3, seed=1)
    assert len(endings) == 3


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 7))
def test_workers_killed_many_times_leave_complete_or_failed_datasets(
    settings: Settings, servers: Servers, metadata: Metadata, seed: int
) -> None:
    endings = kill_workers(settings, servers, metadata, kills=20, seed=seed)
    sys.stdout.write(f"seed {seed}: 20 kills, {len(endings)} datasets: {', '.join(endings)}\n")
    assert len(endings) == 11


def test_a_worker_that_is_asked_to_stop_gives_its_build_to_the_next(
    settings: Settings, servers: Servers, metadata: Metadata, go_on: threading.Event
) -> None:
    with opened(settings, servers, metadata) as (builds, _):
        dataset_id = builds.start(request_of(30)).dataset_id
        interrupting = builds.worker(heartbeat_s=HEARTBEAT_S)
        thread = threading.Thread(target=interrupting.run)
        thread.start()
        eventually(lambda: metadata.get_dataset(dataset_id).step is not None)
        builds.close()
        interrupting.stop()
        go_on.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    left = metadata.get_dataset(dataset_id)
    assert left.status == "building"
    assert not list(settings.dataset_storage_path.glob(f".{dataset_id}-*"))
    with opened(settings, servers, metadata) as (builds, _):
        worker = builds.worker(heartbeat_s=HEARTBEAT_S)
        worker.run_until_empty()
    record = metadata.get_dataset(dataset_id)
    assert (record.status, record.attempt) == ("ready", 2)
    check_files(settings, record)


def test_a_build_whose_database_goes_away_is_begun_again_by_itself(
    settings: Settings, servers: Servers, metadata: Metadata, go_on: threading.Event
) -> None:
    proxy = TcpProxy(Path(str(make_url(servers.postgres_url).query["host"])) / ".s.PGSQL.5432")
    through = replace(servers, postgres_url=f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/postgres")
    with metadata_store(through) as beyond, opened(settings, through, beyond) as (builds, watch):
        worker = builds.worker(heartbeat_s=HEARTBEAT_S)
        threads = [threading.Thread(target=each.run) for each in (worker, watch)]
        dataset_id = builds.start(request_of(80)).dataset_id
        shutil.rmtree(settings.feature_log_storage_path, ignore_errors=True)
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: metadata.get_dataset(dataset_id).step is not None)
            proxy.go_away()
            go_on.set()
            eventually(lambda: not list(settings.dataset_storage_path.glob(f".{dataset_id}-*")))
            proxy.come_back()
            eventually(lambda: metadata.get_dataset(dataset_id).status != "building")
        finally:
            builds.close()
            worker.stop()
            watch.stop()
            for thread in threads:
                thread.join()
            proxy.close()
    record = metadata.get_dataset(dataset_id)
    assert (record.status, record.error_message) == ("ready", None)
    assert record.attempt > 1
    check_files(settings, record)


def test_the_jobs_role_builds_what_another_process_asked_for(
    settings: Settings, servers: Servers, metadata: Metadata
) -> None:
    with opened(settings, servers, metadata) as (builds, _):
        dataset_id = builds.start(request_of(31), trace_id="t-31").dataset_id
    hosts = ("REDIS_HOST", "POSTGRES_HOST", "RABBITMQ_HOST")
    environment = {name: value for name, value in os.environ.items() if name not in hosts}
    environment["FEATURE_SERVICE_CACHE_PATH"] = str(settings.feature_service_cache_path)
    environment["FEATURE_SERVICE_SHADOW_PARITY"] = "false"  # it would compile a kernel of its own
    command = [str(Path(sys.executable).with_name("feature-service")), "run", "--roles", "jobs", "--data"]
    running = subprocess.Popen([*command, str(settings.feature_service_data_path)], env=environment)
    try:
        eventually(lambda: metadata.get_dataset(dataset_id).status != "building")
        record = metadata.get_dataset(dataset_id)
        assert (record.status, record.attempt, record.trace_id) == ("ready", 1, "t-31")
        eventually(lambda: metadata.get_dataset(dataset_id).announced_at is not None)
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    check_files(settings, record)


def test_identical_requests_have_one_build_and_a_different_one_its_own(
    settings: Settings, servers: Servers, metadata: Metadata
) -> None:
    with opened(settings, servers, metadata) as (builds, _):
        one, same, other = (builds.start(request_of(reach_s)) for reach_s in (40, 40, 41))
        assert one.dataset_id == same.dataset_id
        assert other.dataset_id != one.dataset_id
        jobs = [job.lock for job in JobQueue(servers.postgres_url).unfinished()]
        assert sorted(str(lock) for lock in jobs) == sorted([one.dataset_id, other.dataset_id])
        for record in (one, other):
            builds.cancel(record.dataset_id)
        again = builds.start(request_of(40))
        assert again.dataset_id != one.dataset_id
        builds.cancel(again.dataset_id)
        builds.worker().run_until_empty()
    assert JobQueue(servers.postgres_url).unfinished() == []
    assert {metadata.get_dataset(each.dataset_id).status for each in (one, other, again)} == {"cancelled"}
    assert metadata.get_dataset(one.dataset_id).attempt == 0


def test_a_build_that_kills_its_workers_fails_in_the_end(
    settings: Settings, servers: Servers, metadata: Metadata
) -> None:
    with opened(settings, servers, metadata) as (builds, _):
        dataset_id = builds.start(request_of(50)).dataset_id
    books = books_on(metadata, JobQueue(servers.postgres_url, stalled_after_s=0.0))
    watch = BuildWatch(books, Datasets(settings.dataset_storage_path), grace_s=0.0)
    begun: list[str] = []
    failed: list[int] = []

    def die(dataset_id: str) -> None:
        # The watch has no patience at all and takes this worker for dead.
        begun.append(dataset_id)
        if len(begun) == MOST_ATTEMPTS:
            failed.append(watch.look())
        assert len(begun) <= MOST_ATTEMPTS, "the watch must have ended the job"
        raise Interrupted

    queue = JobQueue(servers.postgres_url)
    queue.worker({BUILD_TASK: die}, queues=[QUEUE], heartbeat_s=60).run_until_empty()
    assert (len(begun), failed) == (MOST_ATTEMPTS, [1])
    record = metadata.get_dataset(dataset_id)
    assert (record.status, record.error_message) == ("failed", "interrupted: the process that built it is gone")


def test_a_record_without_a_job_fails_and_one_of_a_process_of_its_own_as_well(
    settings: Settings, servers: Servers, metadata: Metadata
) -> None:
    with opened(settings, servers, metadata) as (builds, _):
        like = builds.start(request_of(60))
        now = to_datetime(SystemClock().now_ns())
        long_ago = replace(like, dataset_id=uuid4().hex, request_hash=None, created_at=now, updated_at=like.updated_at)
        metadata.create_dataset(long_ago)
        queue = JobQueue(servers.postgres_url)
        own = replace(long_ago, dataset_id=uuid4().hex)
        metadata.create_dataset(
            own,
            in_transaction=partial(
                queue.defer, task=BUILD_TASK, queue="own-of-a-dead-process", lock=own.dataset_id, arguments={}
            ),
        )
        half = settings.attempts_folder / f".{own.dataset_id}-1"
        half.mkdir(parents=True)
        watch = BuildWatch(books_on(metadata, queue), Datasets(settings.dataset_storage_path), grace_s=0.0)
        assert watch.look() == 2
        assert {metadata.get_dataset(each.dataset_id).status for each in (long_ago, own)} == {"failed"}
        assert not half.exists()
        assert metadata.get_dataset(like.dataset_id).status == "building"
        builds.cancel(like.dataset_id)
        builds.worker().run_until_empty()
        assert queue.unfinished() == []
