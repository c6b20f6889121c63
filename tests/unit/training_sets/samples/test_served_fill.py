"""An unknown value is filled with the newest served one within the limit, sampled or not, as it had come by then."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import MINUTE_NS, SECOND_NS
from market.errors import InvalidRequest
from storage.features.log import FeatureLog, FeatureLogWriter
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.missing import ServedFill
from training_sets.samples.prices import MID
from transforms.rows import FeatureRows

SYMBOL = "BTCUSDT"
NAN = math.nan


def log(folder: Path, values: dict[int, float], late: dict[int, int]) -> None:
    """Rows by second; ``late``: after how many seconds each could be read."""
    seconds = np.array(list(values), np.int64)
    lags_ns = np.array([late.get(second, 0) * SECOND_NS + 10_000_000 for second in values])
    rows = FeatureRows(
        SYMBOL,
        MID,
        seconds * SECOND_NS,
        np.array(list(values.values())).reshape(-1, 1),
        np.zeros((len(values), 1), np.int8),
    )
    with FeatureLogWriter(folder) as writer:
        writer.append(rows, rows.row_ns + lags_ns)


def filled(folder: Path, seconds: list[int], limit: int, cuts: tuple[int, ...] = ()) -> list[float]:
    fill = ServedFill(FeatureLog(folder), MID, (SYMBOL,), limit * SECOND_NS)
    times_ns = np.array(seconds, np.int64) * SECOND_NS
    values = np.full((len(seconds), 1, 1), NAN)
    for begin, end in zip((0, *cuts), (*cuts, len(seconds)), strict=True):
        if begin < end:
            part = slice(begin, end)
            fill.fill(times_ns[part], times_ns[part].reshape(-1, 1) + 10_000_000, values[part])
    found: list[float] = values[:, 0, 0].tolist()
    return found


def test_a_limit_below_the_interval_fills_from_rows_between_the_samples(tmp_path: Path) -> None:
    log(tmp_path, {57: 1.0, 58: 2.0, 59: NAN, 60: NAN}, {})
    assert filled(tmp_path, [60], 2) == [2.0]
    assert math.isnan(filled(tmp_path, [60], 1)[0])


def test_a_row_that_had_not_come_fills_nothing(tmp_path: Path) -> None:
    log(tmp_path, {57: 1.0, 58: 2.0, 60: NAN, 61: 5.0}, {58: 3})
    assert filled(tmp_path, [60], 5) == [1.0]


def test_a_row_on_its_way_keeps_no_newer_one_back(tmp_path: Path) -> None:
    log(tmp_path, {57: 1.0, 58: 2.0, 60: NAN}, {57: 30})
    assert filled(tmp_path, [60], 5) == [2.0]


def test_a_row_on_its_way_at_the_end_of_a_piece_fills_nothing_of_the_next_before_it_comes(tmp_path: Path) -> None:
    log(tmp_path, {57: 1.0, 58: 2.0, 70: NAN, 90: NAN}, {58: 30})
    assert filled(tmp_path, [60, 70, 90], 60, (1,)) == [1.0, 1.0, 2.0]


@settings(max_examples=40)
@given(
    st.dictionaries(st.integers(0, 200), st.floats(1, 9) | st.just(NAN), min_size=1),
    st.integers(0, 1000),
    st.lists(st.integers(0, 260), min_size=1, max_size=30, unique=True).map(sorted),
    st.integers(1, 120),
    st.data(),
)
def test_a_fill_is_that_of_a_plain_look_back_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    values: dict[int, float],
    seed: int,
    seconds: list[int],
    limit: int,
    data: st.DataObject,
) -> None:
    """Rows may come in any order: one that is still on its way keeps none back that came before it."""
    folder = tmp_path_factory.mktemp("log")
    late = dict(enumerate(np.random.default_rng(seed).choice([0, 0, 2, 9, 40, 70], 201).tolist()))
    log(folder, dict(sorted(values.items())), late)
    came = {at: at + late[at] for at in values if late[at] < 60}
    cut = data.draw(st.integers(0, len(seconds)))
    found = filled(folder, seconds, limit, (cut,))
    for second, value in zip(seconds, found, strict=True):
        served = [at for at in came if second - limit <= at <= second and came[at] <= second]
        known = [at for at in served if not math.isnan(values[at])]
        expected = values[max(known)] if known else NAN
        assert value == expected or (math.isnan(value) and math.isnan(expected))


def test_a_limit_that_reaches_no_other_tick_asked_for_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="fill_limit: must reach back to the sample before for at_time samples"):
        DatasetRequest(
            symbols=(SYMBOL,),
            strategy=TimeBased(default_periods(0, 60 * MINUTE_NS)),
            targets=(RegressionTarget(10 * SECOND_NS),),
            registry_version="1.0.0",
            sample_interval_ns=5 * SECOND_NS,
            sample_kind="at_time",
            missing="forward_fill",
            fill_limit_ns=2 * SECOND_NS,
        )
