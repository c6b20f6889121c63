"""``tape``: what the tape holds, compaction to raw Parquet, and retention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.commands.options import (
    AsJson,
    DataFolder,
    SomeSymbols,
    Symbol,
    settings_for,
)
from runtime.commands.printing import print_document, print_line, print_table
from runtime.commands.tape_coverage import NO_TAPE, coverage
from runtime.commands.tape_merge import merge

if TYPE_CHECKING:
    from runtime.settings import Settings
    from runtime.stores import Stores
    from storage.raw.manifest import RawPart
    from storage.retention.features import FeatureDay

app = typer.Typer(help="The tape: statistics, compaction, retention.", no_args_is_help=True)

app.command("coverage")(coverage)
app.command("merge")(merge)

Days = Annotated[
    int | None, typer.Option("--days", min=1, max=36_500, help="Age in days; default: FEATURE_SERVICE_RETENTION_DAYS.")
]


@app.command("stats")
def stats(symbols: SomeSymbols = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Messages, bytes, silent minutes and coverage by symbol, day and type, with the day's hours as bars.

    Example: feature-service tape stats --data demo
    """
    from ingestion.tape.report import tape_stats
    from storage.tape import tape_symbols

    raw_folder = settings_for(data).raw_folder
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
    if not found:
        print_line(NO_TAPE)
    for (symbol, date), of_day in groupby(found, key=lambda each: (each.symbol, each.date)):
        print_table(
            ("type", "messages", "bytes", "gaps min", "covered", "00 to 24 h"),
            [(e.type, f"{e.messages:,}", f"{e.size:,}", e.gaps, f"{e.coverage:.1%}", e.picture) for e in of_day],
            title=f"{symbol}, {date}",
        )


