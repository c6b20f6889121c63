"""The job queue against a plain list: deferred, begun, given back, put back and ended in any order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from storage.database.job_queue import JobQueue, QueuedJob
from storage.database.job_worker import Interrupted, JobWorker
from storage.database.metadata import Metadata
from tests.machines import machine_settings
from tests.postgres_servers import MigratedPostgres

QUEUES = ("one", "other")
DEADLINE_S = 10.0


@pytest.fixture(scope="module")
def url(embedded_postgres: MigratedPostgres) -> Iterator[str]:
    with embedded_postgres.with_tables() as made:
        yield made


class QueueMachine(RuleBasedStateMachine):
    """One job a lock: what waits is done in the order in which it was deferred, however often it was begun before."""

    at: ClassVar[tuple[str, Metadata]]

    def __init__(self) -> None:
        super().__init__()
        url, self.metadata = self.at
        self.queue = JobQueue(url, stalled_after_s=0.0)
        self.waiting: list[tuple[int, str, int]] = []  # number, queue, attempts: in the order of deferring
        self.running: list[tuple[int, str, int]] = []  # of workers that are silent
        self.deferred = 0
        self.is_over = threading.Event()
        self.silent: list[tuple[JobWorker, threading.Thread]] = []
        for job in self.queue.unfinished():
            self.queue.end(job)

    def teardown(self) -> None:
        for job in self.queue.unfinished():
            self.queue.end(job)
        for worker, _ in self.silent:
            worker.stop()
        self.is_over.set()
        for _, thread in self.silent:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    @rule(name=st.sampled_from(QUEUES))
    def defer(self, name: str) -> None:
        number = self.deferred
        self.deferred += 1
        self.metadata.in_transaction(
            partial(self.queue.defer, task="count", queue=name, lock=f"lock-{number}", arguments={"number": number})
        )
        self.waiting.append((number, name, 0))

    @rule(name=st.sampled_from(QUEUES))
    def work(self, name: str) -> None:
        done: list[int] = []
        self.queue.worker({"count": partial(_note, done)}, queues=[name]).run_until_empty()
        assert done == [number for number, queue, _ in self.waiting if queue == name]
        self.waiting = [job for job in self.waiting if job[1] != name]

    @precondition(lambda self: len(self.waiting) > 0)
    @rule()
    def begin(self) -> None:
        """A worker takes the first job of a queue and is not heard of any more."""
        number, name, attempts = self.waiting[0]
        begun = threading.Event()
        worker = self.queue.worker(
            {"count": partial(_hang, begun, self.is_over)}, queues=[name], heartbeat_s=100 * DEADLINE_S
        )
        thread = threading.Thread(target=worker.run)
        self.silent.append((worker, thread))
        thread.start()
        assert begun.wait(DEADLINE_S)
        self.running.append((number, name, attempts))
        del self.waiting[0]

    @precondition(lambda self: len(self.waiting) > 0)
    @rule()
    def give_back(self) -> None:
        """A worker that is asked to stop gives the job back that it has begun."""
        number, name, attempts = self.waiting[0]
        begun: list[int] = []

        def interrupted(number: int) -> None:
            begun.append(number)
            worker.stop()
            raise Interrupted

        worker = self.queue.worker({"count": interrupted}, queues=[name])
        worker.run_until_empty()
        assert begun == [number]
        self.waiting[0] = number, name, attempts + 1

    @precondition(lambda self: len(self.running) > 0)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(self.queue.stalled()))
        self.queue.put_back(chosen)
        (put,) = [job for job in self.running if job[0] == chosen.arguments["number"]]
        self.running.remove(put)
        self.waiting = sorted([*self.waiting, (put[0], put[1], put[2] + 1)])

    @precondition(lambda self: len(self.waiting) + len(self.running) > 0)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(self.queue.unfinished()))
        self.queue.end(chosen)
        self.waiting = [job for job in self.waiting if job[0] != chosen.arguments["number"]]
        self.running = [job for job in self.running if job[0] != chosen.arguments["number"]]

    @invariant()
    def what_is_unfinished_waits_or_is_with_a_silent_worker(self) -> None:
        found = self.queue.unfinished()
        assert sorted(_told(job) for job in found if not job.is_running) == self.waiting
        running = sorted(_told(job) for job in found if job.is_running)
        assert running == sorted(self.running) == sorted(_told(job) for job in self.queue.stalled())


def _told(job: QueuedJob) -> tuple[int, str, int]:
    return job.arguments["number"], job.queue, job.attempts


def _hang(begun: threading.Event, is_over: threading.Event, number: int) -> None:  # the job's argument
    begun.set()
    is_over.wait(100 * DEADLINE_S)


def _note(done: list[int], number: int) -> None:
    done.append(number)


@pytest.mark.hypothesis
def test_jobs_are_done_once_in_order_whatever_happens_between(url: str) -> None:
    with closing(Metadata(url)) as metadata:

        class Here(QueueMachine):
            at = (url, metadata)

        run_state_machine_as_test(Here, settings=machine_settings(runs=4, steps=12))
