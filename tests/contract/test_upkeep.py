"""Upkeep keeps its contract on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from market.errors import Conflict, CorruptStore, NotFound, StoreUnavailable
from storage.database.job_queue import JobQueue
from storage.database.job_worker import Interrupted
from storage.database.upkeep import MOST_TASKS, UpkeepState, UpkeepStore
from tests import waiting
from tests.postgres_servers import run
from upkeep.tasks import PERIODS, Reach, UpkeepTask
from upkeep.upkeep import Upkeep

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S)
HOUR = timedelta(hours=1)
HOLDER = """
import sys, time
from storage.database.upkeep import UpkeepStore
store = UpkeepStore(sys.argv[1])
with store.claimed("count", "killed", only_due=False) as run:
    run.tell(0.5)
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(fresh_url: str) -> Iterator[UpkeepStore]:
    with closing(UpkeepStore(fresh_url)) as opened:
        yield opened


class Counting:
    """A task that counts its runs; it can be made to wait, or to fail."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.has_begun = threading.Event()

    def __call__(self, reach: Reach) -> dict[str, object]:
        self.has_begun.set()
        assert self.goes_on.wait(DEADLINE_S)
        reach(0.5)
        if self.error is not None:
            raise self.error
        self.runs += 1
        return {"runs": self.runs, "problems": ["somebody should look"]}

    def upkeep(self, store: UpkeepStore, *, worker: str = "a", period: timedelta = HOUR) -> Upkeep:
        return Upkeep(store, [UpkeepTask("count", self)], periods={"count": period}, worker_id=worker)


def state_of(store: UpkeepStore) -> UpkeepState:
    (state,) = store.states()
    return state


def has_run(store: UpkeepStore, runs: int) -> bool:
    return state_of(store).runs == runs


def passed(url: str, seconds: float) -> None:
    """So much time has passed, as far as the table says."""
    names = ("registered_at", "started_at", "ended_at", "succeeded_at", "told_at")
    earlier = ", ".join(f"{name} = {name} - interval '{seconds} seconds'" for name in names)
    run(url, f"UPDATE upkeep_tasks SET {earlier}")  # noqa: S608  # the test's own


def test_every_task_may_run_at_once_and_tell_of_it(store: UpkeepStore) -> None:
    assert len(PERIODS) <= MOST_TASKS
    store.register(PERIODS)
    with ExitStack() as stack:
        for task in PERIODS:
            run_of_task = stack.enter_context(store.claimed(task, "a", only_due=False))
            assert run_of_task is not None
            run_of_task.tell(0.5)
    assert {state.progress for state in store.states()} == {0.5}


def test_a_task_is_due_at_once_then_after_its_period_and_never_twice(store: UpkeepStore, fresh_url: str) -> None:
    count = Counting()
    upkeep = count.upkeep(store)
    assert state_of(store).is_due
    assert upkeep.run_due("count") == {"runs": 1, "problems": ["somebody should look"]}
    assert upkeep.run_due("count") is None
    passed(fresh_url, 3590)
    assert upkeep.run_due("count") is None
    passed(fresh_url, 10)
    assert upkeep.run_due("count") is not None
    assert upkeep.run("count")["runs"] == 3
    state = state_of(store)
    assert (state.runs, state.failures, state.error, state.progress) == (3, 0, None, 1.0)
    assert (state.worker, state.problems) == ("a", ("somebody should look",))
    assert state.age is not None
    assert timedelta() < state.age < timedelta(minutes=1)
    with pytest.raises(NotFound, match="must be a task of count, was 'other'"):
        upkeep.run("other")


def test_a_task_is_late_once_its_last_success_is_older_than_twice_its_period(
    store: UpkeepStore, fresh_url: str
) -> None:
    upkeep = Counting().upkeep(store)
    passed(fresh_url, 7190)
    assert not state_of(store).is_late
    passed(fresh_url, 20)
    state = state_of(store)
    assert state.is_late
    assert timedelta(seconds=7205) < state.lag < timedelta(seconds=7270)
    upkeep.run("count")
    assert not state_of(store).is_late
    assert state_of(store).lag == timedelta()
    passed(fresh_url, 7210)
    assert state_of(store).is_late


def test_a_failure_is_told_and_tried_again_after_a_minute_and_does_not_count_as_success(
    store: UpkeepStore, fresh_url: str
) -> None:
    count = Counting()
    upkeep = count.upkeep(store)
    count.error = CorruptStore("part x: must be whole, was not")
    with pytest.raises(CorruptStore):
        upkeep.run_due("count")
    state = state_of(store)
    assert (state.runs, state.failures, state.error) == (1, 1, "part x: must be whole, was not")
    assert state.succeeded_at is None
    assert upkeep.run_due("count") is None
    passed(fresh_url, 61)
    count.error = None
    assert upkeep.run_due("count") is not None
    assert (state_of(store).error, state_of(store).failures) == (None, 1)
    count.error = ValueError("an inside")
    with pytest.raises(ValueError, match="an inside"):
        upkeep.run("count")
    assert state_of(store).error == "ended by ValueError"


def test_one_process_at_a_time_runs_a_task(store: UpkeepStore, fresh_url: str) -> None:
    count = Counting()
    upkeep = count.upkeep(store)
    count.goes_on.clear()
    thread = threading.Thread(target=upkeep.run, args=("count",), daemon=True)
    thread.start()
    assert count.has_begun.wait(DEADLINE_S)
    with closing(UpkeepStore(fresh_url)) as other_store:
        other = Counting()
        elsewhere = other.upkeep(other_store, worker="b")
        assert state_of(other_store).is_running
        assert not state_of(other_store).is_due
        with pytest.raises(Conflict, match="by one process at a time"):
            elsewhere.run("count")
        assert elsewhere.run_due("count") is None
        count.goes_on.set()
        thread.join(DEADLINE_S)
        # It was due when the other one looked; it is asked again once the lock is free.
        assert elsewhere.run_due("count") is None
        assert (count.runs, other.runs) == (1, 0)
    assert not state_of(store).is_running


def test_what_a_killed_process_ran_is_due_at_once_and_goes_on_elsewhere(store: UpkeepStore, fresh_url: str) -> None:
    count = Counting()
    upkeep = count.upkeep(store)
    upkeep.run("count")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, fresh_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "holds\n"
        state = state_of(store)
        assert (state.is_running, state.progress, state.worker, state.is_due) == (True, 0.5, "killed", False)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(DEADLINE_S)
        eventually(lambda: state_of(store).is_due)
        assert upkeep.run_due("count") is not None
    finally:
        holder.kill()
        holder.wait(DEADLINE_S)
        holder.stdin.close()
        holder.stdout.close()
    assert (count.runs, state_of(store).worker) == (2, "a")


def test_what_a_stopping_process_ran_is_cut_off_between_two_steps_and_due_at_once(store: UpkeepStore) -> None:
    count = Counting()
    upkeep = count.upkeep(store)
    upkeep.stop()
    with pytest.raises(Interrupted):
        upkeep.run("count")
    state = state_of(store)
    assert (count.runs, state.runs, state.failures, state.is_due) == (0, 0, 0, True)


def test_two_workers_look_by_themselves_and_run_what_is_due_once(fresh_url: str) -> None:
    counts = [Counting(), Counting()]
    with closing(UpkeepStore(fresh_url)) as first, closing(UpkeepStore(fresh_url)) as second:
        upkeeps = [
            count.upkeep(store, worker=name) for count, store, name in zip(counts, (first, second), "ab", strict=True)
        ]
        workers = [upkeep.worker(JobQueue(fresh_url), look_s=1) for upkeep in upkeeps]
        threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        try:
            for runs in (1, 2, 3):
                eventually(partial(has_run, first, runs))
                passed(fresh_url, 3600)
            eventually(partial(has_run, first, 4))
        finally:
            for upkeep, worker in zip(upkeeps, workers, strict=True):
                upkeep.stop()
                worker.stop()
            for thread in threads:
                thread.join(DEADLINE_S)
    assert sum(count.runs for count in counts) == 4


def test_a_job_is_deferred_once_while_one_waits(fresh_url: str) -> None:
    queue = JobQueue(fresh_url)
    defer = partial(queue.defer_once, "count", queue="q", waiting_as="count", arguments={})
    assert defer() is True
    assert defer() is False
    queue.worker({"count": lambda: None}, queues=["q"]).run_until_empty()
    assert defer() is True


def test_a_database_that_is_away_is_told(fresh_url: str) -> None:
    with closing(UpkeepStore(fresh_url.rpartition("/")[0] + "/nowhere")) as away:
        with pytest.raises(StoreUnavailable):
            away.states()
        with pytest.raises(StoreUnavailable), away.claimed("count", "a", only_due=False):
            pass
