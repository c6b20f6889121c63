"""``db``: the schema of the metadata database."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.commands.options import AnswerYes, AsJson, settings_for
from runtime.commands.printing import print_document

app = typer.Typer(help="The schema of the metadata database.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(
    revision: Annotated[str, typer.Argument(help="Target revision.")] = "head", as_json: AsJson = False
) -> None:
    """Bring the schema up to a revision; a service that starts does the same by itself."""
    from runtime.servers import running_servers
    from storage.database.schema import upgrade as upgrade_schema

    with running_servers(settings_for(None)) as servers:
        upgrade_schema(servers.postgres_url, revision)
    _tell(revision, as_json=as_json)


@app.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(help="Target revision, e.g. base.")],
    yes: AnswerYes = False,
    as_json: AsJson = False,
) -> None:
    """Take the schema back to a revision, after asking: what later revisions hold is lost."""
    if not yes:
        typer.confirm(f"Take the schema back to {revision}, and lose what later ones hold?", abort=True, err=True)
    from runtime.servers import running_servers
    from storage.database.schema import downgrade as downgrade_schema

    with running_servers(settings_for(None)) as servers:
        downgrade_schema(servers.postgres_url, revision)
    _tell(revision, as_json=as_json)


def _tell(revision: str, *, as_json: bool) -> None:
    if as_json:
        print_document({"revision": revision}, as_json=True)
    else:
        print(f"the schema is at {revision}")
