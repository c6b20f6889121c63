"""What predictions earn, by hand and against a plain walk over the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InvalidRequest
from training_sets.dataset.trading import Held, sharpe_ratio, times_apart, trading_document


def held(sides: list[float], returns: list[float], *, symbol: list[int] | None = None, step: int = 1) -> Held:
    count = len(sides)
    numbers = np.zeros(count, np.int64) if symbol is None else np.array(symbol)
    return Held(np.arange(count) // (1 if symbol is None else 2) * step, numbers, np.array(sides), np.array(returns))


def test_overlapping_returns_have_no_sum_and_those_apart_are_every_other_row() -> None:
    found = trading_document(held([1, 1, -1, 1], [0.1, 0.2, 0.3, 0.4]), apart_ns=2, cost=0.0)
    assert found["overlapping"].keys() == {"rows", "mean", "sharpe_ratio"}
    assert found["overlapping"]["mean"] == pytest.approx((0.1 + 0.2 - 0.3 + 0.4) / 4)
    assert found["apart"] == {
        "rows": 2,
        "mean": pytest.approx(-0.1),
        "sharpe_ratio": pytest.approx(-0.5),
        "total": pytest.approx(-0.2),
        "max_drawdown": pytest.approx(0.3),
        "profit_factor": pytest.approx(1 / 3),
    }
    assert found["apart_after_costs"] == found["apart"]


def test_to_turn_a_side_costs_twice_and_to_hold_it_nothing() -> None:
    found = trading_document(held([1, 1, -1, 0], [0.0] * 4), apart_ns=1, cost=0.01)
    assert found["turnover"] == (1 + 0 + 2 + 1) / 4
    assert found["apart_after_costs"]["total"] == pytest.approx(-0.04)
    assert found["apart"]["total"] == 0.0


def test_symbols_are_turned_each_by_itself_and_one_time_is_one_return() -> None:
    found = trading_document(held([1, -1, 1, -1], [0.1, 0.1, 0.3, 0.1], symbol=[0, 1, 0, 1]), apart_ns=1, cost=0.0)
    assert found["turnover"] == 0.5
    assert (found["apart"]["rows"], found["apart"]["total"]) == (2, pytest.approx(0.1))


def test_returns_whose_squares_round_to_nothing_have_no_sharpe_ratio() -> None:
    assert sharpe_ratio(np.array([1e-200, 2e-200])) is None


@given(st.lists(st.integers(0, 60), min_size=1, unique=True), st.integers(1, 20))
def test_times_apart_are_those_of_a_walk(times: list[int], apart: int) -> None:
    expected: list[int] = []
    for time in sorted(times):
        if not expected or time >= expected[-1] + apart:
            expected.append(time)
    assert times_apart(np.array(times, np.int64), apart).tolist() == expected


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"cost: must be a share of 0 to 1, was 1\.5"):
        trading_document(held([1], [0.1]), apart_ns=1, cost=1.5)
    with pytest.raises(InvalidRequest, match="returns: must be of a row or more"):
        trading_document(held([], []), apart_ns=1, cost=0.0)
