"""``replay``: recordings through the whole pipeline into a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from runtime.commands.options import DEFAULT_REGISTRY, AsJson, Registry, settings_for
from runtime.commands.printing import print_document, print_line

if TYPE_CHECKING:
    from ingestion.pipeline.pipeline import Pipeline
    from runtime.commands.progress import Steps
    from runtime.settings import Settings

MOST_REJECTED: Final = 0.01
"""Of a recording's messages; with more of them the rows are of another market than the recorded one."""


def replay_recordings(
    files: Annotated[list[Path], typer.Argument(help="Recordings: .jsonl, .jsonl.gz, .jsonl.zst, .data.zip.")],
    registry: Registry = DEFAULT_REGISTRY,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; default: from the settings.")] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="Speed, in multiples of real time; 0 is as fast as possible.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Replay recordings, in the given order, into a tape, raw Parquet and the feature log.

    Exits 0 when every file was read to its end: messages that cannot be used are counted and kept in the dead letter.
    Exits 1 when a file cannot be read any further, or more than one message in a hundred cannot be used; everything
    that could be read is kept.

    Example: feature-service replay demo/recording.jsonl.gz --registry 1.0.0 --out out
    """
    from runtime.commands.progress import showing_progress

    settings = settings_for(out)
    with showing_progress() as steps:
        document = _replay(files, registry, settings, speed, steps)
    for line in [*document["errors"], *document["warnings"]]:
        print_line(line, to_errors=True)
    if not as_json:
        document |= {"features": str(settings.feature_log_storage_path), "files": len(document["files"])}
    print_document(document, as_json=as_json)
    if document["errors"]:
        raise typer.Exit(1)


def _replay(files: list[Path], registry: str, settings: Settings, speed: float, steps: Steps) -> dict[str, Any]:
    from ingestion.pipeline.served_rows import available_as_if_live
    from ingestion.sources.played.play import PlayClock, play
    from ingestion.sources.played.recordings import read_recording
    from ingestion.tape.compaction import compact_tape
    from market.clock import SystemClock
    from market.errors import Conflict, UnreadableRecording
    from runtime.kernel_start import warm_up
    from runtime.wiring import compiled_kernel, instrument_pins, make_pipeline
    from storage.tape import tape_symbols

    begun = time.monotonic()
    raw_folder = settings.raw_folder
    if taped := tape_symbols(raw_folder):
        raise Conflict(
            f"{raw_folder}: must hold no tape before a replay, holds {', '.join(taped)}; --out names another folder"
        )
    kernel = compiled_kernel(settings, registry)
    steps.begin(f"loading registry {registry}")
    warm_up(kernel, steps.tell)
    pipeline = make_pipeline(settings, kernel, availability=available_as_if_live)
    errors: list[str] = []
    warnings: list[str] = []
    try:
        for path in files:
            before = pipeline.counters.messages
            steps.begin(f"playing {path}")
            try:
                clock = PlayClock(SystemClock(), begin_ns=None, speed=speed) if speed > 0 else None
                play(pipeline, read_recording(path), clock=clock)
            except UnreadableRecording as error:
                errors.append(f"{path}: {error}" if str(path) not in str(error) else str(error))
            if pipeline.counters.messages == before and not errors:
                warnings.append(f"{path}: holds no messages")
    finally:
        pipeline.close()
    pins = instrument_pins(settings)
    steps.begin("compacting to raw Parquet")
    for symbol in pipeline.symbols:
        compact_tape(raw_folder, symbol, pins, place=settings.raw_data_storage_path)
    _tell_rejections(pipeline, files, raw_folder, errors, warnings)
    counters = pipeline.counters
    return {
        "rows": counters.rows,
        "messages": counters.messages,
        "rejected": counters.rejected,
        "gaps": pipeline.gaps,
        "duplicates": pipeline.duplicates,
        "redelivered": pipeline.redelivered,
        "ignored": pipeline.ignored,
        "late": pipeline.late_messages,
        "symbols": list(pipeline.symbols),
        "seconds": round(time.monotonic() - begun, 3),
        "files": sorted(str(path) for path in settings.feature_log_storage_path.rglob("*.parquet")),
        "warnings": warnings,
        "errors": errors,
    }


def _tell_rejections(
    pipeline: Pipeline, files: list[Path], raw_folder: Path, errors: list[str], warnings: list[str]
) -> None:
    counters = pipeline.counters
    if counters.rejected > MOST_REJECTED * counters.messages:
        errors.insert(
            0,
            f"{', '.join(map(str, files))}: at most {MOST_REJECTED:.0%} of the messages may be unusable, was "
            f"{counters.rejected} of {counters.messages}, the first: {pipeline.first_rejection}",
        )
    if counters.rejected:
        warnings.append(
            f"{counters.rejected} messages rejected, kept with their reasons in {raw_folder}/dead_letter.jsonl"
        )
