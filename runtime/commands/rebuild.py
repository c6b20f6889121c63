"""``rebuild``: feature rows from raw Parquet into the feature log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.commands.options import (
    AsJson,
    DataFolder,
    RegistryOfData,
    Symbol,
    parse_time_ns,
    registry_of,
    settings_for,
)
from runtime.commands.printing import print_document

if TYPE_CHECKING:
    from runtime.settings import Settings
    from training_sets.rebuild.runs import RebuiltDay


def rebuild(
    symbol: Symbol,
    begin: Annotated[
        str | None, typer.Option("--from", help="A time in the first day, ISO 8601; default: all.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="A time in the last day, ISO 8601; default: all.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Days computed in parallel.")] = 1,
    registry: RegistryOfData = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Recompute a symbol's whole UTC days from raw Parquet into the feature log.

    Days computed before from the same raw data by the same code are skipped, so an interrupted run can be repeated.
    FEATURE_SERVICE_ENGINE sets where the workers run. Ctrl-C waits for the days that processes of this machine are
    computing and exits 130.

    Example: feature-service rebuild --symbol BTCUSDT --from 2026-01-05 --to 2026-01-06 --workers 2
    """
    from runtime.commands.progress import remaining, showing_progress
    from runtime.engines import engine_of_command
    from runtime.stores import open_stores
    from runtime.wiring import day_rebuild
    from training_sets.rebuild.days import DayRange, count_days, rebuild_days

    settings = settings_for(data)
    begun = time.monotonic()
    version = registry_of(settings, registry)
    stores = open_stores(settings)
    wanted = DayRange(
        day_rebuild(settings, stores, symbol, version),
        parse_time_ns(begin, "--from"),
        parse_time_ns(end, "--to"),
    )
    days: list[RebuiltDay] = []
    try:
        with showing_progress() as steps, engine_of_command(settings, stores, workers) as engine:
            total = count_days(wanted)
            steps.begin(f"rebuilding {symbol}", total=total)
            computing_since, computed = time.monotonic(), 0
            for day in rebuild_days([wanted], engine=engine):
                days.append(day)
                steps.reach(len(days))
                if not day.groups:  # skipped, which says nothing about the pace
                    computing_since = time.monotonic()
                    continue
                computed += 1
                left = remaining(elapsed_s=time.monotonic() - computing_since, done=computed, left=total - len(days))
                steps.tell(f"{day.date} with {day.rows} rows, {len(days)} of {total} days, {left}")
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {len(days)} whole days are kept, the same command continues from there", err=True)
        raise typer.Exit(130) from None
    _tell(settings, symbol, days)
    print_document(
        {
            "symbol": symbol,
            "feature_registry_version": version,
            "rows": sum(day.rows for day in days),
            "days": len(days),
            "days_computed": sum(day.rows > 0 for day in days),
            "seconds": round(time.monotonic() - begun, 3),
            "features": str(settings.feature_log_storage_path),
        },
        as_json=as_json,
    )


def _tell(settings: Settings, symbol: str, days: list[RebuiltDay]) -> None:
    """The lineage server, where there is one, of what was computed."""
    from market.clock import SystemClock, to_datetime
    from runtime.building import lineage_post
    from runtime.wiring import new_id
    from training_sets.builds.open_lineage import rebuild_event, tell_of_rebuild

    post, groups = lineage_post(settings), sorted({group for day in days for group in day.groups})
    if post is not None and groups:
        tell_of_rebuild(post, rebuild_event(new_id(), symbol, groups, to_datetime(SystemClock().now_ns())))
