"""Migration: the schema brought up or down to a revision, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import func, select

from market.errors import InvalidRequest
from storage.database.connections import open_engine, transaction

MIGRATION_LOCK: Final = 0x6665_6174_7365_7276
"""Key of the advisory lock under which a schema changes."""

_MIGRATIONS = Path(__file__).parent / "migrations"


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
    engine = open_engine(url, options="-c timezone=UTC")
    try:
        with transaction(engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
            yield config
    except CommandError as error:
        raise InvalidRequest(f"migration: must lead to a known revision, was: {error}") from error
    finally:
        engine.dispose()
