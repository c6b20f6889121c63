"""Labels by barriers and of trades against a plain walk along the prices, one row at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import MINUTE_NS, SECOND_NS
from tests.plain_labels import (
    DELAYS,
    HORIZONS,
    NAN,
    PRICES,
    SECONDS,
    WINDOWS,
    Prices,
    is_same,
    labels_of,
    plain_return,
    plain_volatility,
)
from training_sets.request.targets import MetaLabelTarget, TripleBarrierTarget
from training_sets.samples.labels import first_touches
from training_sets.samples.prices import PriceSeries


def plain_barrier(prices: Prices, second: int, horizon: int, *, delay: int, upper: float, lower: float) -> float:
    for ahead in range(1, horizon + 1):
        change = plain_return(prices, second, ahead, delay)
        if math.isnan(change) or math.isnan(upper):
            return NAN
        if change >= upper:
            return 1.0
        if change <= -lower:
            return -1.0
    return 0.0


@given(PRICES, SECONDS, HORIZONS, DELAYS, st.sampled_from([(0.001, 0.01), (0.01, 0.001), (0.02, 0.02)]))
def test_a_fixed_barrier_label_tells_which_barrier_the_path_met_first(
    prices: Prices, seconds: list[int], horizon: int, delay: int, barriers: tuple[float, float]
) -> None:
    upper, lower = barriers
    target = TripleBarrierTarget(horizon * SECOND_NS, delay * SECOND_NS, upper=upper, lower=lower)
    for second, label in zip(seconds, labels_of(prices, seconds, target), strict=True):
        assert is_same(label, plain_barrier(prices, second, horizon, delay=delay, upper=upper, lower=lower))


@given(st.lists(st.sampled_from((100.0, 101.0, 103.0, 98.0)), min_size=60, max_size=60), SECONDS, HORIZONS, WINDOWS)
def test_barriers_by_volatility_stand_at_its_multiples_over_the_horizon(
    path: list[float], seconds: list[int], horizon: int, window: int
) -> None:
    prices = dict(enumerate(path))
    # A multiple that no path of these prices meets exactly: the oracle rounds its square root once more or less.
    target = TripleBarrierTarget(
        horizon * SECOND_NS, upper=0.777, lower=0.555, by_volatility=True, volatility_window_ns=window * SECOND_NS
    )
    for second, label in zip(seconds, labels_of(prices, seconds, target), strict=True):
        unit = plain_volatility(prices, second, window) * math.sqrt(horizon)
        unit = NAN if unit == 0.0 else unit
        expected = plain_barrier(prices, second, horizon, delay=0, upper=0.777 * unit, lower=0.555 * unit)
        assert is_same(label, expected)


def test_a_price_exactly_at_a_barrier_has_met_it() -> None:
    target = TripleBarrierTarget(SECOND_NS, upper=0.5, lower=0.5)
    assert labels_of({0: 1.0, 1: 1.5}, [0], target) == [1.0]
    assert labels_of({0: 1.0, 1: 0.5}, [0], target) == [-1.0]


BARS = PriceSeries(
    "kline_close",
    0,
    MINUTE_NS,
    np.array([100.0, 100.0, 100.0, 100.0, 100.0]),
    highs=np.array([100.0, 100.5, 102.0, 103.0, 100.0]),
    lows=np.array([100.0, 99.5, 99.5, 97.0, 100.0]),
)
ACTS_NS = np.zeros(1, np.int64)


@pytest.mark.parametrize(
    ("upper", "lower", "label", "bar"),
    [
        (0.02, 0.02, 1.0, 2),  # a high that no close shows
        (0.025, 0.02, -1.0, 3),  # both in one bar: the adverse one
        (0.004, 0.004, -1.0, 1),
        (0.05, 0.05, 0.0, 4),
    ],
)
def test_barriers_are_met_by_highs_and_lows_where_klines_are_the_price(
    upper: float, lower: float, label: float, bar: int
) -> None:
    target = TripleBarrierTarget(4 * MINUTE_NS, upper=upper, lower=lower)
    found = first_touches(ACTS_NS, ACTS_NS, BARS, target)
    labels, touched_ns = found.labels, found.touched_ns
    assert (labels.tolist(), touched_ns.tolist()) == ([label], [bar * MINUTE_NS])


def test_a_bar_of_the_past_meets_no_barrier_and_an_unknown_one_hides_the_rest() -> None:
    target = TripleBarrierTarget(MINUTE_NS, upper=0.02, lower=0.02)
    after_ns = np.array([3 * MINUTE_NS, 4 * MINUTE_NS])
    found = first_touches(after_ns, after_ns, BARS, target)
    labels, touched_ns = found.labels, found.touched_ns
    assert labels[0] == 0.0
    assert math.isnan(labels[1])
    assert touched_ns.tolist() == [4 * MINUTE_NS, 0]


def plain_meta_label(
    bars: list[tuple[float, float, float]], second: int, side: int, *, horizon: int, profit: float, stop: float
) -> tuple[float, float]:
    """The label and the barrier, from close, high and low of each second."""

    def bar(at: int) -> tuple[float, float, float]:
        return bars[at] if 0 <= at < len(bars) else (NAN, NAN, NAN)

    entry = bar(second)[0]
    if math.isnan(entry):
        return NAN, NAN
    for at in range(second + 1, second + horizon + 1):
        close, high, low = bar(at)
        if math.isnan(close):
            return NAN, NAN
        worst, best = (low, high) if side == 1 else (high, low)
        if side * (worst / entry - 1.0) <= -stop:
            return 0.0, -1.0
        if side * (best / entry - 1.0) >= profit:
            return 1.0, 1.0
    return float(side * (bar(second + horizon)[0] / entry - 1.0) > 0.0), 0.0


BAR = st.tuples(st.sampled_from((100.0, 100.1, 99.9, 101.0, 99.0)), st.sampled_from((0.0, 0.5, 1.0, NAN)))


@given(
    st.lists(BAR, max_size=30),
    st.lists(st.tuples(st.integers(-2, 32), st.sampled_from([1, -1])), max_size=30),
    HORIZONS,
    st.sampled_from([0.001, 0.005, 0.01, 0.03]),
    st.sampled_from([0.001, 0.005, 0.01, 0.03]),
)
def test_a_meta_label_says_whether_the_trade_of_its_side_was_right(
    drawn: list[tuple[float, float]], signals: list[tuple[int, int]], horizon: int, profit: float, stop: float
) -> None:
    bars = [
        (close if spread == spread else NAN, close + spread, close - spread)  # noqa: PLR0124  # NaN alone is unlike itself
        for close, spread in drawn
    ]
    closes, highs, lows = np.array(bars, np.float64).reshape(-1, 3).T.copy()
    series = PriceSeries("kline_close", 0, SECOND_NS, closes, highs=highs, lows=lows)
    at_ns = np.array([second for second, _ in signals], np.int64) * SECOND_NS
    sides = np.array([side for _, side in signals], np.float64)
    target = MetaLabelTarget(horizon * SECOND_NS, upper=profit, lower=stop)
    found = first_touches(at_ns, at_ns, series, target, sides)
    expected = [
        plain_meta_label(bars, second, side, horizon=horizon, profit=profit, stop=stop) for second, side in signals
    ]
    assert all(is_same(label, wanted) for label, (wanted, _) in zip(found.labels.tolist(), expected, strict=True))
    assert all(is_same(met, wanted) for met, (_, wanted) in zip(found.met.tolist(), expected, strict=True))


def test_an_unknown_price_on_the_path_hides_only_what_comes_after_it() -> None:
    target = TripleBarrierTarget(4 * SECOND_NS, upper=0.1, lower=0.1)
    path = {0: 100.0, 1: 120.0, 2: NAN, 3: 100.0, 4: 100.0}
    assert labels_of(path, [0], target) == [1.0]
    assert math.isnan(labels_of({**path, 1: 100.0}, [0], target)[0])


def test_a_trade_that_ends_where_it_began_was_wrong() -> None:
    series = PriceSeries("mid_price", 0, SECOND_NS, np.array([100.0, 100.5, 100.0]))
    at_ns = np.zeros(2, np.int64)
    target = MetaLabelTarget(2 * SECOND_NS, upper=0.01, lower=0.01)
    assert first_touches(at_ns, at_ns, series, target, np.array([1.0, -1.0])).labels.tolist() == [0.0, 0.0]
