"""``db``: the schema of the metadata database, its dumps, and the folder it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from runtime.commands.options import AnswerYes, AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document

app = typer.Typer(
    help="The schema of the metadata database, its dumps, and the folder it belongs to.", no_args_is_help=True
)


@app.command("upgrade")
def upgrade(
    revision: Annotated[str, typer.Argument(help="Target revision.")] = "head", as_json: AsJson = False
) -> None:
    """Upgrade the schema to a revision; the service does this automatically when it starts."""
    from runtime.servers import running_servers
    from storage.database.migration import upgrade as upgrade_schema

    with running_servers(settings_for(None)) as servers:
        upgrade_schema(servers.postgres_url, revision)
    _tell(revision, as_json=as_json)


@app.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(help="Target revision, e.g. base.")],
    yes: AnswerYes = False,
    as_json: AsJson = False,
) -> None:
    """Downgrade the schema to a revision, after asking: the data of later revisions is lost.

    Example: feature-service db downgrade 0018
    """
    if not yes:
        typer.confirm(f"Downgrade the schema to {revision} and lose the data of later revisions?", abort=True, err=True)
    from runtime.servers import running_servers
    from storage.database.migration import downgrade as downgrade_schema

    with running_servers(settings_for(None)) as servers:
        downgrade_schema(servers.postgres_url, revision)
    _tell(revision, as_json=as_json)


@contextmanager
def _database(data: Path | None, name: str) -> Iterator[tuple[str, str]]:
    """Its address, and PostgreSQL's own program of that name for it."""
    from runtime.servers import running_servers
    from runtime.wheel_files import postgres_program

    settings = settings_for(data)
    program = postgres_program(name, is_configured=settings.postgres_host is not None)
    with running_servers(settings) as servers:
        yield servers.postgres_url, program


@app.command("dump")
def dump(
    file: Annotated[Path, typer.Argument(help="File to write, or to replace.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Dump the whole database to a file, also while the service runs: the first step of a backup.

    Example: feature-service db dump backup/database.dump
    """
    from storage.database.dumps import write_dump

    with _database(data, "pg_dump") as (url, program):
        write_dump(url, file, pg_dump=program)
    if as_json:
        print_document({"file": str(file), "bytes": file.stat().st_size}, as_json=True)
    else:
        print(f"{file}: {file.stat().st_size} bytes")


@app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="Dump to read.")], data: DataFolder = None, as_json: AsJson = False
) -> None:
    """Fill an empty database from a dump, as a whole or not at all.

    Example: feature-service db restore backup/database.dump
    """
    from storage.database.dumps import restore_dump

    with _database(data, "pg_restore") as (url, program):
        restore_dump(url, file, pg_restore=program)
    if as_json:
        print_document({"file": str(file)}, as_json=True)
    else:
        print(f"the database has what {file} holds")


@app.command("adopt-folder")
def adopt_folder(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Let the database belong to this data folder from now on, after it was moved, restored or recreated.

    Datasets that lie there are known to be there.
    """
    from runtime.servers import running_servers
    from runtime.stores import open_stores
    from runtime.wiring import metadata_store, prepare_places
    from storage.database.data_folder import adopt_folder as adopt
    from storage.database.migration import upgrade as upgrade_schema

    settings = settings_for(data)
    prepare_places(settings)
    raw_folder = settings.raw_data_storage_path.resolve()
    with running_servers(settings) as servers:
        upgrade_schema(servers.postgres_url)
        folder_id = adopt(servers.postgres_url, raw_folder)
        with metadata_store(servers) as metadata:
            found = metadata.move_datasets(open_stores(settings).datasets.find)
    if as_json:
        document = {"raw_folder": str(raw_folder), "folder_id": str(folder_id), "datasets": found}
        print_document(document, as_json=True)
    else:
        print(f"the database belongs to {raw_folder}, {folder_id}; datasets found: {found}")


def _tell(revision: str, *, as_json: bool) -> None:
    if as_json:
        print_document({"revision": revision}, as_json=True)
    else:
        print(f"the schema is at {revision}")
