"""Upkeep in PostgreSQL: when each task last ran, how it ended and how far it has come, and that one process runs it.

1. A task is run by the holder of its advisory lock. The server releases it when that process dies, so
   that another one may begin at once.
2. Times are the database's: processes on several machines agree on what is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zlib import crc32

from sqlalchemy import Connection, Integer, RowMapping, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert

from market.clock import format_iso, to_ns
from market.errors import NotFound
from storage.database.connections import POOL_SIZE, open_engine, session, transaction
from storage.database.schema import UPKEEP_TASKS

LOCK: Final = 0x75706B70
"""First key of the advisory lock of every task; the second one is made of its name."""
RETRY_AFTER: Final = timedelta(seconds=60)
"""A task that failed is tried again after this, or after its period where that is shorter."""
LATE_AFTER_PERIODS: Final = 2
MOST_TASKS: Final = 12
"""At once in one process: each holds a connection while it runs, in addition to those that report on it."""
_HELD: Final = text(
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = :lock"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepState:
    """What is known of one task at ``now``; times are aware, None where it never happened.

    period: how often it is to run. started_at, ended_at: of the last run; ended_at is older while one runs, and after
    one that was cut off. told_at: when a run last reported its progress, 0 to 1. duration: of the last success.
    error: of the last run, None when it succeeded. result: what the last success did; ``problems`` in it are what
    need attention. worker: who ran it last.
    """

    task: str
    period: timedelta
    registered_at: datetime
    now: datetime
    is_running: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    succeeded_at: datetime | None = None
    told_at: datetime | None = None
    duration: timedelta | None = None
    progress: float = 0.0
    runs: int = 0
    failures: int = 0
    error: str | None = None
    result: Mapping[str, Any] | None = None
    worker: str | None = None

    @property
    def next_at(self) -> datetime:
        """When it is due; now and earlier is at once. One that was cut off is due from when it began."""
        if self.started_at is None:
            return self.registered_at
        if self.ended_at is None or self.ended_at < self.started_at:
            return self.started_at
        if self.error is not None:
            return self.ended_at + min(self.period, RETRY_AFTER)
        return self.started_at + self.period

    @property
    def is_due(self) -> bool:
        return not self.is_running and self.next_at <= self.now

    @property
    def age(self) -> timedelta | None:
        """Since the last success; None before the first."""
        return None if self.succeeded_at is None else self.now - self.succeeded_at

    @property
    def lag(self) -> timedelta:
        """How long it has been due without running; zero when it is not."""
        return timedelta() if self.is_running else max(timedelta(), self.now - self.next_at)

    @property
    def is_late(self) -> bool:
        """Whether its last success is older than twice its period; a run that still reports progress is not late."""
        alive_at = self.succeeded_at or self.registered_at
        if self.is_running and self.told_at is not None:
            alive_at = max(alive_at, self.told_at)
        return self.now - alive_at > LATE_AFTER_PERIODS * self.period

    @property
    def problems(self) -> tuple[str, ...]:
        """Findings of the last success that need attention."""
        return tuple((self.result or {}).get("problems", ()))

    def document(self) -> dict[str, Any]:
        """All of it as a JSON object: times as ISO 8601, spans in seconds."""
        return {
            "task": self.task,
            "period_seconds": self.period.total_seconds(),
            "last_success_at": _iso(self.succeeded_at),
            "age_seconds": None if self.age is None else self.age.total_seconds(),
            "next_at": _iso(self.next_at),
            "lag_seconds": self.lag.total_seconds(),
            "duration_seconds": None if self.duration is None else self.duration.total_seconds(),
            "is_running": self.is_running,
            "is_late": self.is_late,
            "progress": self.progress,
            "runs": self.runs,
            "failures": self.failures,
            "error": self.error,
            "result": self.result,
            "worker": self.worker,
        }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else format_iso(to_ns(at))


class UpkeepStore:
    """The table behind one SQLAlchemy URL; connects at first use, safe among threads.

    Every method raises StoreUnavailable when the database does not answer or was not upgraded.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url, pool_size=POOL_SIZE + MOST_TASKS)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def register(self, periods: Mapping[str, timedelta]) -> None:
        """Register how often each task is to be run; from then on a task that is not run becomes late."""
        if not periods:
            return
        rows = [
            {"task": task, "period_seconds": period.total_seconds(), "registered_at": func.clock_timestamp()}
            for task, period in sorted(periods.items())
        ]
        new = insert(UPKEEP_TASKS).values(rows)
        known = new.on_conflict_do_update(
            index_elements=[UPKEEP_TASKS.c.task], set_={"period_seconds": new.excluded.period_seconds}
        )
        with transaction(self._engine) as connection:
            connection.execute(known)

    def states(self) -> list[UpkeepState]:
        """Every task that was registered, by name."""
        with transaction(self._engine) as connection:
            return _read(connection)

    @contextmanager
    def claimed(self, task: str, worker: str, *, only_due: bool) -> Iterator[UpkeepRun | None]:
        """One run of a task, whose lock is held while the block lasts; None when another process runs it.

        only_due: None as well when it is not due, which is asked once the lock is held: two processes that saw the same
            task due run it once. Raises NotFound for a task that was not registered.
        """
        with session(self._engine) as connection:
            if not connection.execute(select(func.pg_try_advisory_lock(*_keys(task)))).scalar_one():
                yield None
                return
            try:
                state = next((each for each in _read(connection) if each.task == task), None)
                if state is None:
                    raise NotFound(f"upkeep: must be a registered task, was {task!r}")
                # Who holds the lock is this process.
                if only_due and state.next_at > state.now:
                    yield None
                    return
                run = UpkeepRun(self, task)
                run.begin(worker)
                yield run
            finally:
                connection.execute(select(func.pg_advisory_unlock(*_keys(task))))

    def change(self, task: str, **values: Any) -> None:  # noqa: ANN401  # columns of the table
        """Set columns of a task."""
        with transaction(self._engine) as connection:
            connection.execute(update(UPKEEP_TASKS).where(UPKEEP_TASKS.c.task == task).values(values))


