"""Candles that were confirmed before they ended, by a receive clock that is behind: told, and never used early."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS
from market.events import KLINE, KLINE_FIELD_COUNT
from storage.raw.events import read_events
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from tests.build_places import UNGATED, place_in
from tests.real_candles import BEGIN_NS, INSTRUMENT, SYMBOL, recorded_candles, write_day
from training_sets.builds.builder import build_dataset
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget

MINUTES = 40
AHEAD_NS = 2500 * MILLISECOND_NS
OFFSET_NS = 58 * SECOND_NS
"""Samples two seconds before each candle ends."""
EARLY = (20, 27, 33)
"""Minutes whose candle comes before it ends."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, recorded_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("early")
    write_day(folder / "plain", 0, recorded_candles(recorded_data, MINUTES))
    events = read_events(RawData(folder / "plain"), SYMBOL, kinds={KLINE}, from_ns=0, to_ns=2**62)
    by_candle = events.reshape(-1, KLINE_FIELD_COUNT)
    for minute in EARLY:
        by_candle["recv_ns"][minute] = BEGIN_NS + (minute + 1) * MINUTE_NS - AHEAD_NS
    write_events(folder / "raw", INSTRUMENT, events, part="0000")
    return folder


def test_a_row_with_a_candle_before_its_end_is_in_no_dataset_of_closes(
    folder: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    from_ns, to_ns = BEGIN_NS + 12 * MINUTE_NS, BEGIN_NS + 36 * MINUTE_NS
    request = DatasetRequest(
        symbols=(SYMBOL,),
        strategy=TimeBased(default_periods(from_ns, to_ns)),
        targets=(RegressionTarget(MINUTE_NS),),
        registry_version="1.2.0",
        label_price="kline_close",
        sample_interval_ns=MINUTE_NS,
        sample_offset_ns=OFFSET_NS,
        purge=False,
        check_leakage=False,
    )
    built = build_dataset(request, place_in(folder, kernel_cache, rules=UNGATED), tmp_path / "dataset")
    tables = [pq.read_table(built.path / f"{split}.parquet") for split in ("train", "validation", "test")]
    times = np.concatenate([table.column("timestamp").cast(pa.int64()).to_numpy() for table in tables])
    expected = set(range(from_ns + OFFSET_NS, to_ns, MINUTE_NS))
    left_out = {BEGIN_NS + minute * MINUTE_NS + OFFSET_NS for minute in EARLY}
    assert set(times.tolist()) == expected - left_out
    assert built.manifest["rows_too_early"] == len(left_out)
    told = f"{SYMBOL}: 3 klines were confirmed before their end by the receive clock, the first by 2500 ms"
    assert any(warning.startswith(told) for warning in built.manifest["warnings"])
