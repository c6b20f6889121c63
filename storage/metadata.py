"""The metadata store: what datasets and feature registry versions exist, in PostgreSQL.

Files are the truth for registry configurations, features and datasets; these tables hold what is asked about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, Unpack

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    MetaData,
    RowMapping,
    Table,
    Text,
    create_engine,
    delete,
    false,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from market.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable

DatasetStatus = Literal["building", "ready", "failed", "cancelled"]

POOL_SIZE: Final = 5
CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 30_000
MIGRATION_LOCK: Final = 0x6665_6174_7365_7276
"""Key of the advisory lock under which a schema changes."""

FEAST_SCHEMA: Final = "feast"
"""Where Feast's SQL registry keeps its tables, apart from ours."""
FEAST_CONNECT_ARGS: Final = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "options": f"-c search_path={FEAST_SCHEMA} -c timezone=UTC",
}
FEAST_READER_ENGINE: Final[Mapping[str, Any]] = {"poolclass": NullPool, "connect_args": FEAST_CONNECT_ARGS}
"""How Feast's SQL registry connects to be read, now and then: it closes no pool, so it gets none."""
FEAST_WRITER_ENGINE: Final[Mapping[str, Any]] = {"pool_size": 1, "connect_args": FEAST_CONNECT_ARGS}
"""How it connects for an apply, which takes hundreds of statements; who opens it closes it."""
FEAST_LOCK: Final = 0x6665_6173_7472_6567
"""Key of the advisory lock under which Feast's registry changes."""
APPLY_WAIT_MS: Final = 120_000
"""How long an apply waits for the one before it."""

_MIGRATIONS = Path(__file__).parent / "migrations"

TABLES = MetaData(naming_convention={"pk": "%(table_name)s_pkey", "ck": "%(table_name)s_%(constraint_name)s_check"})

