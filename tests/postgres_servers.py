"""The PostgreSQL servers that contracts are kept on: an embedded one and the real one."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from runtime.embedded import embedded_postgres
from storage.database.migration import upgrade


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


@dataclass(frozen=True, slots=True)
class MigratedPostgres:
    """A server, and a database of it to copy: its migrations ran once, and take longer than most tests."""

    server: URL
    template: str

    @contextmanager
    def with_tables(self) -> Iterator[str]:
        """The URL of a database with our tables and nothing in them, which is dropped afterwards."""
        with new_database(self.server, template=self.template) as url:
            yield url


@contextmanager
def migrated_postgres(kind: str) -> Iterator[MigratedPostgres]:
    """The server of a kind, as ``running_postgres`` has it."""
    with running_postgres(kind) as server, new_database(server) as url:
        upgrade(url)
        yield MigratedPostgres(server, str(make_url(url).database))


_EMPTY: Final = """
DO $$ DECLARE found text; BEGIN
    SET LOCAL session_replication_role = replica;  -- no trigger: one refuses to change the audit
    SET LOCAL lock_timeout = '30s';  -- a test before this one left a transaction open
    FOR found IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
        WHERE schemaname IN ('public', 'jobs') AND tablename <> 'alembic_version'
    LOOP EXECUTE 'DELETE FROM ' || found; END LOOP;
    FOR found IN SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences WHERE last_value IS NOT NULL
    LOOP EXECUTE 'ALTER SEQUENCE ' || found || ' RESTART'; END LOOP;
END $$
"""


def empty_tables(url: str) -> None:
    """Leave nothing in our tables, and count from one again; a tenth of what another database would take."""
    run(url, _EMPTY)


@contextmanager
def new_database(server: URL, *, template: str = "template0", options: str = "") -> Iterator[str]:
    """The URL of a copy of ``template``, by default an empty database, which is dropped afterwards.

    options: further ones of CREATE DATABASE.
    """
    name = f"feature_service_test_{uuid.uuid4().hex}"
    run(server, f"CREATE DATABASE {name} TEMPLATE {template} {options}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        run(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def leases_database() -> Iterator[str]:
    """An embedded server with our tables."""
    with running_postgres("embedded") as url:
        found = url.render_as_string(hide_password=False)
        upgrade(found)
        yield found


def run(url: URL | str, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []
