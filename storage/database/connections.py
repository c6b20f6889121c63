"""Connections to the database, and transactions on them whose failures are told in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from market.errors import Conflict, InvalidRequest, StoreUnavailable

POOL_SIZE: Final = 5
CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 30_000
STORE_OPTIONS: Final = f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS}"
"""Of a connection that answers somebody: no statement may keep it waiting forever."""


def open_engine(
    url: str,
    *,
    options: str = STORE_OPTIONS,
    pool_size: int = POOL_SIZE,
    write_json: Callable[[Any], str | bytes] | None = None,
) -> Engine:
    """An engine that connects at first use.

    options: of each connection, as libpq takes them. write_json: makes what a column of JSON is given; None is
    ``json.dumps``.
    """
    return create_engine(
        url,
        json_serializer=write_json,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options},
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction, its failures told in our words."""
    with _refusing(), engine.begin() as connection:
        yield connection


@contextmanager
def session(engine: Engine) -> Iterator[Connection]:
    """A connection whose statements each stand for themselves, for what outlives a transaction: a lock."""
    with _refusing(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


@contextmanager
def _refusing() -> Iterator[None]:
    """The database's failures in our words. SQLAlchemy's own text repeats the statement and its values."""
    with answering():
        try:
            yield
        except IntegrityError as error:
            raise Conflict(f"metadata: must keep the database's constraints, was {_first_line(error)}") from error
        except DataError as error:
            raise InvalidRequest(f"metadata: must be values PostgreSQL can hold, was {_first_line(error)}") from error


@contextmanager
def answering() -> Iterator[None]:
    """A database that does not answer becomes StoreUnavailable, whoever asked it; Feast has no words for it."""
    try:
        yield
    except PoolExhausted as error:
        raise StoreUnavailable(
            f"metadata database: must have a connection free within {CONNECT_TIMEOUT_S} s, had none"
        ) from error
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"metadata database: no response: {_first_line(error)}") from error


def _first_line(error: SQLAlchemyError) -> str:
    return (str(error.orig if isinstance(error, DBAPIError) else error).splitlines() or [type(error).__name__])[0]
