"""The schema of Feast's SQL registry in our database: how Feast connects to it, and who may change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from storage.database.connections import CONNECT_TIMEOUT_S, open_engine, transaction

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
FEAST_AWAY: Final[tuple[type[Exception], ...]] = (OperationalError,)
"""How Feast's SQL registry says that PostgreSQL does not answer."""
FEAST_REFUSED: Final[tuple[type[Exception], ...]] = (DataError,)
"""How it says that PostgreSQL cannot hold a value, such as a text with a NUL."""
FEAST_LOCK: Final = 0x6665_6173_7472_6567
"""Key of the advisory lock under which Feast's registry changes."""
APPLY_WAIT_MS: Final = 120_000
"""How long an apply waits for the one before it."""


@contextmanager
def feast_schema_locked(url: str) -> Iterator[None]:
    """Hold the schema of Feast's registry, made if missing, against everybody else who holds it this way.

    The server lets go when the process dies. Raises StoreUnavailable, also after APPLY_WAIT_MS of waiting.
    """
    engine = open_engine(url, options=f"-c statement_timeout={APPLY_WAIT_MS}")
    try:
        with transaction(engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(FEAST_LOCK)))
            # In a transaction of its own: Feast uses another connection than the one that holds the lock.
            with transaction(engine) as other:
                other.execute(CreateSchema(FEAST_SCHEMA, if_not_exists=True))
            yield
    finally:
        engine.dispose()
