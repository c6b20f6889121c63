"""``dead-letter``: what was rejected and why, and what of it a corrected scale can now take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.commands.options import AsJson, DataFolder, SomeSymbols, settings_for
from runtime.commands.printing import print_document, print_table

app = typer.Typer(help="Rejected messages: list and replay them.", no_args_is_help=True)


@app.command("list")
def list_messages(symbols: SomeSymbols = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Rejected messages by symbol and error: how many, from when to when, and the last reason."""
    from ingestion.pipeline.dead_letter import DeadMessage, read_both_halves
    from ingestion.venues.decoders import venue_of
    from market.clock import format_iso
    from runtime.wiring import dead_letter_path

    settings = settings_for(data)
    venue = venue_of(settings.feature_service_market)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for message in read_both_halves(dead_letter_path(settings)):
        if not isinstance(message, DeadMessage):
            continue
        stated = venue.stated(message.body)
        symbol = "" if stated is None else stated.symbol
        if symbols and symbol not in symbols:
            continue
        entry = found.setdefault(
            (symbol, message.error),
            {"symbol": symbol, "error": message.error, "messages": 0, "first": format_iso(message.recv_ns)},
        )
        entry["messages"] += 1
        entry["last"], entry["last_reason"] = format_iso(message.recv_ns), message.reason
    documents = [found[key] for key in sorted(found)]
    if as_json:
        print_document(documents, as_json=True)
        return
    columns = ("symbol", "error", "messages", "first", "last", "last_reason")
    print_table(columns, [[entry[name] for name in columns] for entry in documents], nothing="nothing was rejected")


@app.command("replay")
def replay(
    to: Annotated[Path | None, typer.Option("--to", help="Recording to write the usable messages to.")] = None,
    symbols: SomeSymbols = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Read rejected messages again at the current scales; count the usable ones, and why the others are not.

    Usable messages go to a recording, with their receive times, for `feature-service replay`. They do not go to the
    tape, where they would follow rows that were computed without them.
    """
    from ingestion.pipeline.dead_letter import read_both_halves
    from ingestion.pipeline.reread import read_again
    from runtime.wiring import dead_letter_path, instrument_pins
    from storage.durable_files import replace_file

    settings = settings_for(data)
    good: Counter[str] = Counter()
    rejected: dict[str, Counter[str]] = {}

    def lines() -> Iterator[bytes]:
        for found in read_again(
            read_both_halves(dead_letter_path(settings)), instrument_pins(settings), settings.feature_service_market
        ):
            symbol = found.symbol or ""
            if symbols and symbol not in symbols:
                continue
            if found.reason is not None:
                rejected.setdefault(symbol, Counter())[found.message.error] += 1
                continue
            good[symbol] += 1
            # Between the tokens of JSON a newline is as good as a space, and within a text there is none.
            body = found.message.body.replace(b"\n", b" ").replace(b"\r", b" ")
            yield b'{"recv_ns":%d,"msg":%s}\n' % (found.message.recv_ns, body)

    if to is None:
        for _ in lines():
            pass
    else:
        replace_file(to, lambda file: file.writelines(lines()))
    documents = [
        {"symbol": symbol, "good": good[symbol], "rejected": dict(rejected.get(symbol, {}))}
        for symbol in sorted({*good, *rejected})
    ]
    print_document(documents, as_json=as_json, nothing="nothing was rejected")
