"""A data folder whose first run ended and is compacted, and whose second one still has its tape open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ingestion.sinks.sinks import FeatureLogSink
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import SimulatedSymbol, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import SECOND_NS
from runtime.settings import Settings
from storage.features.log import FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.tape.segments import segment_paths, tape_folder
from tests.pipelines import pipeline_in
from transforms.kernel import Kernel


@contextmanager
def half_compacted(
    settings: Settings,
    kernel: Kernel,
    symbols: Sequence[SimulatedSymbol],
    *,
    start_ns: int,
    cut_ns: int,
    duration_ns: int,
) -> Iterator[None]:
    """A market, whose first run ends half a second after ``start_ns + cut_ns``; no row is of the time between.

    While the block lasts the second run goes on, with everything durable that it has.
    """
    raw = settings.raw_folder
    messages = list(simulate(symbols, seed=5, start_ns=start_ns, duration_ns=duration_ns))
    cut = next(at for at, each in enumerate(messages) if each.recv_ns >= start_ns + cut_ns + SECOND_NS // 2)
    for is_last, part in ((False, messages[:cut]), (True, messages[cut:])):
        log = FeatureLogWriter(settings.feature_log_storage_path)
        pipeline = pipeline_in(raw, kernel, FeatureLogSink(log))
        try:
            play(pipeline, part)
            if is_last:
                assert all(lane.durability()(60.0) for lane in pipeline.lanes.values())
                log.flush()
                for symbol in symbols:
                    assert any(path.suffix == ".open" for path in segment_paths(tape_folder(raw, symbol.symbol)))
                yield
        finally:
            pipeline.close()
        if not is_last:
            for symbol in symbols:
                compact_tape(raw, symbol.symbol, InstrumentPins(raw))
