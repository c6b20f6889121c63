"""``tape coverage``: what of each stream and day is held, and exactly what is missing."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from runtime.commands.options import (
    AsJson,
    DataFolder,
    RegistryOfData,
    SomeSymbols,
    parse_time_ns,
    registry_of,
    settings_for,
)
from runtime.commands.printing import print_document, print_line, print_table

NO_TAPE: Final = "no tape here: --data names the folder of a replay or of a service"

MOST_HOLES: Final = 50
"""Printed for a person."""


def coverage(
    symbols: SomeSymbols = None,
    begin: Annotated[str | None, typer.Option("--from", help="ISO time; default: the first message's day.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="ISO time; default: end of the last message's day.")] = None,
    registry: RegistryOfData = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """For each stream and day, what was expected, what is stored, live or backfilled, and exactly what is missing.

    Each hole with its evidence and until when it makes features unknown; one character per day shows the calendar.

    Example: feature-service tape coverage --symbol BTCUSDT --data out/
    """
    from feature_repo.registry_versions import load_registry_version
    from market.clock import SystemClock
    from runtime.stores import open_stores
    from storage.tape import tape_symbols
    from training_sets.checks.coverage import held_period, symbol_coverage
    from training_sets.samples.kline_days import KlineHistory

    settings = settings_for(data)
    stores = open_stores(settings)
    chosen = load_registry_version(registry_of(settings, registry), settings.feature_registry_versions_dir).feature_set
    from_ns, to_ns = parse_time_ns(begin, "--from"), parse_time_ns(end, "--to")
    found = []
    for symbol in symbols or sorted({*stores.raw.parquet.symbols(), *tape_symbols(settings.raw_folder)}):
        with stores.raw.open_whole(symbol) as raw:
            first_ns, last_ns = held_period(raw, symbol, SystemClock().now_ns())
            period = first_ns if from_ns is None else from_ns, last_ns if to_ns is None else to_ns
            found.append(symbol_coverage(KlineHistory(raw), symbol, chosen, period))
    if as_json:
        print_document(found, as_json=True)
        return
    if not found:
        print_line(NO_TAPE)
    for each in found:
        _print_coverage(each)


def _print_coverage(found: dict[str, Any]) -> None:
    from quality.coverage_document import day_picture, listed_holes

    pictures = day_picture(found["streams"])
    first, last = (found["streams"]["klines"]["days"][at]["date"] for at in (0, -1))
    print_table(
        ("stream", "expected", "held", "unit", "backfilled", "holes", f"{first} to {last}"),
        [
            (
                name,
                f"{stream['expected']:,}",
                f"{stream['held']:,}",
                stream["unit"],
                f"{stream['messages_backfilled']:,}",
                len(stream["missing"]),
                pictures[name],
            )
            for name, stream in found["streams"].items()
        ],
        title=f"{found['symbol']}, {found['from']} to {found['to']}",
    )
    holes = [
        (
            name,
            hole["from"],
            hole["to"],
            hole["evidence"],
            hole["messages"],
            ", ".join(hole["unknown_until"]) or f"nothing: {', '.join(hole['computed_without'])} computed without",
        )
        for name, hole in listed_holes(found["streams"])
    ]
    if holes:
        columns = ("stream", "missing from", "to", "known by", "messages", "unknown")
        print_table(columns, holes[:MOST_HOLES])
    if len(holes) > MOST_HOLES:
        print_line(f"{len(holes) - MOST_HOLES} more holes are in --json")