@app.command("compact")
def compact(
    symbols: SomeSymbols = None,
    check: Annotated[bool, typer.Option("--check", help="Check every byte of the Parquet for damage.")] = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compact every finished segment that has no raw Parquet yet; safe at any time, and safe to kill.

    A segment whose writer died is finished first; bytes torn by its crash are moved aside. Damaged Parquet is
    rebuilt from the tape.
    """
    from ingestion.tape.compaction import compact_tape
    from runtime.commands.progress import showing_progress
    from runtime.wiring import instrument_pins
    from storage.tape import tape_symbols

    settings = settings_for(data)
    raw_folder = settings.raw_folder
    pins = instrument_pins(settings)
    documents = []
    with showing_progress() as steps:
        for symbol in symbols or tape_symbols(raw_folder):
            steps.begin(f"compacting {symbol}", total=1)
            done = compact_tape(
                raw_folder,
                symbol,
                pins,
                is_checked=check,
                on_segment=lambda count, total: steps.reach(count / max(total, 1)),
            )
            documents.append(
                {
                    "symbol": symbol,
                    "parts_made": done.made,
                    "parts_kept": done.kept,
                    "messages": done.messages,
                    "holes": list(done.holes),
                    "torn_bytes": done.torn_bytes,
                }
            )
    print_document(documents, as_json=as_json, nothing=NO_TAPE)


@app.command("archive")
def archive(
    to: Annotated[str, typer.Option("--to", metavar="PLACE", help="Folder or s3://bucket/prefix to move into.")],
    days: Days = None,
    symbols: SomeSymbols = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Move data older than the retention into an archive: tape, raw Parquet and feature rows.

    Names the datasets that use it; they stay unchanged, but cannot be verified until it is restored.

    Example: feature-service tape archive --to s3://archive/raw
    """
    from runtime.stores import open_stores
    from runtime.wiring import prepared_place
    from storage.retention.features import ARCHIVED_FEATURES, archive_feature_days
    from storage.retention.raw import archive_parts

    settings = settings_for(data)
    stores, place = open_stores(settings), prepared_place(to)
    documents: list[dict[str, Any]] = []
    for expired in _expired(settings, stores, symbols, days):
        documents.append(
            expired.document(
                archive_parts(stores.raw.parquet, place, expired.parts),
                archive_feature_days(stores.features, place / ARCHIVED_FEATURES, expired.feature_days),
            )
        )
        if expired.used_by:
            used_by = ", ".join(expired.used_by)
            typer.echo(f"{expired.symbol}: archived, although datasets use it: {used_by}", err=True)
    print_document(
        documents, as_json=as_json, nothing="nothing to archive: no day of the tape is so old and in raw Parquet"
    )


@app.command("restore")
def restore(
    symbol: Symbol,
    archived: Annotated[str, typer.Option("--from", metavar="PLACE", help="Folder or s3://bucket/prefix of it.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Copy a symbol's archived raw data and feature rows back.

    Example: feature-service tape restore --symbol BTCUSDT --from s3://archive/raw
    """
    from market.errors import NotFound
    from runtime.stores import open_stores
    from storage.places import place_of
    from storage.retention.features import ARCHIVED_FEATURES, restore_feature_days
    from storage.retention.raw import restore_parts

    stores, place = open_stores(settings_for(data)), place_of(archived)
    restored = {"parts": 0, "feature_days": 0}
    with suppress(NotFound):
        restored["parts"] = restore_parts(stores.raw.parquet, place, symbol)
    with suppress(NotFound):
        restored["feature_days"] = restore_feature_days(stores.features, place / ARCHIVED_FEATURES, symbol)
    if not any(restored.values()):
        raise NotFound(f"archive {archived}: must hold something of {symbol}, was without")
    print_document({"symbol": symbol, **restored}, as_json=as_json)


@app.command("delete")
def delete(
    days: Days = None,
    even_used: Annotated[bool, typer.Option("--even-used", help="Also delete days that datasets use.")] = False,
    symbols: SomeSymbols = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Permanently delete data older than the retention: tape, raw Parquet and feature rows.

    Exits 1, without deleting anything of the symbol, when a dataset uses it.
    """
    from runtime.stores import open_stores
    from storage.retention.features import delete_feature_days
    from storage.retention.raw import delete_parts

    settings = settings_for(data)
    stores = open_stores(settings)
    documents: list[dict[str, Any]] = []
    for expired in _expired(settings, stores, symbols, days):
        used_by = () if even_used else expired.used_by
        documents.append(
            expired.document(
                delete_parts(stores.raw.parquet, expired.parts, used_by=used_by),
                delete_feature_days(stores.features, expired.feature_days, used_by=used_by),
            )
        )
    print_document(documents, as_json=as_json, nothing="nothing to delete: no day is so old")


@dataclass(frozen=True)
class _Expired:
    """What of a symbol is older than the retention, and the datasets that are made of it."""

    symbol: str
    parts: list[RawPart]
    feature_days: list[FeatureDay]
    used_by: list[str]

    def document(self, raw_bytes: int, feature_bytes: int) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "parts": len(self.parts),
            "bytes": raw_bytes,
            "feature_days": len(self.feature_days),
            "feature_bytes": feature_bytes,
            "used_by": self.used_by,
        }


def _expired(settings: Settings, stores: Stores, symbols: list[str] | None, days: int | None) -> Iterator[_Expired]:
    from market.clock import DAY_NS, SystemClock
    from storage.retention.features import expired_feature_days, logged_symbols
    from storage.retention.raw import expired_parts
    from training_sets.dataset.usage import datasets_of

    raw, features = stores.raw.parquet, stores.features
    before_ns = SystemClock().now_ns() - (days or settings.feature_service_retention_days) * DAY_NS
    for symbol in symbols or sorted({*raw.symbols(), *logged_symbols(features)}):
        parts = expired_parts(raw, symbol, before_ns)
        feature_days = expired_feature_days(features, symbol, before_ns)
        periods = [(part.first_ns, part.last_ns) for part in parts]
        periods += [(day.first_ns, day.last_ns) for day in feature_days]
        used_by: list[str] = []
        if periods:
            first_ns, last_ns = min(first for first, _ in periods), max(last for _, last in periods)
            used_by = datasets_of(stores.datasets, symbol, first_ns, last_ns)
        yield _Expired(symbol, parts, feature_days, used_by)
