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
    from storage.tables.computing import added_tables, compute_table

    now_ns = (clock or SystemClock()).now_ns()
    done = []
    for mapping in added_tables(tables_folder(settings)):
        computed = compute_table(mapping, settings.feature_log_storage_path, now_ns=now_ns)
        done += [
            {
                "table": mapping.table,
                "group": group,
                "new_rows": extension.rows,
                "from_the_beginning": extension.is_rewritten,
                "refused": sum(computed.report.refused.values()),
            }
            for group, extension in computed.groups.items()
        ]
    return done
