"""Labels by returns against a plain dictionary of prices, one row at a time, and targets that are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.errors import InvalidRequest
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
from training_sets.request.targets import (
    ClassificationTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    Target,
    TripleBarrierTarget,
    check_target,
)
from training_sets.samples.labels import make_labels, past_volatility
from training_sets.samples.prices import price_series


@given(PRICES, SECONDS, HORIZONS, DELAYS)
def test_a_regression_label_is_the_return_between_its_two_rows_or_unknown(
    prices: Prices, seconds: list[int], horizon: int, delay: int
) -> None:
    found = labels_of(prices, seconds, RegressionTarget(horizon * SECOND_NS, delay * SECOND_NS))
    for second, label in zip(seconds, found, strict=True):
        assert is_same(label, plain_return(prices, second, horizon, delay))


@given(PRICES, st.lists(st.tuples(st.integers(-5, 70), st.integers(0, 3 * SECOND_NS)), max_size=60), HORIZONS)
def test_a_label_begins_at_the_newest_price_when_the_model_acts(
    prices: Prices, samples: list[tuple[int, int]], horizon: int
) -> None:
    times_ns = np.array([second for second, _ in samples], np.int64) * SECOND_NS
    decisions_ns = times_ns + np.array([lag_ns for _, lag_ns in samples], np.int64)
    series = price_series(
        "mid_price",
        np.array(list(prices), np.int64) * SECOND_NS,
        np.array(list(prices.values()), np.float64),
        step_ns=SECOND_NS,
    )
    found = make_labels(times_ns, series, RegressionTarget(horizon * SECOND_NS), decisions_ns=decisions_ns)
    for decision_ns, label in zip(decisions_ns.tolist(), found.tolist(), strict=True):
        assert is_same(label, plain_return(prices, decision_ns // SECOND_NS, horizon, 0))


@given(PRICES, SECONDS, HORIZONS, DELAYS, st.sampled_from((0.001, 0.01, 0.02)))
def test_a_class_is_up_or_down_only_beyond_the_threshold(
    prices: Prices, seconds: list[int], horizon: int, delay: int, threshold: float
) -> None:
    target = ClassificationTarget(horizon * SECOND_NS, delay * SECOND_NS, threshold=threshold)
    for second, label in zip(seconds, labels_of(prices, seconds, target), strict=True):
        change = plain_return(prices, second, horizon, delay)
        expected = NAN if math.isnan(change) else 1.0 if change > threshold else -1.0 if change < -threshold else 0.0
        assert is_same(label, expected)


def test_a_return_of_exactly_the_threshold_is_flat() -> None:
    assert labels_of({0: 1.0, 1: 1.5}, [0], ClassificationTarget(SECOND_NS, threshold=0.5)) == [0.0]
    assert labels_of({0: 1.0, 1: 0.5}, [0], ClassificationTarget(SECOND_NS, threshold=0.5)) == [0.0]


@given(PRICES, SECONDS, HORIZONS, DELAYS, WINDOWS)
def test_a_risk_adjusted_label_is_the_return_by_the_volatility_before_the_row(
    prices: Prices, seconds: list[int], horizon: int, delay: int, window: int
) -> None:
    target = RiskAdjustedTarget(horizon * SECOND_NS, delay * SECOND_NS, volatility_window_ns=window * SECOND_NS)
    for second, label in zip(seconds, labels_of(prices, seconds, target), strict=True):
        volatility = plain_volatility(prices, second, window)
        change = plain_return(prices, second, horizon, delay)
        if math.isnan(change) or math.isnan(volatility) or volatility == 0.0:
            assert math.isnan(label)
        else:
            assert label == pytest.approx(change / volatility, rel=1e-6)


def test_the_volatility_of_equal_returns_is_zero_and_its_label_unknown() -> None:
    prices = {second: 1.1**second for second in range(8)}
    constant = dict.fromkeys(range(8), 7.3)
    for known in (prices, constant):
        series = price_series("mid_price", np.arange(8) * SECOND_NS, np.array(list(known.values())), step_ns=SECOND_NS)
        assert past_volatility(np.array([4 * SECOND_NS]), series, 2 * SECOND_NS)[0] < 1e-12
    flat = RiskAdjustedTarget(SECOND_NS, volatility_window_ns=3 * SECOND_NS)
    assert math.isnan(labels_of(constant, [5], flat)[0])


@given(PRICES, st.integers(0, 40), WINDOWS, st.floats(1, 100))
def test_volatility_never_sees_a_price_after_its_row(prices: Prices, second: int, window: int, other: float) -> None:
    def volatility(known: Prices) -> float:
        series = price_series(
            "mid_price",
            np.array(list(known), np.int64) * SECOND_NS,
            np.array(list(known.values()), np.float64),
            step_ns=SECOND_NS,
        )
        return float(past_volatility(np.array([second * SECOND_NS]), series, window * SECOND_NS)[0])

    changed = {at: other if at > second else price for at, price in prices.items()}
    assert is_same(volatility(prices), volatility(changed))


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (RegressionTarget(0), "horizon must be positive"),
        (RegressionTarget(SECOND_NS, -SECOND_NS), "delay not negative"),
        (RegressionTarget(SECOND_NS + 1), "must be whole steps"),
        (
            RiskAdjustedTarget(SECOND_NS, volatility_window_ns=SECOND_NS),
            "volatility_window must be two or more steps of 1 s, was 1 s",
        ),
    ],
    ids=str,
)
def test_a_target_that_no_price_step_fits_is_refused(target: Target, rule: str) -> None:
    with pytest.raises(InvalidRequest, match=rule):
        check_target(target, SECOND_NS)


def test_a_threshold_or_barrier_that_is_no_distance_is_refused() -> None:
    for wrong in (0.0, -1.0, NAN, math.inf):
        with pytest.raises(InvalidRequest, match="must be positive and finite"):
            ClassificationTarget(SECOND_NS, threshold=wrong)
        with pytest.raises(InvalidRequest, match="must be positive and finite"):
            TripleBarrierTarget(SECOND_NS, upper=0.1, lower=wrong)
