"""Normalised values against fractions, of any numbers, in any window, anywhere in the ring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import SECOND_NS
from quality.oracle.arithmetic import fifty_digits
from quality.oracle.rows import normalised
from transforms.normalisation import METHODS, min_max, remember, z_score
from transforms.state import SECONDS_KEPT

ROW_NS: Final = 1_733_011_200 * SECOND_NS
WINDOW_S: Final = 9
CLOSE: Final = Fraction(1, 10**12)

numbers = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda number: number == 0 or abs(number) > 1e-12)
levels = st.sampled_from((0.0, 0.1, 65_117.35, 1e-9, -3e7))
series = st.one_of(
    st.lists(numbers, min_size=WINDOW_S, max_size=WINDOW_S),
    st.tuples(levels, st.lists(st.integers(-3, 3), min_size=WINDOW_S, max_size=WINDOW_S)).map(
        lambda drawn: [drawn[0] + step * 0.01 for step in drawn[1]]
    ),
)


def history_of(values: Sequence[float], *, row_ns: int = ROW_NS) -> npt.NDArray[np.float64]:
    """A column's memory after rows of these values, the last at ``row_ns``; older rows held something else."""
    history = np.full(SECONDS_KEPT, 1e300)
    for back, value in enumerate(reversed(values)):
        remember(history, row_ns - back * SECOND_NS, value)
    return history


@pytest.mark.parametrize("method", METHODS)
@given(values=series)
def test_a_normalised_value_is_exactly_that_of_the_window(method: str, values: list[float]) -> None:
    with fifty_digits():
        expected = normalised(list(values), method)
    found = METHODS[method](history_of(values), ROW_NS, values[-1], WINDOW_S)
    assert math.isnan(found) == (expected is None)
    if expected is not None:
        assert abs(Fraction(found) - Fraction(expected)) <= CLOSE * max(Fraction(1), abs(Fraction(expected)))


@pytest.mark.parametrize("method", METHODS)
@given(value=numbers, window_s=st.integers(1, SECONDS_KEPT - 1))
def test_a_value_that_did_not_move_has_no_normalised_one(method: str, value: float, window_s: int) -> None:
    """The mean of equal floats need not be that float, so distances from a mean would call rounding a deviation."""
    assert math.isnan(METHODS[method](history_of([value] * window_s), ROW_NS, value, window_s))


def test_a_window_crosses_the_end_of_the_memory() -> None:
    values = [1.0, 2.0, 4.0]
    for second in range(SECONDS_KEPT + 3):
        row_ns = ROW_NS + second * SECOND_NS
        history = history_of(values, row_ns=row_ns)
        assert min_max(history, row_ns, values[-1], 3) == 1.0
        assert z_score(history, row_ns, values[-1], 3) == z_score(history_of(values), ROW_NS, values[-1], 3)


@pytest.mark.parametrize("method", METHODS)
@given(values=series, between_ns=st.integers(1, SECOND_NS - 1))
def test_between_seconds_a_value_is_compared_with_the_whole_seconds_of_its_window(
    method: str, values: list[float], between_ns: int
) -> None:
    """The window of W - 1 seconds before such a row holds W - 1 whole seconds, and the row's own value besides."""
    row_ns = ROW_NS + between_ns
    history = history_of(values[:-1])
    remember(history, row_ns, 1e300)
    with fifty_digits():
        expected = normalised(list(values), method)
    found = METHODS[method](history, row_ns, values[-1], WINDOW_S - 1)
    assert math.isnan(found) == (expected is None)
    if expected is not None:
        assert abs(Fraction(found) - Fraction(expected)) <= CLOSE * max(Fraction(1), abs(Fraction(expected)))
