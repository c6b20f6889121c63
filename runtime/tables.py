"""Tables in the settings' folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from market.clock import Clock, SystemClock
from runtime.settings import Settings


def tables_folder(settings: Settings) -> Path:
    """Where the mappings of the added tables lie."""
    return settings.feature_service_data_path / "tables"


def compute_tables(settings: Settings, clock: Clock | None = None) -> list[dict[str, Any]]:
    """Bring the features of every added table up to now; what was done, a document a group."""
    from storage.tables.computing import added_tables, compute_groups
    from transforms.equities.catalogue import TABLE_GROUPS

    now_ns = (clock or SystemClock()).now_ns()
    mappings = added_tables(tables_folder(settings))
    reports, done = compute_groups(mappings, settings.feature_log_storage_path, now_ns=now_ns)
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