DATASETS = Table(
    "datasets",
    TABLES,
    Column("dataset_id", Text, primary_key=True),
    Column("symbols", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("splits_info", JSONB(none_as_null=True)),
    Column("feature_registry_version", Text, nullable=False),
    Column("feature_set", Text, nullable=False, comment="fingerprint"),
    Column("path", Text),
    Column("train_records", BigInteger),
    Column("validation_records", BigInteger),
    Column("test_records", BigInteger),
    Column("error_message", Text),
    Column("progress", Double, nullable=False, comment="0 to 1"),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
    CheckConstraint("status IN ('building', 'ready', 'failed', 'cancelled')", name="status"),
    CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
)

FEATURE_REGISTRY_VERSIONS = Table(
    "feature_registry_versions",
    TABLES,
    Column("version", Text, primary_key=True),
    Column("file_path", Text, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=false()),
    Column("validated_at", TIMESTAMP(timezone=True)),
    Column("validation_errors", JSONB(none_as_null=True)),
    Column("loaded_at", TIMESTAMP(timezone=True)),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("created_by", Text),
    Column("activated_by", Text),
    Column("rollback_from", Text),
    Column("previous_version", Text),
    Column("schema_version", Text),
    Column("migration_script", Text),
    Column("compatibility_warnings", JSONB(none_as_null=True)),
    Column("breaking_changes", JSONB(none_as_null=True)),
    Column("activation_reason", Text),
)
Index(
    "feature_registry_versions_one_active",
    FEATURE_REGISTRY_VERSIONS.c.is_active,
    unique=True,
    postgresql_where=FEATURE_REGISTRY_VERSIONS.c.is_active,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """What is known of one dataset; ``request`` and ``splits_info`` are JSON objects, times are aware.

    The record counts, ``splits_info`` and ``path`` are None until the build knows them. ``feature_set`` is the
    fingerprint of the feature set, ``progress`` runs from 0 to 1.
    """

    dataset_id: str
    symbols: tuple[str, ...]
    request: Mapping[str, Any]
    feature_registry_version: str
    feature_set: str
    created_at: datetime
    updated_at: datetime
    status: DatasetStatus = "building"
    progress: float = 0.0
    splits_info: Mapping[str, Any] | None = None
    path: str | None = None
    train_records: int | None = None
    validation_records: int | None = None
    test_records: int | None = None
    error_message: str | None = None


class DatasetChanges(TypedDict, total=False):
    """The columns of a dataset that a build may change."""

    status: DatasetStatus
    progress: float
    splits_info: Mapping[str, Any] | None
    path: str | None
    train_records: int | None
    validation_records: int | None
    test_records: int | None
    error_message: str | None


class Metadata:
    """The tables behind one SQLAlchemy URL (``postgresql+psycopg://...``); connects at first use, safe among threads.

    Every method raises StoreUnavailable when the database does not answer or was not upgraded, and InvalidRequest for
    a value that PostgreSQL cannot hold (a NUL in a text, NaN in JSON).
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url, options=f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS}")

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def create_dataset(self, record: DatasetRecord) -> None:
        """Add a dataset. Raises Conflict when its id exists."""
        with _transaction(self._engine) as connection:
            connection.execute(insert(DATASETS).values(asdict(record)))

    def get_dataset(self, dataset_id: str) -> DatasetRecord:
        """One dataset. Raises NotFound."""
        query = select(DATASETS).where(DATASETS.c.dataset_id == dataset_id)
        with _transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise _no_dataset(dataset_id)
        return _dataset(row)

    def delete_dataset(self, dataset_id: str) -> None:
        """Remove a dataset. Raises NotFound."""
        gone = delete(DATASETS).where(DATASETS.c.dataset_id == dataset_id).returning(DATASETS.c.dataset_id)
        with _transaction(self._engine) as connection:
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
        with _transaction(self._engine) as connection:
            return [_dataset(row) for row in connection.execute(query).mappings()]

    def update_dataset(
        self,
        dataset_id: str,
        updated_at: datetime,
        *,
        expected_status: DatasetStatus | None = None,
        **changes: Unpack[DatasetChanges],
    ) -> DatasetRecord:
        """Change the named columns and return the record as it is then.

        With ``expected_status`` the change happens only in that status: a build that ends while it is cancelled does
        not undo the cancellation. Raises NotFound, and Conflict when the status is another.
        """
        found = DATASETS.c.dataset_id == dataset_id
        change = update(DATASETS).where(found).values(updated_at=updated_at, **changes).returning(DATASETS)
        if expected_status is not None:
            change = change.where(DATASETS.c.status == expected_status)
        with _transaction(self._engine) as connection:
            row = connection.execute(change).mappings().one_or_none()
            if row is None:
                status = connection.execute(select(DATASETS.c.status).where(found)).scalar_one_or_none()
                if status is None:
                    raise _no_dataset(dataset_id)
                raise Conflict(f"dataset {dataset_id}: must be {expected_status}, was {status}")
        return _dataset(row)


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema up to ``revision``; one at a time, in one transaction.

    Raises StoreUnavailable, and InvalidRequest for a revision that does not exist.
    """
    with _migration(url) as config:
        command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Bring the schema down to ``revision`` ("base": nothing left); otherwise as ``upgrade``."""
    with _migration(url) as config:
        command.downgrade(config, revision)


@contextmanager
def _migration(url: str) -> Iterator[Config]:
    engine = _engine(url, options="-c timezone=UTC")
    try:
        with _transaction(engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
            yield config
    except CommandError as error:
        raise InvalidRequest(f"migration: must lead to a known revision, was: {error}") from error
    finally:
        engine.dispose()


@contextmanager
def feast_schema_locked(url: str) -> Iterator[None]:
    """Hold the schema of Feast's registry, made if missing, against everybody else who holds it this way.

    The server lets go when the process dies. Raises StoreUnavailable, also after APPLY_WAIT_MS of waiting.
    """
    engine = _engine(url, options=f"-c statement_timeout={APPLY_WAIT_MS}")
    try:
        with _transaction(engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(FEAST_LOCK)))
            # In a transaction of its own: Feast connects beside the one that holds the lock.
            with _transaction(engine) as other:
                other.execute(CreateSchema(FEAST_SCHEMA, if_not_exists=True))
            yield
    finally:
        engine.dispose()


def _engine(url: str, *, options: str) -> Engine:
    return create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options},
    )


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction, its failures told in our words. SQLAlchemy's own text repeats the statement and its values."""
    try:
        with engine.begin() as connection:
            yield connection
    except IntegrityError as error:
        raise Conflict(f"metadata: must keep the database's constraints, was {_first_line(error)}") from error
    except DataError as error:
        raise InvalidRequest(f"metadata: must be values PostgreSQL can hold, was {_first_line(error)}") from error
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"metadata database: must answer, was {_first_line(error)}") from error


def _first_line(error: SQLAlchemyError) -> str:
    return (str(error.orig if isinstance(error, DBAPIError) else error).splitlines() or [type(error).__name__])[0]


def _no_dataset(dataset_id: str) -> NotFound:
    return NotFound(f"dataset: must exist, was {dataset_id!r}")


def _dataset(row: RowMapping) -> DatasetRecord:
    return DatasetRecord(**{**row, "symbols": tuple(row["symbols"])})
