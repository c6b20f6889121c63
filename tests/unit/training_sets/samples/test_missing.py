"""Filling from the past against a plain loop, however the rows are cut."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training_sets.samples.missing import ForwardFill

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
