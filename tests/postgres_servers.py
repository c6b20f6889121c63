"""The PostgreSQL servers that contracts are kept on: an embedded one and the real one."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from runtime.embedded import embedded_postgres
from storage.database.schema import upgrade


@contextmanager
def running_postgres(kind: str) -> Iterator[URL]:
    """The server of a kind, ``embedded`` or ``server``; without the real one a test skips, or fails in strict runs."""
    if kind == "embedded":
        # Not pytest's own folder: another run of it closes the passage that root's PostgreSQL needs.
        with tempfile.TemporaryDirectory(prefix="fs-") as folder, embedded_postgres(Path(folder)) as url:
            yield make_url(url)
        return
    url_of_server = make_url("postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
    try:
        run(url_of_server, "SELECT 1")
    except OperationalError as error:
        if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
            raise
        pytest.skip(f"no PostgreSQL server: {error.orig}")
    yield url_of_server


@contextmanager
def new_database(server: URL) -> Iterator[str]:
    """The URL of an empty database of the server, which is dropped afterwards."""
    name = f"feature_service_test_{uuid.uuid4().hex}"
    run(server, f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        run(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def leases_database() -> Iterator[str]:
    """An embedded server with our tables; ``forget_leases`` empties those of leases."""
    with running_postgres("embedded") as url:
        found = url.render_as_string(hide_password=False)
        upgrade(found)
        yield found


def forget_leases(url: str) -> None:
    run(url, "TRUNCATE symbol_leases, ingest_workers")


def run(url: URL | str, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []
