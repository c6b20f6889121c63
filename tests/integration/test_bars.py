"""A dataset of features of the exchange's own bars: recorded candles, played, built, and values made again by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest

from feature_client import Dataset
from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.sinks.sinks import FeatureLogSink
from ingestion.sources.played.play import play
from ingestion.tape.compaction import compact_tape
from market.clock import HOUR_NS, MILLISECOND_NS, MINUTE_NS
from storage.features.log import FeatureLogWriter
from storage.instruments import InstrumentPins
from tests.build_places import UNGATED, place_in
from tests.oracle import writing
from tests.pipelines import pipeline_in
from tests.real_candles import Candle, recorded_candles
from training_sets.builds.builder import build_dataset
from training_sets.builds.verification import verify_dataset
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.kernel import compile_kernel

SYMBOL: Final = writing.SYMBOL
MINUTES: Final = 36 * 60
BARS: Final = ("returns_1_bars_5m", "bar_range_5m", "returns_3_bars_15m", "volume_ratio_20_bars_5m")
VERSION: Final = """\
version: 9.0.0
features:
""" + "".join(
    f"""\
  - name: {name}
    input_sources: [{source}]
    lookback_window: 2h
    lookahead_forbidden: true
    max_lookback_days: 1
    data_sources: [{{source: {source}, timestamp_required: true}}]
    normalization: none
"""
    for name, source in (*((name, "kline_intervals") for name in BARS), ("returns_1m", "kline"))
)


def messages(candles: list[Candle]) -> Iterator[TimedMessage]:
    """Each minute's candle, and the bars that the exchange makes of them; every fourth before its end by our clock."""
    for at, candle in enumerate(candles, start=1):
        end_ns = candle.start_ns + MINUTE_NS
        said = [(end_ns + 300 * MILLISECOND_NS, candle.start_ns, [candle], 1)]
        for minutes in (5, 15):
            if at % minutes == 0:
                off_ns = -1_500 * MILLISECOND_NS if at // minutes % 4 == 0 else 400 * MILLISECOND_NS
                said.append((end_ns + off_ns, end_ns - minutes * MINUTE_NS, candles[at - minutes : at], minutes))
        for recv_ns, start_ns, of, minutes in sorted(said, key=lambda each: each[0]):
            texts = [of[0].open, max(of, key=lambda each: float(each.high)).high]
            texts += [min(of, key=lambda each: float(each.low)).low, of[-1].close]
            texts.append(f"{sum(float(each.volume) for each in of):.0f}")
            yield TimedMessage(recv_ns, writing.kline(recv_ns, start_ns, texts, minutes=minutes))


@pytest.fixture(scope="module")
def candles(recorded_data: Path) -> list[Candle]:
    return recorded_candles(recorded_data, MINUTES, recording="DOGEUSDT_1m")


def test_a_dataset_has_the_bars_that_had_ended_and_is_checked(
    tmp_path: Path, candles: list[Candle], kernel_cache: Path
) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "9.0.0.yaml").write_text(VERSION)
    kernel = compile_kernel(load_registry_version("9.0.0", versions).feature_set, kernel_cache)
    raw = tmp_path / "raw"
    pipeline = pipeline_in(raw, kernel, FeatureLogSink(FeatureLogWriter(tmp_path / "features")))
    play(pipeline, messages(candles))
    pipeline.close()
    compact_tape(raw, SYMBOL, InstrumentPins(raw))
    begin_ns, end_ns = candles[0].start_ns, candles[-1].start_ns
    request = DatasetRequest(
        symbols=(SYMBOL,),
        strategy=TimeBased(default_periods(begin_ns + 8 * HOUR_NS, end_ns - HOUR_NS)),
        targets=(RegressionTarget(5 * MINUTE_NS),),
        registry_version="9.0.0",
        sample_interval_ns=MINUTE_NS,
        sample_offset_ns=0,
    )
    place = place_in(tmp_path, kernel_cache, rules=UNGATED, versions=versions)
    built = build_dataset(request, place, tmp_path / "dataset")
    assert built.manifest["leakage"]["rows_rebuilt_from_their_past"] > 50
    assert verify_dataset(built.path, place, tmp_path / "again").is_exact
    found = pd.concat([Dataset.open(built.path).load(split).features for split in ("train", "validation", "test")])
    times_ns = found.index.get_level_values("timestamp").astype("int64").to_numpy()
    close = np.array([float(candle.close) for candle in candles])
    for time_ns, value in zip(times_ns.tolist(), found["returns_1_bars_5m"].tolist(), strict=True):
        whole = (time_ns - begin_ns) // MINUTE_NS
        ended = whole // 5
        # A bar that came before its end counts at its end, another once it has come.
        ended -= whole % 5 == 0 and ended % 4 != 0
        assert value == pytest.approx(close[ended * 5 - 1] / close[ended * 5 - 6] - 1, rel=1e-12)
    assert len(times_ns) > 1_000
