"""``rebuild``: feature rows from raw Parquet into the feature log."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from runtime.commands.options import (
    DEFAULT_REGISTRY,
    AsJson,
    DataFolder,
    Registry,
    Symbol,
    parse_time_ns,
    print_document,
    settings_for,
)


def rebuild(
    symbol: Symbol,
    begin: Annotated[str | None, typer.Option("--from", help="First row time, ISO 8601; default: all.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last row time, ISO 8601; default: all.")] = None,
    registry: Registry = DEFAULT_REGISTRY,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compute a symbol's rows again from raw Parquet and add them to the feature log."""
    from runtime.wiring import compiled_kernel
    from training_sets.rebuild import rebuild_rows, write_rebuilt

    settings = settings_for(data)
    begun = time.monotonic()
    rows = rebuild_rows(
        settings.raw_data_storage_path,
        symbol,
        compiled_kernel(settings, registry),
        from_ns=parse_time_ns(begin, "--from"),
        to_ns=parse_time_ns(end, "--to"),
    )
    write_rebuilt(settings.feature_log_storage_path, rows)
    print_document(
        {
            "symbol": symbol,
            "rows": len(rows),
            "seconds": round(time.monotonic() - begun, 3),
            "features": str(settings.feature_log_storage_path),
        },
        as_json=as_json,
    )
