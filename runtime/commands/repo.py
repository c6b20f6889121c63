"""``apply``: the catalogue and the registry versions into Feast's registry."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change; register nothing.")]


def apply(dry_run: DryRun = False, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Register entity, push source, views and services with Feast, and write the yaml that applications read with.

    Example: feature-service apply --dry-run
    """
    from runtime.feature_repository import apply_feature_store, plan_feature_store
    from runtime.servers import running_servers

    settings = settings_for(data)
    with running_servers(settings) as servers:
        changes = (plan_feature_store if dry_run else apply_feature_store)(settings, servers)
        print_document(changes, as_json=as_json, nothing="everything is registered as it is declared")
