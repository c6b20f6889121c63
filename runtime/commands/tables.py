"""``tables``: tables that others publish, what was found in them, and the features over them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document

if TYPE_CHECKING:
    from storage.tables.reading import TableReport

app = typer.Typer(help="Tables such as daily bars, and features over them.", no_args_is_help=True)

TableName = Annotated[str, typer.Argument(help="Name of the table, e.g. daily_bars.")]


@app.command("add")
def add(
    mapping: Annotated[Path, typer.Argument(help="YAML file that says where the files are and which column is what.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Add a table by its mapping, or replace it, if it can be read.

    Example: feature-service tables add bars/daily_bars.yaml
    """
    from runtime.tables import tables_folder
    from storage.tables.computing import add_table

    table = add_table(mapping, tables_folder(settings_for(data)))
    print_document({"table": table.mapping.table, **_document(table.report)}, as_json=as_json)


@app.command("list")
def list_tables(data: DataFolder = None, as_json: AsJson = False) -> None:
    """The tables that were added."""
    from runtime.tables import tables_folder
    from storage.tables.computing import added_tables
    from transforms.equities.catalogue import groups_over

    document = [
        {"table": mapping.table, "path": str(mapping.path), "groups": list(groups_over(mapping.table))}
        for mapping in added_tables(tables_folder(settings_for(data)))
    ]
    print_document(document, as_json=as_json, nothing="no tables have been added")


@app.command("check")
def check(name: TableName, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Read a table and report how each kind of row is treated. Exits 1 when a row was rejected.

    Example: feature-service tables check daily_bars
    """
    from runtime.tables import tables_folder
    from storage.tables.computing import added_table
    from storage.tables.reading import read_table

    report = read_table(added_table(tables_folder(settings_for(data)), name)).report
    print_document(_document(report), as_json=as_json)
    if report.refused:
        raise typer.Exit(1)


@app.command("compute")
def compute(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Compute new rows of the added tables into the feature log; `feast materialize-incremental` puts them online."""
    from runtime.tables import compute_tables

    print_document(compute_tables(settings_for(data)), as_json=as_json, nothing="no tables have been added")


def _document(report: TableReport) -> dict[str, Any]:
    return asdict(report) | {"examples": list(report.examples)}