class UpkeepRun:
    """One run of a task, whose progress is written to the table."""

    def __init__(self, store: UpkeepStore, task: str) -> None:
        self._store = store
        self._task = task

    def begin(self, worker: str) -> None:
        now = func.clock_timestamp()
        self._store.change(self._task, started_at=now, told_at=now, progress=0.0, worker=worker)

    def tell(self, progress: float) -> None:
        """How far it has come, 0 to 1."""
        self._store.change(self._task, told_at=func.clock_timestamp(), progress=progress)

    def succeed(self, result: Mapping[str, Any]) -> None:
        now = func.clock_timestamp()
        self._store.change(
            self._task,
            ended_at=now,
            succeeded_at=now,
            duration_seconds=func.extract("epoch", now - UPKEEP_TASKS.c.started_at),
            progress=1.0,
            runs=UPKEEP_TASKS.c.runs + 1,
            error=None,
            result=dict(result),
        )

    def fail(self, error: str) -> None:
        table = UPKEEP_TASKS.c
        self._store.change(
            self._task,
            ended_at=func.clock_timestamp(),
            runs=table.runs + 1,
            failures=table.failures + 1,
            error=error,
        )


def _keys(task: str) -> tuple[Any, Any]:
    return literal(LOCK, Integer), literal(_second_key(task), Integer)


def _second_key(task: str) -> int:
    return crc32(task.encode()) & 0x7FFF_FFFF


def _read(connection: Connection) -> list[UpkeepState]:
    held = {int(row.objid) for row in connection.execute(_HELD, {"lock": LOCK})}
    query = select(UPKEEP_TASKS, func.clock_timestamp().label("now")).order_by(UPKEEP_TASKS.c.task)
    return [_state(row, is_running=_second_key(row["task"]) in held) for row in connection.execute(query).mappings()]


def _state(row: RowMapping, *, is_running: bool) -> UpkeepState:
    known = dict(row)
    duration = known.pop("duration_seconds")
    return UpkeepState(
        period=timedelta(seconds=known.pop("period_seconds")),
        duration=None if duration is None else timedelta(seconds=float(duration)),
        is_running=is_running,
        **known,
    )
