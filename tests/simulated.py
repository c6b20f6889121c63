"""A simulated market, played into a folder of its own and compacted, as datasets are built from."""

from __future__ import annotations

from pathlib import Path

from feature_repo.registry_versions import load_registry_version
from ingestion.sinks.sinks import FeatureLogSink
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from storage.features.log import FeatureLogWriter
from storage.instruments import InstrumentPins
from tests.pipelines import pipeline_in
from transforms.kernel import Kernel, compile_kernel


def kernel_of(version: str, kernel_cache: Path) -> Kernel:
    """The kernel of a registry version."""
    return compile_kernel(load_registry_version(version).feature_set, kernel_cache)


def play_market(
    folder: Path, kernel: Kernel, *, seed: int, start_ns: int, duration_ns: int, symbols: int = 1
) -> tuple[str, ...]:
    """Raw data below ``raw`` and the kernel's rows below ``features``; the symbols."""
    raw = folder / "raw"
    pipeline = pipeline_in(raw, kernel, FeatureLogSink(FeatureLogWriter(folder / "features")))
    try:
        play(pipeline, simulate(DEFAULT_SYMBOLS[:symbols], seed=seed, start_ns=start_ns, duration_ns=duration_ns))
    finally:
        pipeline.close()
    names = tuple(sorted(pipeline.symbols))
    for symbol in names:
        compact_tape(raw, symbol, InstrumentPins(raw))
    return names
