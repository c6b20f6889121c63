"""Regression labels against a plain dictionary of prices."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from market.clock import SECOND_NS
from training_sets.labels import RegressionTarget, regression_labels


@given(
    st.dictionaries(st.integers(0, 60), st.floats(1, 100) | st.just(math.nan), max_size=60),
    st.lists(st.integers(-5, 70), max_size=80),
    st.integers(1, 20),
    st.integers(0, 5),
)
def test_a_label_is_the_return_between_its_two_rows_or_unknown(
    prices: dict[int, float], seconds: list[int], horizon_s: int, delay_s: int
) -> None:
    price_s = sorted(prices)
    labels = regression_labels(
        np.array(seconds, np.int64) * SECOND_NS,
        np.array(price_s, np.int64) * SECOND_NS,
        np.array([prices[second] for second in price_s]),
        RegressionTarget(horizon_s * SECOND_NS, delay_s * SECOND_NS),
    )
    for second, label in zip(seconds, labels.tolist(), strict=True):
        entry = prices.get(second + delay_s, math.nan)
        leaving = prices.get(second + delay_s + horizon_s, math.nan)
        expected = leaving / entry - 1.0
        assert label == expected or (math.isnan(label) and math.isnan(expected))
