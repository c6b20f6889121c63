"""Backfill jobs in PostgreSQL: what was asked for, and which of its days have come or failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from sqlalchemy import RowMapping, insert, select, update

from market.errors import Conflict, NotFound
from storage.database.connections import open_engine, transaction
from storage.database.schema import BACKFILL_JOBS

BackfillStatus = Literal["pending", "in_progress", "completed", "failed", "cancelled"]
UNFINISHED = ("pending", "in_progress")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRecord:
    """One job; dates are YYYY-MM-DD, UTC, ``end_date`` inclusive, times aware. details: JSON by date."""

    job_id: str
    symbol: str
    start_date: str
    end_date: str
    data_types: tuple[str, ...]
    created_at: datetime
    status: BackfillStatus = "pending"
    current_date: str | None = None
    completed_dates: tuple[str, ...] = ()
    failed_dates: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    error_message: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    trace_id: str | None = None


class BackfillChanges(TypedDict, total=False):
    """The columns that a job changes."""

    status: BackfillStatus
    current_date: str | None
    completed_dates: tuple[str, ...]
    failed_dates: tuple[str, ...]
    details: Mapping[str, Any]
    error_message: str | None
    start_time: datetime | None
    end_time: datetime | None


class BackfillStore:
    """The table behind one SQLAlchemy URL; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def create(self, record: BackfillRecord, *, in_transaction: Callable[[Any], object]) -> None:
        """Add a job. in_transaction: given the driver's connection, does what must happen together with this."""
        with transaction(self._engine) as connection:
            connection.execute(insert(BACKFILL_JOBS).values(asdict(record)))
            in_transaction(connection.connection.driver_connection)

    def in_transaction(self, action: Callable[[Any], object]) -> None:
        """Do something on the driver's connection, whose changes are kept unless it raises."""
        with transaction(self._engine) as connection:
            action(connection.connection.driver_connection)

    def get(self, job_id: str) -> BackfillRecord:
        """One job. Raises NotFound."""
        with transaction(self._engine) as connection:
            query = select(BACKFILL_JOBS).where(BACKFILL_JOBS.c.job_id == job_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(
                f"backfill job {job_id!r}: must exist, was none; feature-service backfill list, or GET /backfill/list, "
                "lists them"
            )
        return _record(row)

    def newest(
        self, *, status: BackfillStatus | None = None, symbol: str | None = None, limit: int = 100
    ) -> list[BackfillRecord]:
        """The newest jobs, newest first, of one status and symbol where given."""
        query = select(BACKFILL_JOBS).order_by(BACKFILL_JOBS.c.created_at.desc(), BACKFILL_JOBS.c.job_id).limit(limit)
        if status is not None:
            query = query.where(BACKFILL_JOBS.c.status == status)
        if symbol is not None:
            query = query.where(BACKFILL_JOBS.c.symbol == symbol)
        with transaction(self._engine) as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def unfinished(self) -> list[BackfillRecord]:
        """The jobs that wait or run, oldest first."""
        query = select(BACKFILL_JOBS).where(BACKFILL_JOBS.c.status.in_(UNFINISHED)).order_by(BACKFILL_JOBS.c.created_at)
        with transaction(self._engine) as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def change(self, job_id: str, **changes: Unpack[BackfillChanges]) -> BackfillRecord:
        """Change a job that has not ended. Raises NotFound, and Conflict when it has."""
        change = (
            update(BACKFILL_JOBS)
            .where(BACKFILL_JOBS.c.job_id == job_id, BACKFILL_JOBS.c.status.in_(UNFINISHED))
            .values(**changes)
            .returning(BACKFILL_JOBS)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(change).mappings().one_or_none()
        if row is None:
            known = self.get(job_id)
            raise Conflict(f"backfill job {job_id}: must be pending or in progress, was {known.status}")
        return _record(row)


def _record(row: RowMapping) -> BackfillRecord:
    lists = ("data_types", "completed_dates", "failed_dates")
    return BackfillRecord(**{**row, **{name: tuple(row[name]) for name in lists}})
