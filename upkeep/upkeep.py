"""Upkeep runs its tasks: each when it is due, by one process at a time, and records it in the database.

1. One periodic job looks every LOOK_S at what is due and queues it; of all processes with the jobs role one does.
2. A process that takes a task holds its lock in the database until it ends or dies, and checks again whether it is due.
3. A failure is reported and retried; an interrupted task is due at once, in any live process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from market.errors import Conflict, FeatureServiceError, NotFound
from storage.database.job_queue import HEARTBEAT_S, JobQueue, Periodic
from storage.database.job_worker import Interrupted, JobWorker
from storage.database.upkeep import UpkeepRun, UpkeepStore
from upkeep.tasks import UpkeepTask

QUEUE: Final = "upkeep"
LOOK_TASK: Final = "look_at_upkeep"
RUN_TASK: Final = "run_upkeep"
LOOK_S: Final = 10
"""How often due tasks are looked for; a due task waits no longer."""
_TOLD_EVERY_S: Final = 1.0

_log = logging.getLogger(__name__)


class Upkeep:
    """The tasks of one process; ``worker_id`` names it in the table."""

    def __init__(
        self,
        store: UpkeepStore,
        tasks: Sequence[UpkeepTask],
        *,
        periods: Mapping[str, timedelta],
        worker_id: str,
    ) -> None:
        self._store = store
        self._tasks = {task.name: task for task in tasks}
        self._worker_id = worker_id
        self._is_stopping = threading.Event()
        store.register({name: periods[name] for name in self._tasks})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tasks)

    def run(self, name: str) -> Mapping[str, Any]:
        """Run a task now, due or not; what it did.

        Raises NotFound for a task that does not exist, Conflict when another process runs it, Interrupted after
        ``stop``, and what the task raises.
        """
        if name not in self._tasks:
            raise NotFound(f"upkeep: must be a task of {', '.join(self._tasks)}, was {name!r}")
        done = self._run(name, only_due=False)
        if done is None:
            raise Conflict(f"upkeep {name}: must be run by one process at a time, another is running it")
        return done

    def run_due(self, name: str) -> Mapping[str, Any] | None:
        """Run a task if it is due and no other process runs it; None when it was not run. Raises as ``run``."""
        return self._run(name, only_due=True)

    def stop(self) -> None:
        """From any thread: a running task stops before its next step; it continues elsewhere or at the next start."""
        self._is_stopping.set()

    def worker(self, queue: JobQueue, *, look_s: int = LOOK_S, heartbeat_s: float = HEARTBEAT_S) -> JobWorker:
        """A worker that looks for due tasks and runs them in parallel."""

        def look() -> None:
            for state in self._store.states():
                if state.task in self._tasks and state.is_due:
                    waiting_as = f"upkeep {state.task}"
                    queue.defer_once(RUN_TASK, queue=QUEUE, waiting_as=waiting_as, arguments={"name": state.task})

        return queue.worker(
            {RUN_TASK: self._run_queued},
            queues=[QUEUE],
            parallel=len(self._tasks) + 1,
            heartbeat_s=heartbeat_s,
            periodic=Periodic(LOOK_TASK, look_s, look),
        )

    def _run_queued(self, name: str) -> None:
        """A job: the table states how it ended, and the next check finds it due again."""
        if name not in self._tasks:
            _log.warning("upkeep %s: another version's task, not run", name)
            return
        try:
            self.run_due(name)
        except Interrupted:
            _log.info("upkeep %s: continues at the next start", name)
        except FeatureServiceError as error:
            _log.error("upkeep %s failed: %s", name, error)

    def _run(self, name: str, *, only_due: bool) -> Mapping[str, Any] | None:
        with self._store.claimed(name, self._worker_id, only_due=only_due) as run:
            if run is None:
                return None
            try:
                done = self._tasks[name].run(_Progress(run, self._is_stopping))
            except Interrupted:
                raise
            except BaseException as error:
                run.fail(str(error) if isinstance(error, FeatureServiceError) else f"ended by {type(error).__name__}")
                raise
            run.succeed(done)
        for problem in done.get("problems", ()):
            _log.warning("upkeep %s: %s", name, problem)
        return done


class _Progress:
    """Takes a task's progress and writes it to the table now and then."""

    def __init__(self, run: UpkeepRun, is_stopping: threading.Event) -> None:
        self._run = run
        self._is_stopping = is_stopping
        self._told_s = time.monotonic()

    def __call__(self, share: float) -> None:
        if self._is_stopping.is_set():
            raise Interrupted("upkeep: its process is stopping")
        if (now_s := time.monotonic()) - self._told_s >= _TOLD_EVERY_S:
            self._told_s = now_s
            self._run.tell(min(1.0, max(0.0, share)))
