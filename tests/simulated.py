"""A simulated market, played into a folder of its own and compacted, as datasets are built from."""

from __future__ import annotations

from pathlib import Path

from feature_repo.registry_versions import load_registry_version
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sinks.sinks import FeatureLogSink
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from storage.features.log import FeatureLogWriter
from storage.instruments import InstrumentPins
from transforms.kernel import compile_kernel


def play_market(
    folder: Path, kernel_cache: Path, *, seed: int, start_ns: int, duration_ns: int, symbols: int = 1
) -> tuple[str, ...]:
    """Raw data below ``raw`` and rows of registry 1.0.0 below ``features``; the symbols."""
    raw, pins = folder / "raw", InstrumentPins(folder / "raw")
    pipeline = Pipeline(
        compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache),
        pins,
        raw_folder=raw,
        dead_letter=DeadLetter(folder / "dead_letter.jsonl"),
        sinks=[FeatureLogSink(FeatureLogWriter(folder / "features"))],
        availability=available_as_if_live,
    )
    try:
        play(pipeline, simulate(DEFAULT_SYMBOLS[:symbols], seed=seed, start_ns=start_ns, duration_ns=duration_ns))
    finally:
        pipeline.close()
    names = tuple(sorted(pipeline.symbols))
    for symbol in names:
        compact_tape(raw, symbol, pins)
    return names
