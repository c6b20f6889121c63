"""The CUSUM filter against its definition, and across what is unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InvalidRequest
from training_sets.samples.events import cusum_events


def plain_events(prices: list[float], threshold: float) -> list[int]:
    """Snippet 2.4 of the book, begun anew after a hole."""
    events, up, down, before = [], 0.0, 0.0, math.nan
    for at, price in enumerate(prices):
        change = math.log(price) - math.log(before)
        before = price
        if math.isnan(change):
            up, down = 0.0, 0.0
            continue
        up, down = max(0.0, up + change), min(0.0, down + change)
        if down < -threshold:
            down = 0.0
            events.append(at)
        elif up > threshold:
            up = 0.0
            events.append(at)
    return events


@given(
    prices=st.lists(st.floats(99.0, 101.0) | st.just(math.nan), max_size=200),
    threshold=st.sampled_from([0.001, 0.004, 0.013]),
)
def test_events_are_those_of_the_definition(prices: list[float], threshold: float) -> None:
    found = cusum_events(np.array(prices, np.float64), np.full(len(prices), threshold))
    assert found.tolist() == plain_events(prices, threshold)


def test_an_event_follows_from_what_came_before_it_alone() -> None:
    walk = np.exp(np.cumsum(np.random.default_rng(1).standard_normal(5_000) * 1e-3))
    thresholds = np.full(len(walk), 5e-3)
    whole = cusum_events(walk, thresholds)
    assert len(whole) > 100
    assert cusum_events(walk[:3_000], thresholds[:3_000]).tolist() == whole[whole < 3_000].tolist()


def test_a_move_of_exactly_the_threshold_is_no_event() -> None:
    prices = np.array([1.0, 1.01, 1.0])
    assert cusum_events(prices, np.full(3, np.log(1.01))).tolist() == []
    assert cusum_events(prices, np.full(3, np.nextafter(np.log(1.01), 0.0))).tolist() == [1, 2]


def test_a_threshold_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="thresholds: must be above 0"):
        cusum_events(np.ones(3), np.zeros(3))
