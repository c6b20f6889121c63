"""Dumps: all that the database holds, in one file of PostgreSQL's custom format, by PostgreSQL's own programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from sqlalchemy import make_url, text

from market.errors import Conflict, NotFound, StoreUnavailable
from storage.database.connections import open_engine, transaction
from storage.durable_files import replace_file

_LAST_LINES: Final = 5
_TABLES: Final = text("SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")


def write_dump(url: str, path: Path, *, pg_dump: str) -> None:
    """Write what the database holds at one moment, while others write to it; a file at ``path`` is replaced.

    Raises StoreUnavailable with the program's last words.
    """
    replace_file(path, lambda file: _run(url, [pg_dump, "--format=custom"], output=file))


def restore_dump(url: str, path: Path, *, pg_restore: str) -> None:
    """Fill an empty database from a dump, as a whole or not at all.

    Raises NotFound without the file, Conflict when the database has tables, StoreUnavailable with the program's last
    words.
    """
    if not path.is_file():
        raise NotFound(f"{path}: must be a file that `feature-service db dump` or pg_dump wrote, is not there")
    engine = open_engine(url, pool_size=1)
    try:
        with transaction(engine) as connection:
            count = int(connection.execute(_TABLES).scalar_one())
    finally:
        engine.dispose()
    if count:
        raise Conflict(
            f"database: must be empty to be filled from a dump, had {count} tables; name "
            "a new one, or a new data folder"
        )
    _run(url, [pg_restore, "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", str(path)])


def _run(url: str, words: Sequence[str], *, output: BinaryIO | int = subprocess.DEVNULL) -> None:
    place = make_url(url)
    asked = {
        "host": place.host or place.query.get("host"),
        "port": place.port or place.query.get("port"),
        "username": place.username,
        "dbname": place.database,
    }
    program, *options = words
    named = [f"--{name}={value}" for name, value in asked.items() if value]
    # In the environment, where other accounts cannot read it.
    secret = {} if place.password is None else {"PGPASSWORD": str(place.password)}
    done = subprocess.run(  # noqa: S603  # PostgreSQL's programs
        [program, "--no-password", *named, *options],
        env={**os.environ, **secret},  # noqa: TID251  # libpq's own settings, as our connections take them
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").splitlines()[-_LAST_LINES:]
        raise StoreUnavailable(
            f"{Path(program).name}: must end without an error, ended with exit code {done.returncode}; its last words: "
            f"{' | '.join(line.strip() for line in lines)}"
        )
