"""The job queue against a plain list: deferred, begun, given back, put back and ended in any order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.database.schema import upgrade
from tests.machines import machine_settings
from tests.postgres_servers import new_database, running_postgres

QUEUES = ("one", "other")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_postgres("embedded") as server, new_database(server) as made:
        upgrade(made)
        yield made


class QueueMachine(RuleBasedStateMachine):
    """One job a lock: what waits is done in the order in which it was deferred."""

    at: ClassVar[tuple[str, Metadata]]

    def __init__(self) -> None:
        super().__init__()
        url, self.metadata = self.at
        self.queue = JobQueue(url, stalled_after_s=0.0)
        self.waiting: list[tuple[int, str, int]] = []  # number, queue, attempts: in the order of deferring
        self.deferred = 0
        for job in self.queue.unfinished():
            self.queue.end(job)

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
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(self.queue.unfinished()))
        self.queue.end(chosen)
        self.waiting = [job for job in self.waiting if job[0] != chosen.arguments["number"]]

    @invariant()
    def what_is_unfinished_waits(self) -> None:
        found = [(job.arguments["number"], job.queue, job.attempts) for job in self.queue.unfinished()]
        assert sorted(found) == self.waiting
        assert self.queue.stalled() == []


def _note(done: list[int], number: int) -> None:
    done.append(number)


@pytest.mark.hypothesis
def test_jobs_are_done_once_in_order_whatever_happens_between(url: str) -> None:
    with closing(Metadata(url)) as metadata:

        class Here(QueueMachine):
            at = (url, metadata)

        run_state_machine_as_test(Here, settings=machine_settings(runs=3, steps=8))
