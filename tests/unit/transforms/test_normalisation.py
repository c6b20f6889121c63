"""Standardising over the last rows: what a flat, a moving and an incomplete window give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest

from market.clock import SECOND_NS
from transforms.normalisation import METHODS, Normalisation, min_max, remember, z_score
from transforms.state import TILE_COUNT

ROW_NS: Final = 1_000 * TILE_COUNT * SECOND_NS + 2 * SECOND_NS
"""The window of this row goes around the end of the ring."""


def history(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """The ring after rows of these values, the last one at ROW_NS."""
    ring = np.full(TILE_COUNT, np.nan)
    for back, value in enumerate(reversed(values)):
        remember(ring, ROW_NS - back * SECOND_NS, value)
    return ring


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.1, -0.3, 64_000.05, 0.0, 1e-300])
def test_rows_that_are_all_equal_have_no_place_among_themselves(method: str, value: float) -> None:
    # The mean of sixty rounded values of 0.1 is another number than 0.1.
    assert math.isnan(METHODS[method](history([value] * 60), ROW_NS, 60))


def test_a_z_score_is_the_distance_from_the_mean_in_deviations() -> None:
    assert z_score(history([1.0, 1.0, 1.0, 5.0]), ROW_NS, 4) == pytest.approx(math.sqrt(3), rel=1e-15)
    assert z_score(history([4.0, 2.0, 3.0]), ROW_NS, 3) == 0.0


def test_min_max_is_the_place_between_the_least_and_the_greatest() -> None:
    assert [min_max(history([2.0, 6.0, value]), ROW_NS, 3) for value in (2.0, 3.0, 6.0, 10.0)] == [0.0, 0.25, 1.0, 1.0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unknown", range(4))
def test_one_unknown_row_in_the_window_makes_it_unknown(method: str, unknown: int) -> None:
    values = [1.0, 2.0, 3.0, 5.0]
    values[unknown] = math.nan
    assert math.isnan(METHODS[method](history(values), ROW_NS, 4))


@pytest.mark.parametrize("method", METHODS)
def test_a_row_before_the_window_is_not_seen(method: str) -> None:
    seen = METHODS[method](history([9.0, 1.0, 2.0, 4.0]), ROW_NS, 3)
    assert seen == METHODS[method](history([math.nan, 1.0, 2.0, 4.0]), ROW_NS, 3)
    assert not math.isnan(seen)


@pytest.mark.parametrize(
    ("method", "window_s", "name"),
    [("z_score", 300, "x_z_5m"), ("min_max", 60, "x_mm_1m"), ("z_score", 5, "x_z_5s"), ("min_max", 90, "x_mm_90s")],
)
def test_a_column_is_named_after_its_feature_method_and_window(method: str, window_s: int, name: str) -> None:
    assert Normalisation("x", method, window_s).name == name
