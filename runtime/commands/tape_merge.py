"""``tape merge``: the tapes of two recorders of one market made into one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.commands.options import DEFAULT_REGISTRY, AsJson, Registry, settings_for
from runtime.commands.printing import print_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingestion.messages import TimedMessage
    from ingestion.tape.merging import Merged
    from runtime.settings import Settings


def merge(
    first: Annotated[
        Path, typer.Argument(help="Data folder of one recorder; it takes precedence where the two differ.")
    ],
    second: Annotated[Path, typer.Argument(help="Data folder of the other recorder.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write to.")],
    registry: Registry = DEFAULT_REGISTRY,
    as_json: AsJson = False,
) -> None:
    """Merge the data of two recorders of one market into one tape, raw Parquet and feature log, each message once.

    Both folders stay unchanged. Exits 1 and reports conflicts if both state different things under one id.

    Example: feature-service tape merge left right --to both
    """
    from ingestion.pipeline.served_rows import available_as_if_live
    from ingestion.sources.played.play import play
    from ingestion.tape.compaction import compact_tape
    from ingestion.tape.merging import Merged, merged_in_time
    from market.errors import Conflict
    from runtime.commands.progress import showing_progress
    from runtime.kernel_start import warm_up
    from runtime.wiring import compiled_kernel, instrument_pins, make_pipeline
    from storage.tape import tape_symbols

    sources, settings = (settings_for(first), settings_for(second)), settings_for(to)
    if taped := tape_symbols(settings.raw_folder):
        raise Conflict(f"{to}: must hold no tape before a merge, holds {', '.join(taped)}; --to names another folder")
    symbols = sorted({each for source in sources for each in tape_symbols(source.raw_folder)})
    counted = {symbol: Merged() for symbol in symbols}
    with showing_progress() as steps:
        steps.begin(f"loading registry {registry}")
        kernel = compiled_kernel(settings, registry)
        warm_up(kernel, steps.tell)
        steps.begin("merging")
        streams = [_merged(sources, settings, symbol, counted[symbol]) for symbol in symbols]
        pipeline = make_pipeline(settings, kernel, availability=available_as_if_live)
        try:
            play(pipeline, merged_in_time(streams))
        finally:
            pipeline.close()
        steps.begin("compacting to raw Parquet")
        for symbol in pipeline.symbols:
            compact_tape(settings.raw_folder, symbol, instrument_pins(settings), place=settings.raw_data_storage_path)
    print_document(
        [_document(symbol, found) for symbol, found in counted.items()],
        as_json=as_json,
        nothing="nothing to merge: neither folder has a tape",
    )
    if any(found.conflicting for found in counted.values()):
        raise typer.Exit(1)


def _merged(
    sources: tuple[Settings, Settings], settings: Settings, symbol: str, counted: Merged
) -> Iterator[TimedMessage]:
    from ingestion.tape.merging import merge_tapes
    from ingestion.venues.decoders import Decoders, tape_venue
    from runtime.wiring import instrument_pins
    from storage.tape import read_tape, tape_symbols

    # The first recorder that has the symbol pins its scale here too.
    known = [found for source in sources if (found := instrument_pins(source).get(symbol)) is not None]
    pins = instrument_pins(settings)
    if known and pins.get(symbol) is None:
        pins.declare(known[0])
    having = [source.raw_folder for source in sources if symbol in tape_symbols(source.raw_folder)]
    one, two = (read_tape(source.raw_folder, symbol) if source.raw_folder in having else iter(()) for source in sources)
    return merge_tapes(one, two, Decoders(tape_venue(having[0], symbol), pins), counted)


def _document(symbol: str, found: Merged) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "in_both": found.in_both,
        "only_first": found.only_first,
        "only_second": found.only_second,
        "conflicting": found.conflicting,
        "conflicts": found.conflicts,
    }
