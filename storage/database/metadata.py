"""The metadata store: what datasets and feature registry versions exist, in PostgreSQL.

Files are the truth for registry configurations, features and datasets; these tables hold what is asked about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final, TypeVar, Unpack

from sqlalchemy import Connection, Executable, RowMapping, Select, Update, delete, func, insert, select, update

from market.errors import Conflict, NotFound
from storage.database.connections import open_engine, transaction
from storage.database.dataset_records import BuildMeasured, DatasetChanges, DatasetRecord, DatasetStatus
from storage.database.metric_tables import DATASET_BUILDING_METRICS
from storage.database.schema import DATASETS

T = TypeVar("T")
_COUNTS: Final = ("train_records", "validation_records", "test_records")


class Metadata:
    """The tables behind one SQLAlchemy URL (``postgresql+psycopg://...``); connects at first use, safe among threads.

    Every method raises StoreUnavailable when the database does not answer or was not upgraded, and InvalidRequest for
    a value that PostgreSQL cannot hold (a NUL in a text, NaN in JSON).
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def create_dataset(
        self, record: DatasetRecord, *, in_transaction: Callable[[Any], object] = lambda _connection: None
    ) -> None:
        """Add a dataset. Raises Conflict when its id exists, or when one of its request is being built.

        in_transaction: given the driver's connection, does what must happen together with this or not at all.
        """
        with transaction(self._engine) as connection:
            connection.execute(insert(DATASETS).values(asdict(record)))
            in_transaction(connection.connection.driver_connection)

    def in_transaction(self, action: Callable[[Any], T]) -> T:
        """The result of an action on the driver's connection, whose changes are kept unless it raises."""
        with transaction(self._engine) as connection:
            return action(connection.connection.driver_connection)

    def find_building(self, request_hash: str) -> DatasetRecord | None:
        """The dataset that is being built for a request, if any."""
        query = select(DATASETS).where(DATASETS.c.request_hash == request_hash, DATASETS.c.status == "building")
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _dataset(row)

    def find_ready(self, request_hash: str) -> list[DatasetRecord]:
        """The ready datasets of a request, newest first."""
        query = (
            select(DATASETS)
            .where(DATASETS.c.request_hash == request_hash, DATASETS.c.status == "ready")
            .order_by(DATASETS.c.created_at.desc(), DATASETS.c.dataset_id)
        )
        return [_dataset(row) for row in self.rows(query)]

    def begin_attempt(self, dataset_id: str, updated_at: datetime) -> DatasetRecord:
        """Count one more attempt at a building dataset: changes of the attempts before it are refused from now on.

        Raises NotFound, and Conflict when it is no longer building.
        """
        change = update(DATASETS).values(attempt=DATASETS.c.attempt + 1, progress=0.0, step=None)
        with transaction(self._engine) as connection:
            record = self._change(connection, change, dataset_id, updated_at, {"status": "building"})
            _end_measured(connection, dataset_id, "failed", updated_at)  # of an attempt that was cut off
            connection.execute(insert(DATASET_BUILDING_METRICS).values(_begun(record, updated_at)))
        return record

    def announce_next(self, send: Callable[[DatasetRecord], object], announced_at: datetime) -> bool:
        """Send the oldest dataset that ended and was not announced; False if no other is left to send.

        It counts as announced once ``send`` has returned; a process that dies in between lets it be sent again.
        """
        query = (
            select(DATASETS)
            .where(DATASETS.c.status.in_(("ready", "failed")), DATASETS.c.announced_at.is_(None))
            .order_by(DATASETS.c.updated_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return False
            send(_dataset(row))
            found = DATASETS.c.dataset_id == row["dataset_id"]
            connection.execute(update(DATASETS).where(found).values(announced_at=announced_at))
        return True

    def add_build_measured(self, measured: BuildMeasured) -> None:
        """Keep how long the parts of an attempt took."""
        table = DATASET_BUILDING_METRICS
        values = asdict(measured)
        found = (table.c.dataset_id == values.pop("dataset_id"), table.c.attempt == values.pop("attempt"))
        self.write(update(table).where(*found).values(values))

    def list_builds_measured(self, *, limit: int) -> list[BuildMeasured]:
        """The last builds that became ready, newest first."""
        table = DATASET_BUILDING_METRICS
        query = (
            select(*(table.c[field.name] for field in fields(BuildMeasured)))
            .where(table.c.build_status == "ready", table.c.samples.is_not(None))
            .order_by(table.c.build_completed_at.desc())
            .limit(limit)
        )
        return [BuildMeasured(**row) for row in self.rows(query)]

    def get_dataset(self, dataset_id: str) -> DatasetRecord:
        """One dataset. Raises NotFound."""
        rows = self.rows(select(DATASETS).where(DATASETS.c.dataset_id == dataset_id))
        if not rows:
            raise _no_dataset(dataset_id)
        return _dataset(rows[0])

    def delete_dataset(self, dataset_id: str) -> None:
        """Remove a dataset. Raises NotFound."""
        gone = delete(DATASETS).where(DATASETS.c.dataset_id == dataset_id).returning(DATASETS.c.dataset_id)
        with transaction(self._engine) as connection:
            if connection.execute(gone).one_or_none() is None:
                raise _no_dataset(dataset_id)

    def list_datasets(
        self, *, status: DatasetStatus | None = None, symbol: str | None = None, limit: int = 100
    ) -> list[DatasetRecord]:
        """The newest ``limit`` datasets, newest first, of one status and containing one symbol where given."""
        query = select(DATASETS).order_by(DATASETS.c.created_at.desc(), DATASETS.c.dataset_id).limit(limit)
        if status is not None:
            query = query.where(DATASETS.c.status == status)
        if symbol is not None:
            query = query.where(DATASETS.c.symbols.contains([symbol]))
        return [_dataset(row) for row in self.rows(query)]

    def update_dataset(
        self,
        dataset_id: str,
        updated_at: datetime,
        *,
        expected_status: DatasetStatus | None = None,
        expected_attempt: int | None = None,
        **changes: Unpack[DatasetChanges],
    ) -> DatasetRecord:
        """Change the named columns and return the record as it is then.

        With ``expected_status`` the change happens only in that status, with ``expected_attempt`` only while that
        attempt is the last: a build that ends while it is cancelled does not undo the cancellation. Raises NotFound,
        and Conflict when the status or the attempt is another.
        """
        expected: dict[str, Any] = {"status": expected_status, "attempt": expected_attempt}
        change = update(DATASETS).values(**changes)
        known = {name: value for name, value in expected.items() if value is not None}
        with transaction(self._engine) as connection:
            record = self._change(connection, change, dataset_id, updated_at, known)
            if changes.get("status", "building") != "building":
                _end_measured(connection, dataset_id, record.status, updated_at, record)
        return record

    def move_datasets(self, place_of: Callable[[str], str | None]) -> int:
        """Say where ready datasets lie now; how many were found. place_of: by id, None where it is not there."""
        query = select(DATASETS.c.dataset_id).where(DATASETS.c.status == "ready")
        ids = [row["dataset_id"] for row in self.rows(query)]
        found = {dataset_id: place for dataset_id in ids if (place := place_of(dataset_id)) is not None}
        with transaction(self._engine) as connection:
            for dataset_id, place in found.items():
                connection.execute(update(DATASETS).where(DATASETS.c.dataset_id == dataset_id).values(path=place))
        return len(found)

    @staticmethod
    def _change(
        connection: Connection, change: Update, dataset_id: str, updated_at: datetime, expected: Mapping[str, Any]
    ) -> DatasetRecord:
        found = DATASETS.c.dataset_id == dataset_id
        change = change.where(found).values(updated_at=updated_at).returning(DATASETS)
        for name, value in expected.items():
            change = change.where(DATASETS.c[name] == value)
        row = connection.execute(change).mappings().one_or_none()
        if row is None:
            known = connection.execute(select(DATASETS).where(found)).mappings().one_or_none()
            if known is None:
                raise _no_dataset(dataset_id)
            name = next(name for name, value in expected.items() if known[name] != value)
            rule = f"{expected[name]}" if name == "status" else f"in {name} {expected[name]}"
            raise Conflict(f"dataset {dataset_id}: must be {rule}, was {known[name]}")
        return _dataset(row)

    def rows(self, query: Select[Any]) -> list[RowMapping]:
        """What a query of another file of this package finds."""
        with transaction(self._engine) as connection:
            return list(connection.execute(query).mappings())

    def write(self, statement: Executable) -> None:
        """Run a statement of another file of this package."""
        with transaction(self._engine) as connection:
            connection.execute(statement)

    def size_bytes(self) -> int:
        """What the database takes on its disk."""
        with transaction(self._engine) as connection:
            return int(connection.execute(select(func.pg_database_size(func.current_database()))).scalar_one())


def _begun(record: DatasetRecord, now: datetime) -> dict[str, Any]:
    """The row of an attempt that begins."""
    return {
        "dataset_id": record.dataset_id,
        "attempt": record.attempt,
        "symbol": ",".join(record.symbols),
        "symbols": list(record.symbols),
        "build_started_at": now,
        "build_status": "building",
        "feature_registry_version": record.feature_registry_version,
        "split_strategy": (record.splits_info or {}).get("split_strategy"),
        "trace_id": record.trace_id,
    }


def _end_measured(
    connection: Connection, dataset_id: str, status: str, now: datetime, record: DatasetRecord | None = None
) -> None:
    """Close the row of the attempt that was under way, if any. record: whose counts it takes."""
    table = DATASET_BUILDING_METRICS
    counts = {} if record is None else {name: getattr(record, name) for name in _COUNTS}
    known = [count for count in counts.values() if count is not None]
    connection.execute(
        update(table)
        .where(table.c.dataset_id == dataset_id, table.c.build_status == "building")
        .values(
            build_status=status,
            build_completed_at=now,
            build_duration_seconds=func.extract("epoch", now - table.c.build_started_at),
            records_count=sum(known) if known else None,
            **counts,
        )
    )


def _no_dataset(dataset_id: str) -> NotFound:
    return NotFound(
        f"dataset: must exist, was {dataset_id!r}; feature-service dataset list, or GET /dataset/list, lists them"
    )


def _dataset(row: RowMapping) -> DatasetRecord:
    return DatasetRecord(**{**row, "symbols": tuple(row["symbols"])})
