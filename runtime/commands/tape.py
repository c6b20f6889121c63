"""``tape``: what the tape holds, compaction to raw Parquet, and retention."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.commands.options import (
    AsJson,
    DataFolder,
    SomeSymbols,
    Symbol,
    print_document,
    print_table,
    settings_for,
)

if TYPE_CHECKING:
    from runtime.settings import Settings
    from storage.raw_manifest import RawPart

app = typer.Typer(help="The tape: statistics, compaction, retention.", no_args_is_help=True)

Days = Annotated[
    int | None, typer.Option("--days", min=1, help="Age in days; default: FEATURE_SERVICE_RETENTION_DAYS.")
]


@app.command("stats")
def stats(symbols: SomeSymbols = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Messages, bytes, silent minutes and coverage by symbol, day and type, with the day's hours as bars."""
    from ingestion.tape_report import tape_stats
    from storage.tape import tape_symbols

    raw_folder = settings_for(data).raw_data_storage_path
    found = [each for symbol in symbols or tape_symbols(raw_folder) for each in tape_stats(raw_folder, symbol)]
    if as_json:
        document = [
            {
                "symbol": each.symbol,
                "date": each.date,
                "type": each.type,
                "messages": each.messages,
                "bytes": each.size,
                "gap_minutes": each.gaps,
                "coverage": round(each.coverage, 6),
                "by_hour": each.by_hour,
            }
            for each in found
        ]
        print_document(document, as_json=True)
        return
    print_table(
        ("symbol", "date", "type", "messages", "bytes", "gaps, min", "coverage", "00 to 24 h"),
        [
            (e.symbol, e.date, e.type, f"{e.messages:,}", f"{e.size:,}", e.gaps, f"{e.coverage:.1%}", e.picture)
            for e in found
        ],
    )


@app.command("compact")
def compact(symbols: SomeSymbols = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Make raw Parquet of every finished segment that has none; safe at any time, and to be killed."""
    from ingestion.compaction import compact_tape
    from runtime.commands.progress import showing_progress
    from runtime.wiring import instrument_pins
    from storage.tape import tape_symbols

    settings = settings_for(data)
    raw_folder = settings.raw_data_storage_path
    pins = instrument_pins(settings)
    documents = []
    with showing_progress() as steps:
        for symbol in symbols or tape_symbols(raw_folder):
            steps.begin(f"compacting {symbol}", total=1)
            done = compact_tape(
                raw_folder, symbol, pins, on_segment=lambda count, total: steps.reach(count / max(total, 1))
            )
            documents.append(
                {
                    "symbol": symbol,
                    "parts_made": done.made,
                    "parts_kept": done.kept,
                    "messages": done.messages,
                    "holes": list(done.holes),
                }
            )
    print_document(documents, as_json=as_json)


@app.command("archive")
def archive(
    to: Annotated[Path, typer.Option("--to", help="Folder to move into.")],
    days: Days = None,
    symbols: SomeSymbols = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Move raw data older than the retention, tape and Parquet, into a folder; names the datasets made of it."""
    from storage.retention import archive_parts

    settings = settings_for(data)
    documents = [
        {
            "symbol": symbol,
            "parts": len(parts),
            "bytes": archive_parts(settings.raw_data_storage_path, to, parts),
            "used_by": _used_by(settings, symbol, parts),
        }
        for symbol, parts in _expired(settings, symbols, days)
    ]
    print_document(documents, as_json=as_json)


@app.command("restore")
def restore(
    symbol: Symbol,
    archived: Annotated[Path, typer.Option("--from", help="Folder of the archive.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Copy a symbol's archived raw data back."""
    from storage.retention import restore_parts

    restored = restore_parts(settings_for(data).raw_data_storage_path, archived, symbol)
    print_document({"symbol": symbol, "parts": restored}, as_json=as_json)


@app.command("delete")
def delete(
    days: Days = None,
    even_used: Annotated[bool, typer.Option("--even-used", help="Also what datasets are made of.")] = False,
    symbols: SomeSymbols = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Delete raw data older than the retention for good. Exits 1 when a dataset is made of it."""
    from storage.retention import delete_parts

    settings = settings_for(data)
    documents: list[dict[str, Any]] = []
    for symbol, parts in _expired(settings, symbols, days):
        used_by = _used_by(settings, symbol, parts)
        freed = delete_parts(settings.raw_data_storage_path, parts, used_by=() if even_used else used_by)
        documents.append({"symbol": symbol, "parts": len(parts), "bytes": freed, "used_by": used_by})
    print_document(documents, as_json=as_json)


def _expired(settings: Settings, symbols: list[str] | None, days: int | None) -> list[tuple[str, list[RawPart]]]:
    from market.clock import DAY_NS, SystemClock
    from storage.raw_manifest import raw_symbols
    from storage.retention import expired_parts

    raw_folder = settings.raw_data_storage_path
    before_ns = SystemClock().now_ns() - (days or settings.feature_service_retention_days) * DAY_NS
    return [(symbol, expired_parts(raw_folder, symbol, before_ns)) for symbol in symbols or raw_symbols(raw_folder)]


def _used_by(settings: Settings, symbol: str, parts: list[RawPart]) -> list[str]:
    from training_sets.usage import datasets_of

    if not parts:
        return []
    period = min(part.first_ns for part in parts), max(part.last_ns for part in parts)
    return datasets_of(settings.dataset_storage_path, symbol, *period)
