"""The migrations of the metadata store lead down and up, on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy.exc import IntegrityError

import storage.database.metadata
from market.errors import InvalidRequest, StoreUnavailable
from storage.database.metadata import Metadata
from storage.database.migration import downgrade, upgrade
from storage.database.schema import TABLES
from tests.dataset_record import RECORD, building_metrics
from tests.postgres_servers import MigratedPostgres, run

NEWEST = ScriptDirectory(str(Path(storage.database.metadata.__file__).parent / "migrations")).get_current_head()

# Everything a migration can get wrong: columns with types, defaults and comments, constraints, indexes.
SCHEMA = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' '
           || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || ' ' || coalesce(col_description(c.oid, a.attnum), '')
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
    UNION ALL
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
    UNION ALL
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    ORDER BY 1, 2, 3
"""


@pytest.fixture
def fresh_url(postgres: MigratedPostgres) -> Iterator[str]:
    """The URL of a database of the test's own, whose tables may come and go."""
    with postgres.with_tables() as made:
        yield made


def test_at_most_one_registry_version_is_active(fresh_url: str) -> None:
    add = "INSERT INTO feature_registry_versions (version, file_path, is_active, created_at) VALUES"
    run(fresh_url, f"{add} ('1.0.0', 'a', false, now()), ('1.1.0', 'b', false, now()), ('2.0.0', 'c', true, now())")
    with pytest.raises(IntegrityError, match="feature_registry_versions_one_active"):
        run(fresh_url, f"{add} ('3.0.0', 'd', true, now())")


def test_a_database_that_was_not_upgraded_is_store_unavailable(empty_url: str) -> None:
    with closing(Metadata(empty_url)) as metadata, pytest.raises(StoreUnavailable, match='"datasets" does not exist'):
        metadata.list_datasets()


def test_downgrade_and_upgrade_again_leave_the_same_schema(fresh_url: str) -> None:
    before = run(fresh_url, SCHEMA)
    assert {table for table, *_ in before} == set(TABLES.tables)
    assert run(fresh_url, "SELECT to_regclass('jobs.procrastinate_jobs') IS NOT NULL") == [(True,)]
    downgrade(fresh_url, "base")
    assert run(fresh_url, SCHEMA) == []
    assert run(fresh_url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'jobs'") == [(0,)]
    upgrade(fresh_url)
    assert run(fresh_url, SCHEMA) == before


def test_the_migrations_make_the_tables_that_the_code_declares(fresh_url: str) -> None:
    engine = create_engine(fresh_url, poolclass=NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), TABLES) == []
    # Alembic's comparison does not look at check constraints and index predicates.
    migrated = run(fresh_url, SCHEMA)
    downgrade(fresh_url, "base")
    TABLES.create_all(engine)
    assert run(fresh_url, SCHEMA) == migrated


def test_upgrading_an_upgraded_database_keeps_its_rows(metadata: Metadata, fresh_url: str) -> None:
    metadata.create_dataset(RECORD)
    upgrade(fresh_url)
    assert metadata.list_datasets() == [RECORD]


def test_upgrades_at_the_same_time_take_turns(empty_url: str) -> None:
    run(empty_url, f"ALTER DATABASE {make_url(empty_url).database} SET lock_timeout TO '20s'")  # fail, never hang
    together = threading.Barrier(4)

    def start() -> None:
        together.wait()
        upgrade(empty_url)

    with ThreadPoolExecutor(4) as threads:
        for upgraded in [threads.submit(start) for _ in range(4)]:
            upgraded.result()
    assert run(empty_url, "SELECT version_num FROM alembic_version") == [(NEWEST,)]


def test_an_unknown_revision_is_refused(fresh_url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"migration: must lead to a known revision.*9999"):
        upgrade(fresh_url, "9999")


def test_builds_that_were_measured_before_are_kept(fresh_url: str) -> None:
    downgrade(fresh_url, "0010")
    run(
        fresh_url,
        "INSERT INTO dataset_building_metrics (dataset_id, symbols, status, samples, days_computed, days_reused, "
        "features_seconds, build_seconds, finished_at) VALUES ('old', '{BTCUSDT}', 'ready', 9, 1, 0, 2, 1, now())",
    )
    upgrade(fresh_url)
    assert building_metrics(fresh_url) == [("old", 1, "BTCUSDT", "ready", 3.0, None, None, None, None)]
    downgrade(fresh_url, "0010")
    assert run(fresh_url, "SELECT dataset_id, samples, features_seconds FROM dataset_building_metrics") == [
        ("old", 9, 2.0)
    ]
    upgrade(fresh_url)


def test_a_dataset_in_a_format_that_is_gone_is_still_listed_and_says_so(empty_url: str) -> None:
    upgrade(empty_url, "0004")
    with closing(Metadata(empty_url)) as before:
        before.create_dataset(replace(RECORD, status="ready", request={"output_format": "hdf5"}))
    upgrade(empty_url)
    with closing(Metadata(empty_url)) as after:
        [found] = after.list_datasets()
    assert (found.status, found.request) == ("failed", {"output_format": "parquet"})
    assert found.error_message is not None
    assert "was hdf5" in found.error_message
