"""Weights of overlapping labels against the definition, bar by bar."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import MINUTE_NS
from market.errors import InvalidRequest
from training_sets.samples.weights import (
    average_uniqueness,
    concurrency,
    return_attribution,
    scaled_weights,
    time_decay,
)

BEGIN_NS = 1_767_614_400 * 1_000_000_000
Spans = list[tuple[int, int]]
Int64s = npt.NDArray[np.int64]

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 25)), min_size=1, max_size=40).map(
    lambda drawn: [(begin, begin + length) for begin, length in drawn]
)


def arrays(
    bars: Spans,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    starts, ends = np.array(bars, np.int64).T
    return BEGIN_NS + starts * MINUTE_NS, BEGIN_NS + ends * MINUTE_NS


def plain_concurrency(bars: Spans, bar: int) -> int:
    return sum(begin < bar <= end for begin, end in bars)


@given(bars=spans)
def test_uniqueness_is_the_mean_of_one_by_the_labels_over_each_bar(bars: Spans) -> None:
    starts_ns, ends_ns = arrays(bars)
    first_ns, counts = concurrency(starts_ns, ends_ns, step_ns=MINUTE_NS)
    first = (first_ns - BEGIN_NS) // MINUTE_NS
    assert counts.tolist() == [plain_concurrency(bars, first + at) for at in range(len(counts))]
    expected = [
        sum(1.0 / plain_concurrency(bars, bar) for bar in range(begin + 1, end + 1)) / (end - begin)
        for begin, end in bars
    ]
    np.testing.assert_allclose(average_uniqueness(starts_ns, ends_ns, step_ns=MINUTE_NS), expected, rtol=1e-12)


@given(bars=spans, data=st.data())
def test_a_label_is_attributed_its_share_of_the_return_of_each_bar(bars: Spans, data: st.DataObject) -> None:
    starts_ns, ends_ns = arrays(bars)
    first = min(begin for begin, _ in bars)
    count = max(end for _, end in bars) - first + 1
    prices = data.draw(st.lists(st.floats(90.0, 110.0) | st.just(math.nan), min_size=count, max_size=count))
    expected = [
        abs(
            sum(
                (math.log(prices[bar - first]) - math.log(prices[bar - first - 1])) / plain_concurrency(bars, bar)
                for bar in range(begin + 1, end + 1)
            )
        )
        for begin, end in bars
    ]
    found = return_attribution(starts_ns, ends_ns, np.array(prices), step_ns=MINUTE_NS)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@given(uniqueness=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=50), oldest=st.floats(-0.9, 1.0))
def test_weights_fall_in_a_line_to_the_oldest(uniqueness: list[float], oldest: float) -> None:
    factors = time_decay(np.array(uniqueness), oldest=oldest)
    total, seen, expected = sum(uniqueness), 0.0, []
    for each in uniqueness:
        seen += each
        share = seen / total
        line = oldest + (1.0 - oldest) * share if oldest >= 0 else (share + oldest) / (1.0 + oldest)
        expected.append(max(line, 0.0))
    np.testing.assert_allclose(factors, expected, rtol=1e-9, atol=1e-9)


def test_scaled_weights_sum_to_their_number_and_an_unknown_one_is_nothing() -> None:
    assert scaled_weights(np.array([1.0, 3.0, np.nan, 0.0])).tolist() == [1.0, 3.0, 0.0, 0.0]
    with pytest.raises(InvalidRequest, match="must be one above 0 at least, was none of 2"):
        scaled_weights(np.zeros(2))


def test_labels_that_are_no_whole_bars_or_run_backwards_are_refused() -> None:
    times_ns = np.array([BEGIN_NS, BEGIN_NS + 1], np.int64)
    with pytest.raises(InvalidRequest, match="whole bars"):
        average_uniqueness(times_ns, times_ns + MINUTE_NS, step_ns=MINUTE_NS)
    with pytest.raises(InvalidRequest, match="end after they begin"):
        average_uniqueness(times_ns, times_ns, step_ns=1)
