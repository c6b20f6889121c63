"""The tables that were added, and their features brought up to a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from market.errors import InvalidRequest, NotFound
from storage.durable_files import replace_file
from storage.places import Place
from storage.tables.feature_log import Extension, extend_table_log, table_log_folder
from storage.tables.growing import GrowingTables
from storage.tables.mapping import TableMapping, load_mapping
from storage.tables.reading import Table, TableReport, read_table
from transforms.equities.catalogue import TABLE_GROUPS, groups_over


def add_table(mapping_file: Path, tables_folder: Path) -> Table:
    """Keep a mapping, once its table could be read. Raises InvalidRequest where no feature reads such a table."""
    mapping = load_mapping(mapping_file)
    if not groups_over(mapping.table):
        known = sorted({table for group in TABLE_GROUPS.values() for table in group.tables})
        raise InvalidRequest(f"table: must be one that features read, {', '.join(known)}, was {mapping.table}")
    table = read_table(mapping)
    declared = yaml.safe_load(mapping_file.read_text(encoding="utf-8")) | {"path": str(mapping.path)}
    text = yaml.safe_dump(declared, sort_keys=False)
    replace_file(tables_folder / f"{mapping.table}.yaml", lambda file: file.write(text.encode()))
    return table


def added_tables(tables_folder: Path) -> list[TableMapping]:
    """The mappings that were added, by name."""
    return [load_mapping(file) for file in sorted(tables_folder.glob("[!.]*.yaml"))]


def added_table(tables_folder: Path, name: str) -> TableMapping:
    """Raises NotFound naming those that there are."""
    tables = {mapping.table: mapping for mapping in added_tables(tables_folder)}
    if name not in tables:
        known = ", ".join(sorted(tables)) or "none, feature-service tables add adds one"
        raise NotFound(f"table: must have been added, was {name!r}; added: {known}")
    return tables[name]


def compute_groups(
    mappings: Sequence[TableMapping], features_folder: Place, *, now_ns: int, tables: GrowingTables | None = None
) -> tuple[dict[str, TableReport], dict[str, Extension]]:
    """Bring the log of every group over the tables up to ``now_ns``; what was found by table, and done by group.

    tables: what a process that does so again and again has read of them.
    Raises as ``read_table`` and ``extend_table_log`` do.
    """
    groups = {name: group for mapping in mappings for name, group in groups_over(mapping.table).items()}
    read = {mapping.table: read_table(mapping) if tables is None else tables.read(mapping) for mapping in mappings}
    done = {
        name: extend_table_log(
            table_log_folder(features_folder, group),
            group,
            {table: read[table].rows for table in group.tables if table in read},
            now_ns=now_ns,
        )
        for name, group in groups.items()
    }
    return {name: table.report for name, table in read.items()}, done
