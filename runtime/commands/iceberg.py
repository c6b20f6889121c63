"""``iceberg``: raw tables and the feature log as Iceberg tables that others read."""

from __future__ import annotations

from dataclasses import asdict

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document, print_table

app = typer.Typer(help="Raw data and features as Iceberg tables.", no_args_is_help=True)


@app.command("publish")
def publish(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Publish what has changed in raw tables and feature log, as upkeep does every 15 minutes.

    FEATURE_SERVICE_ICEBERG_CATALOG must be set, and the extra feature-service[iceberg] installed.
    """
    from market.clock import SystemClock
    from runtime.commands.progress import showing_progress
    from runtime.publishing import opened_catalog
    from runtime.publishing import publish as publish_stores
    from runtime.servers import running_servers
    from runtime.stores import open_stores

    settings = settings_for(data)
    with showing_progress() as steps:
        steps.begin("publishing")
        with running_servers(settings) as servers, opened_catalog(settings, servers) as catalog:
            stores, now_ns = open_stores(settings), SystemClock().now_ns()
            done = publish_stores(settings, stores, catalog, now_ns=now_ns, reach=lambda _share: None)
    document = [asdict(table) for table in done]
    print_document(document, as_json=as_json, nothing="there is nothing to publish")


@app.command("list")
def list_published(data: DataFolder = None, as_json: AsJson = False) -> None:
    """The published tables with their files, rows and snapshots, and where each is."""
    from market.clock import format_iso
    from runtime.publishing import opened_catalog
    from runtime.servers import running_servers
    from storage.iceberg.catalog import listed_tables

    settings = settings_for(data)
    with running_servers(settings) as servers, opened_catalog(settings, servers) as catalog:
        tables = listed_tables(catalog)
    if as_json:
        print_document([asdict(table) for table in tables], as_json=True)
        return
    print_table(
        ("table", "files", "rows", "snapshots", "published", "location"),
        [
            (
                table.name,
                table.files,
                table.rows,
                table.snapshots,
                "" if table.published_ns is None else format_iso(table.published_ns),
                table.location,
            )
            for table in tables
        ],
    )
