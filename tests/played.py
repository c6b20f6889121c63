"""A recording played into a folder, as ``replay`` does, and what came of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sinks.sinks import FeatureLogSink
from ingestion.sources.played.play import play
from ingestion.sources.played.recordings import read_recording
from ingestion.tape.compaction import compact_tape
from market.markets import DEFAULT_MARKET, Market
from quality.parity import Parity
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from training_sets.builds.verification import verify_parity
from training_sets.rebuild.raw_history import RawHistory
from transforms.kernel import Kernel
from transforms.rows import FeatureRows


class Played:
    """A recording played into a folder."""

    def __init__(self, folder: Path, kernel: Kernel, recording: Path, *, market: Market = DEFAULT_MARKET) -> None:
        self.raw = folder / "raw"
        self.features = folder / "features"
        self.kernel = kernel
        pins = InstrumentPins(self.raw)
        self.pipeline = Pipeline(
            kernel,
            pins,
            raw_folder=self.raw,
            dead_letter=DeadLetter(self.raw / "dead_letter.jsonl"),
            sinks=[FeatureLogSink(FeatureLogWriter(self.features))],
            availability=available_as_if_live,
            market=market,
        )
        try:
            play(self.pipeline, read_recording(recording))
        finally:
            self.pipeline.close()
        for symbol in self.pipeline.symbols:
            compact_tape(self.raw, symbol, pins)

    def rows(self, symbol: str) -> FeatureRows:
        served, _ = FeatureLog(self.features).read(symbol, self.kernel.feature_set, from_ns=None, to_ns=None)
        return served

    def parity(self) -> Parity:
        return verify_parity(RawHistory.of(RawData(self.raw)), FeatureLog(self.features), self.kernel)


def write_recording(path: Path, lines: Iterable[dict[str, Any] | bytes]) -> Path:
    with gzip.open(path, "wb") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps(line).encode())
            file.write(b"\n")
    return path
