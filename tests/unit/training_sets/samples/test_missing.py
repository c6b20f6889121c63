"""Filling from the past against a plain loop, however the rows are cut."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training_sets.samples.missing import ForwardFill, dropped_warnings

NAN = math.nan


def plainly_filled(times: list[int], values: list[float], limit: int) -> list[float]:
    filled = []
    for at, time in enumerate(times):
        known = [(times[past], values[past]) for past in range(at + 1) if not math.isnan(values[past])]
        is_fresh = bool(known) and time - known[-1][0] <= limit
        filled.append(known[-1][1] if is_fresh else NAN)
    return filled


@given(
    st.dictionaries(st.integers(0, 60), st.tuples(st.just(NAN) | st.floats(0, 9), st.just(NAN) | st.floats(0, 9))),
    st.integers(1, 10),
    st.integers(0, 60),
)
def test_an_unknown_value_becomes_the_last_known_one_that_is_young_enough(
    rows: dict[int, tuple[float, float]], limit: int, cut: int
) -> None:
    times = sorted(rows)
    values = np.array([rows[time] for time in times], np.float64).reshape(-1, 2)
    expected = np.array([plainly_filled(times, column.tolist(), limit) for column in values.T], np.float64).T.reshape(
        -1, 2
    )
    unknown_before = int(np.isnan(values).sum())
    fill = ForwardFill(2, limit)
    times_ns = np.array(times, np.int64)
    filled = fill.fill(times_ns[:cut], values[:cut]) + fill.fill(times_ns[cut:], values[cut:])
    assert np.array_equal(values, expected, equal_nan=True)
    assert filled == unknown_before - int(np.isnan(values).sum())


def test_a_column_for_which_a_twentieth_of_the_rows_and_more_are_dropped_is_named_with_its_share() -> None:
    counts = {"sampled": 1_100, "without_features": 60, "without_label": 40, "with_missing": 260}
    unknown = {"vwap_3s": 50, "buy_sell_volume_ratio": 251}
    assert dropped_warnings(counts, unknown) == [
        "missing: drop removes more than 5% of the rows where one column is unknown: buy_sell_volume_ratio (25.1%)"
    ]
    assert dropped_warnings(counts, {"vwap_3s": 50}) == []
    assert dropped_warnings(counts, dict.fromkeys("abcdefg", 60))[0].endswith("e (6.0%) and 2 more")
