"""``apply``: the catalogue and the registry versions into Feast's registry."""

from __future__ import annotations

from runtime.commands.options import AsJson, DataFolder, print_document, settings_for


def apply(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Register entity, push source, views and services with Feast, and write the yaml that applications read with."""
    from runtime.wiring import apply_feature_store, running_servers

    settings = settings_for(data)
    with running_servers(settings) as servers:
        print_document(apply_feature_store(settings, servers), as_json=as_json)
