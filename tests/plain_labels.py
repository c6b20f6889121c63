"""Prices of whole seconds to be drawn, and what labels of them are made of, from a plain dictionary."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from market.clock import SECOND_NS
from training_sets.request.targets import Target
from training_sets.samples.labels import make_labels
from training_sets.samples.prices import price_series

NAN = math.nan
Prices = dict[int, float]

# Few different prices: returns repeat, barriers are met exactly and volatility is 0.
PRICES = st.dictionaries(
    st.integers(0, 60), st.sampled_from((100.0, 100.1, 99.9, 101.0, 98.0)) | st.floats(1, 100) | st.just(NAN)
)
SECONDS = st.lists(st.integers(-5, 70), max_size=60)
HORIZONS = st.integers(1, 20)
DELAYS = st.integers(0, 5)
WINDOWS = st.integers(2, 8)


def labels_of(prices: Prices, seconds: list[int], target: Target) -> list[float]:
    series = price_series(
        "mid_price",
        np.array(list(prices), np.int64) * SECOND_NS,
        np.array(list(prices.values()), np.float64),
        step_ns=SECOND_NS,
    )
    found: list[float] = make_labels(np.array(seconds, np.int64) * SECOND_NS, series, target).tolist()
    return found


def plain_return(prices: Prices, second: int, horizon: int, delay: int) -> float:
    return prices.get(second + delay + horizon, NAN) / prices.get(second + delay, NAN) - 1.0


def plain_volatility(prices: Prices, second: int, window: int) -> float:
    returns = [plain_return(prices, at - 1, 1, 0) for at in range(second - window + 1, second + 1)]
    if any(math.isnan(each) for each in returns):
        return NAN
    return math.sqrt(statistics.pvariance([Fraction(each) for each in returns]))


def is_same(found: float, expected: float) -> bool:
    return found == expected or (math.isnan(found) and math.isnan(expected))
