"""The job queue keeps its contract on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from procrastinate.schema import SchemaManager

from market.errors import NotFound, StoreUnavailable
from storage.database.job_queue import JobQueue
from storage.database.job_worker import Interrupted
from storage.database.metadata import Metadata
from tests import waiting
from tests.postgres_servers import MigratedPostgres, run

DEADLINE_S = 60
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S)
QUEUE = "work"
MIGRATED_SCHEMA = "c70ec4b400a60ad9592787653aae5ae7"


def defer(metadata: Metadata, queue: JobQueue, number: int, *, lock: str | None = None) -> int:
    return metadata.in_transaction(
        partial(queue.defer, task="count", queue=QUEUE, lock=lock or f"lock-{number}", arguments={"number": number})
    )


def noting(numbers: list[int]) -> Callable[[int], None]:
    def note(number: int) -> None:
        numbers.append(number)

    return note


def test_jobs_are_done_in_order_with_their_arguments_and_then_gone(metadata: Metadata, fresh_url: str) -> None:
    queue, done = JobQueue(fresh_url), list[int]()
    ids = [defer(metadata, queue, number) for number in range(3)]
    waiting = queue.unfinished()
    assert [(job.job_id, job.task, job.queue, job.lock, job.attempts, job.is_running) for job in waiting] == [
        (ids[number], "count", QUEUE, f"lock-{number}", 0, False) for number in range(3)
    ]
    queue.worker({"count": noting(done)}, queues=[QUEUE]).run_until_empty()
    assert done == [0, 1, 2]
    assert queue.unfinished() == []


def test_a_job_of_a_transaction_that_fails_does_not_exist(metadata: Metadata, fresh_url: str) -> None:
    queue = JobQueue(fresh_url)

    def fail(connection: Any) -> None:  # noqa: ANN401  # the driver's own
        queue.defer(connection, "count", queue=QUEUE, lock="l", arguments={"number": 1})
        raise NotFound("record: must be there, was not")

    with pytest.raises(NotFound):
        metadata.in_transaction(fail)
    assert queue.unfinished() == []


def test_a_worker_takes_the_jobs_of_its_queues_alone_so_many_at_a_time(metadata: Metadata, fresh_url: str) -> None:
    queue = JobQueue(fresh_url)
    together, most = threading.Barrier(2, timeout=DEADLINE_S), list[int]()

    def meet(number: int) -> None:
        together.wait()
        most.append(number)

    for number in range(4):
        defer(metadata, queue, number)
    queue.worker({"count": meet}, queues=["other"], parallel=2).run_until_empty()
    assert most == []
    queue.worker({"count": meet}, queues=[QUEUE], parallel=2).run_until_empty()
    assert sorted(most) == [0, 1, 2, 3]


def test_jobs_of_one_lock_never_run_side_by_side(metadata: Metadata, fresh_url: str) -> None:
    queue = JobQueue(fresh_url)
    running, seen = list[int](), list[int]()

    def alone(number: int) -> None:
        running.append(number)
        seen.append(len(running))
        threading.Event().wait(0.05)
        running.remove(number)

    for number in range(3):
        defer(metadata, queue, number, lock="one")
    worker = queue.worker({"count": alone}, queues=[QUEUE], parallel=3)
    while queue.unfinished():
        worker.run_until_empty()
    assert seen == [1, 1, 1]


def test_an_interrupted_job_goes_back_and_counts_its_attempts(metadata: Metadata, fresh_url: str) -> None:
    queue, begun = JobQueue(fresh_url), list[int]()
    defer(metadata, queue, 7)

    def twice(number: int) -> None:
        begun.append(number)
        if len(begun) == 1:
            raise Interrupted

    queue.worker({"count": twice}, queues=[QUEUE]).run_until_empty()
    assert begun == [7, 7]
    assert queue.unfinished() == []


def test_a_stalled_job_is_seen_and_can_be_put_back_or_ended(metadata: Metadata, fresh_url: str) -> None:
    queue = JobQueue(fresh_url, stalled_after_s=0.0)
    release, begun, ended = threading.Event(), list[int](), list[int]()

    def hang(number: int) -> None:
        begun.append(number)
        release.wait(DEADLINE_S)

    defer(metadata, queue, 1)
    # Its heartbeat is so slow that it looks dead.
    worker = queue.worker({"count": hang}, queues=[QUEUE], heartbeat_s=DEADLINE_S)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        eventually(lambda: begun == [1])
        [job] = queue.stalled()
        assert (job.lock, job.attempts, job.is_running) == ("lock-1", 0, True)
        queue.put_back(job)
        [again] = queue.unfinished()
        assert (again.is_running, again.attempts) == (False, 1)
        queue.worker({"count": noting(ended)}, queues=[QUEUE]).run_until_empty()
        assert ended == [1]
    finally:
        release.set()
        worker.stop()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()
    defer(metadata, queue, 2)
    [waiting] = queue.unfinished()
    queue.end(waiting)
    assert queue.unfinished() == []


def test_a_worker_whose_connections_are_cut_finds_the_database_again(metadata: Metadata, fresh_url: str) -> None:
    queue, done = JobQueue(fresh_url), list[int]()
    worker = queue.worker({"count": noting(done)}, queues=[QUEUE])
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        defer(metadata, queue, 1)
        eventually(lambda: done == [1])
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        assert run(fresh_url, f"{cut} AND pid <> pg_backend_pid()")
        defer(metadata, queue, 2)
        eventually(lambda: done == [1, 2])
    finally:
        worker.stop()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_a_worker_that_is_stopped_before_it_runs_does_nothing(metadata: Metadata, fresh_url: str) -> None:
    queue, done = JobQueue(fresh_url), list[int]()
    defer(metadata, queue, 1)
    worker = queue.worker({"count": noting(done)}, queues=[QUEUE])
    worker.stop()
    worker.run()
    assert done == []
    assert len(queue.unfinished()) == 1


def test_a_database_that_was_not_upgraded_is_store_unavailable(postgres: MigratedPostgres) -> None:
    queue = JobQueue(postgres.server.render_as_string(hide_password=False))
    with pytest.raises(StoreUnavailable, match="job queue: cannot be used: relation"):
        queue.unfinished()


def test_the_schema_of_the_queue_is_the_one_that_was_migrated() -> None:
    """Another version of procrastinate may need another schema: a migration must apply what it changes."""
    assert hashlib.sha256(SchemaManager.get_schema().encode()).hexdigest()[:32] == MIGRATED_SCHEMA
