"""The job queue in PostgreSQL: tasks are performed by every process with the jobs role, and by the one that asks.

1. The process that asks writes its tasks down, puts a job of each in the queue, and works on the queue until all have
   ended. So it is never without a worker, and further machines only have to run the jobs role.
2. A worker takes only jobs of its own code: the queue's name has the code's digest.
3. A job whose worker is gone is put back, MOST_TRIES times. A task that ended twice counts as it ended first.
4. Tasks and results are JSON, data does not pass here: every machine must reach the same stores by its own settings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from market.clock import Clock, SystemClock, to_datetime
from market.errors import StoreUnavailable
from storage.database.engine_tasks import EngineTasks
from storage.database.job_queue import JobQueue
from storage.database.job_worker import Interrupted, JobWorker
from storage.database.metadata import Metadata
from training_sets.engines.engine import Task
from training_sets.engines.error_documents import error_document, error_of
from training_sets.provenance import code_digest

T = TypeVar("T")

TASK: Final = "engine_task"
MOST_TRIES: Final = 5
"""Of a task whose worker died: one that kills its worker each time is not tried without end."""
_LOOK_S: Final = 0.2
_LOOKS_FOR_STALLED: Final = 25
"""Every so many looks at what has ended it is looked for workers that are gone."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """Tasks of one class as JSON and back, and their results."""

    name: str
    of: type[Task[T]]
    document: Callable[[Any], dict[str, Any]]
    task: Callable[[Mapping[str, Any]], Task[T]]
    result_document: Callable[[T], Any]
    result: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class QueueEngine:
    """The queue of one database. workers: how many tasks all processes are expected to perform side by side."""

    metadata: Metadata
    queue: JobQueue
    kinds: Sequence[Kind[Any]]
    make_id: Callable[[], str]
    workers: int
    clock: Clock = field(default_factory=SystemClock)

    def run(self, tasks: Sequence[Task[T]]) -> Iterator[T]:
        """The results, as ``Engine.run`` says."""
        rows, run, is_stopping = EngineTasks(self.metadata), self.make_id(), threading.Event()
        kinds = [self._kind_of(task) for task in tasks]
        documents = [(kind.name, kind.document(task)) for kind, task in zip(kinds, tasks, strict=True)]
        rows.add(run, documents, to_datetime(self.clock.now_ns()))
        self.metadata.in_transaction(partial(self._defer, run, len(tasks)))
        worker = self.worker(is_stopping.is_set)
        thread = threading.Thread(target=worker.run, name="engine", daemon=True)
        thread.start()
        try:
            for number, outcome in self._ended(rows, run, len(tasks)):
                if "error" in outcome:
                    raise error_of(outcome)
                yield kinds[number].result(outcome["result"])
        finally:
            is_stopping.set()
            worker.stop()
            thread.join()
            rows.remove(run)  # a job that is left finds nothing to do

    def worker(self, is_stopping: Callable[[], bool]) -> JobWorker:
        """What performs tasks one after the other until it is stopped; given ``is_stopping``, a task ends early."""
        return self.queue.worker({TASK: partial(self._perform, is_stopping)}, queues=[_queue_name()])

    def _defer(self, run: str, count: int, connection: Any) -> None:  # noqa: ANN401  # the driver's own
        for number in range(count):
            arguments = {"run": run, "number": number}
            self.queue.defer(connection, TASK, queue=_queue_name(), lock=f"{run}-{number}", arguments=arguments)

    def _perform(self, is_stopping: Callable[[], bool], run: str, number: int) -> None:
        """The job. Raises Interrupted when it was stopped before its task had ended."""
        rows = EngineTasks(self.metadata)
        found = rows.open(run, number)
        if found is None:
            return
        name, document = found
        kind = next(kind for kind in self.kinds if kind.name == name)
        try:
            result = kind.task(document).perform(is_stopping)
        except Exception as error:  # noqa: BLE001  # told to the process that asked
            outcome = error_document(error)
        else:
            outcome = {"result": kind.result_document(result)}
        if is_stopping():
            raise Interrupted  # what is whole is in the store, and is not done again
        rows.end(run, number, outcome)

    def _ended(self, rows: EngineTasks, run: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        done: set[int] = set()
        pause, looks = threading.Event(), 0
        while len(done) < count:
            for number, outcome in rows.ended(run, but=done):
                done.add(number)
                yield number, outcome
            pause.wait(_LOOK_S)
            looks += 1
            if looks % _LOOKS_FOR_STALLED == 0:
                self._take_up_stalled(rows, run)

    def _take_up_stalled(self, rows: EngineTasks, run: str) -> None:
        for job in self.queue.stalled():
            if job.task != TASK or job.arguments["run"] != run:
                continue
            if job.attempts + 1 < MOST_TRIES:
                self.queue.put_back(job)
                continue
            self.queue.end(job)
            number = job.arguments["number"]
            problem = f"task {number} of engine run {run}: its worker died {MOST_TRIES} times"
            rows.end(run, number, error_document(StoreUnavailable(problem)))

    def _kind_of(self, task: Task[Any]) -> Kind[Any]:
        return next(kind for kind in self.kinds if isinstance(task, kind.of))


def _queue_name() -> str:
    return f"engine-{code_digest()[:16]}"
