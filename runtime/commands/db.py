"""``db``: the schema of the metadata database."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.commands.options import AnswerYes, settings_for

app = typer.Typer(help="The schema of the metadata database.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(revision: Annotated[str, typer.Argument(help="Target revision.")] = "head") -> None:
    """Bring the schema up to a revision; a service that starts does the same by itself."""
    from runtime.servers import running_servers
    from storage.database.schema import upgrade as upgrade_schema

    with running_servers(settings_for(None)) as servers:
        upgrade_schema(servers.postgres_url, revision)
    print(f"the schema is at {revision}")


@app.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(help="Target revision, e.g. base.")], yes: AnswerYes = False
) -> None:
    """Take the schema back to a revision, after asking: what later revisions hold is lost."""
    if not yes:
        typer.confirm(f"Take the schema back to {revision}, and lose what later ones hold?", abort=True, err=True)
    from runtime.servers import running_servers
    from storage.database.schema import downgrade as downgrade_schema

    with running_servers(settings_for(None)) as servers:
        downgrade_schema(servers.postgres_url, revision)
    print(f"the schema is at {revision}")
