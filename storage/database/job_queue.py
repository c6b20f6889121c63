"""The job queue: long work in PostgreSQL, claimed by one worker at a time, by any number of processes.

1. A job is deferred in its caller's transaction: what it works on and the job exist together or not at all.
2. A worker claims jobs of its queues and runs each in a thread; while it lives it renews its heartbeat.
3. A job whose worker has been silent for STALLED_AFTER_S is stalled: the watch requeues or ends it.
4. A worker that is asked to stop notifies its tasks; one that raises Interrupted goes back to the queue.
5. A task may be periodic: of all workers that know it one defers it, once for each time it is due.

The tables are procrastinate's, in a schema of their own; what ended is deleted, the caller keeps its own record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from procrastinate import App, PsycopgConnector, RetryStrategy
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Status
from procrastinate.utils import utcnow

from storage.database.job_worker import CONNECT_TIMEOUT_S, Interrupted, JobWorker, QueuePool, failures_told

T = TypeVar("T")

SCHEMA: Final = "jobs"
"""Where procrastinate keeps its tables, apart from ours."""
HEARTBEAT_S: Final = 5.0
STALLED_AFTER_S: Final = 30.0
_MOST_CONNECTIONS: Final = 4


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """One unfinished job; ``attempts``: how often it was begun and given back before. ``lock`` names its subject."""

    job_id: int
    task: str
    queue: str
    lock: str | None
    attempts: int
    arguments: Mapping[str, Any]
    is_running: bool


@dataclass(frozen=True, slots=True)
class Periodic:
    """A task without arguments that is due at every full ``every_s`` seconds, a divisor of a minute."""

    name: str
    every_s: int
    run: Callable[[], None]


class JobQueue:
    """The jobs behind one SQLAlchemy URL (``postgresql+psycopg://...``).

    Methods raise StoreUnavailable when the database does not answer or was not upgraded.
    """

    def __init__(self, url: str, *, stalled_after_s: float = STALLED_AFTER_S) -> None:
        self._conninfo = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._stalled_after_s = stalled_after_s
        self._deferrer = self._app()

    def defer(
        self,
        connection: Any,  # noqa: ANN401  # the driver's own, passed on
        task: str,
        *,
        queue: str,
        lock: str,
        arguments: Mapping[str, Any],
    ) -> int:
        """Add a job in the transaction of a psycopg connection; its id. Jobs of one lock never run side by side."""
        with failures_told():
            # For the rest of the transaction: the functions name their tables without a schema.
            connection.execute(f"SET LOCAL search_path TO {SCHEMA}, public")
            job = self._deferrer.configure_task(task, queue=queue, lock=lock, connection=connection)
            return job.defer(**arguments)

    def defer_once(self, task: str, *, queue: str, waiting_as: str, arguments: Mapping[str, Any]) -> bool:
        """Add a job unless one waits under the name ``waiting_as``; whether it was added."""

        async def deferred(app: App) -> bool:
            try:
                await app.configure_task(task, queue=queue, queueing_lock=waiting_as).defer_async(**arguments)
            except AlreadyEnqueued:
                return False
            return True

        return self._ask(deferred)

    def unfinished(self) -> list[QueuedJob]:
        """Every job that waits or runs."""

        async def listed(app: App) -> list[QueuedJob]:
            found = []
            for status in (Status.TODO, Status.DOING):
                jobs = await app.job_manager.list_jobs_async(status=status.value)
                found += [_queued(job, is_running=status is Status.DOING) for job in jobs]
            return found

        return self._ask(listed)

    def stalled(self) -> list[QueuedJob]:
        """The running jobs whose worker has been silent for too long, or is gone."""

        async def listed(app: App) -> list[QueuedJob]:
            jobs = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=self._stalled_after_s)
            return [_queued(job, is_running=True) for job in jobs]

        return self._ask(listed)

    def put_back(self, job: QueuedJob) -> None:
        """Let another worker restart a stalled job."""

        async def put(app: App) -> None:
            await app.job_manager.retry_job_by_id_async(job.job_id, retry_at=utcnow())

        self._ask(put)

    def end(self, job: QueuedJob) -> None:
        """Remove an abandoned job."""

        async def finish(app: App) -> None:
            await app.job_manager.finish_job_by_id_async(job.job_id, Status.FAILED, delete_job=True)

        self._ask(finish)

    def _ask(self, question: Callable[[App], Coroutine[Any, Any, T]]) -> T:
        async def asked() -> T:
            app = self._app()
            async with app.open_async():
                return await question(app)

        with failures_told():
            return asyncio.run(asked())

    def _app(self, *, most_connections: int = 1) -> App:
        return App(
            connector=PsycopgConnector(
                conninfo=self._conninfo,
                min_size=1,
                max_size=most_connections,
                timeout=CONNECT_TIMEOUT_S,
                reconnect_timeout=CONNECT_TIMEOUT_S,
                pool_factory=QueuePool,
                kwargs={
                    "connect_timeout": CONNECT_TIMEOUT_S,
                    "options": f"-c search_path={SCHEMA} -c timezone=UTC",
                },
            )
        )

    def worker(
        self,
        tasks: Mapping[str, Callable[..., None]],
        *,
        queues: Sequence[str],
        parallel: int = 1,
        heartbeat_s: float = HEARTBEAT_S,
        periodic: Periodic | None = None,
    ) -> JobWorker:
        """A worker for some tasks, by name; each is called in a thread with the job's arguments as keywords.

        periodic: a task that the workers defer by themselves, to the first of ``queues``.
        """
        app = self._app(most_connections=_MOST_CONNECTIONS)
        if periodic is not None:
            _register(app, periodic, queue=queues[0])
        for name, function in tasks.items():
            app.task(name=name, retry=RetryStrategy(retry_exceptions=[Interrupted]))(function)
        return JobWorker(
            app, queues=queues, parallel=parallel, heartbeat_s=heartbeat_s, stalled_after_s=self._stalled_after_s
        )


def _register(app: App, periodic: Periodic, *, queue: str) -> None:
    def run(timestamp: int) -> None:  # noqa: ARG001  # procrastinate's name for when it was due
        periodic.run()

    # One that nobody has begun is not joined by another.
    task = app.task(name=periodic.name, queue=queue, queueing_lock=periodic.name)(run)
    # A sixth field of a cron line is the second.
    app.periodic(cron=f"* * * * * */{periodic.every_s}", periodic_id=periodic.name)(task)


def _queued(job: Any, *, is_running: bool) -> QueuedJob:  # noqa: ANN401  # procrastinate's own class
    return QueuedJob(
        job_id=job.id,
        task=job.task_name,
        queue=job.queue,
        lock=job.lock,
        attempts=job.attempts,
        arguments=job.task_kwargs,
        is_running=is_running,
    )
