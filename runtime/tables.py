"""Tables in the settings' folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from market.clock import Clock, SystemClock
from market.errors import NotFound
from runtime.settings import Settings

if TYPE_CHECKING:
    from storage.tables.growing import GrowingTables
    from storage.tables.mapping import TableMapping
    from storage.tables.newest_rows import NewestRows
    from upkeep.table_freshness import WatchedView

_COMPUTED: Final = ".computed"
"""Says when the tables were last read and computed whole."""


def tables_folder(settings: Settings) -> Path:
    """Where the mappings of the added tables lie."""
    return settings.feature_service_data_path / "tables"


def compute_tables(
    settings: Settings, clock: Clock | None = None, tables: GrowingTables | None = None
) -> list[dict[str, Any]]:
    """Bring the features of every added table up to now; what was done, a document a group.

    tables: what a process that does so again and again has read of them. Of several processes one computes; the others
    wait, and find what is left to do.
    """
    from storage.durable_files import replace_file
    from storage.file_locks import exclusive
    from storage.tables.computing import added_tables, compute_groups
    from transforms.equities.catalogue import TABLE_GROUPS

    mappings = added_tables(tables_folder(settings))
    if not mappings:
        return []
    with exclusive(tables_folder(settings) / ".lock"):
        now_ns = (clock or SystemClock()).now_ns()
        reports, done = compute_groups(mappings, settings.feature_log_storage_path, now_ns=now_ns, tables=tables)
        replace_file(tables_folder(settings) / _COMPUTED, lambda file: file.write(str(now_ns).encode()))
    return [
        {
            "group": group,
            "tables": (read := [table for table in TABLE_GROUPS[group].tables if table in reports]),
            "new_rows": extension.rows,
            "from_the_beginning": extension.is_rewritten,
            "refused": sum(sum(reports[table].refused.values()) for table in read),
        }
        for group, extension in done.items()
    ]


def newest_rows(settings: Settings) -> dict[str, tuple[int, int]]:
    """Of each added table that was computed: when its newest row was known, and how long its views answer, ns."""
    from storage.tables.computing import added_tables
    from storage.tables.feature_log import newest_known_ns, table_log_folder
    from transforms.equities.catalogue import groups_over

    found = {}
    for mapping in added_tables(tables_folder(settings)):
        groups = groups_over(mapping.table).values()
        folders = [table_log_folder(settings.feature_log_storage_path, group) for group in groups]
        newest = [each for folder in folders if (each := newest_known_ns(folder, mapping.table)) is not None]
        if newest:
            found[mapping.table] = (max(newest), min(group.time_to_live_ns for group in groups))
    return found


def watched_views(settings: Settings, newest: NewestRows) -> list[WatchedView]:
    """The views over the added tables, with what should be online. newest: what a process read of their logs before."""
    from storage.tables.computing import added_tables
    from storage.tables.feature_log import table_log_folder
    from transforms.equities.catalogue import groups_over
    from upkeep.table_freshness import WatchedView

    marker = tables_folder(settings) / _COMPUTED
    computed_ns = int(marker.read_text()) if marker.is_file() else 0
    groups, waits = {}, dict[str, int]()
    for mapping in added_tables(tables_folder(settings)):
        since_ns = _changed_after_ns(mapping, computed_ns)
        for name, group in groups_over(mapping.table).items():
            groups[name] = group
            if since_ns is not None:
                waits[name] = min(since_ns, waits.get(name, since_ns))
    return [
        WatchedView(name, newest.of(table_log_folder(settings.feature_log_storage_path, group)), waits.get(name))
        for name, group in groups.items()
    ]


def _changed_after_ns(mapping: TableMapping, computed_ns: int) -> int | None:
    """When the first file of a table changed that did so after a time; None where none did, or there is none."""
    try:
        changed = [file.stat().st_mtime_ns for file in mapping.files()]
    except (NotFound, FileNotFoundError):
        return None
    return min((each for each in changed if each > computed_ns), default=None)
