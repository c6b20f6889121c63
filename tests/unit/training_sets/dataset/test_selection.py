"""Deflated Sharpe ratio and probability of overfitting: the papers' examples, the definition, and noise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import InvalidRequest
from training_sets.dataset.selection import (
    apart_returns,
    deflated_among,
    deflated_best,
    deflated_sharpe_ratio,
    expected_greatest_sharpe,
    overfitting_probability,
)

YEAR = 250
DEVIATION = math.sqrt(0.5 / YEAR)
BEST = 2.5 / math.sqrt(YEAR)

Float64s = npt.NDArray[np.float64]


@pytest.mark.parametrize(
    ("trials", "skewness", "kurtosis", "expected"),
    # The numerical example of the paper: five years of days, annualised ratio 2.5, variance of the trials' 1/2.
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_the_deflated_ratio_is_that_of_the_paper(
    trials: int, skewness: float, kurtosis: float, expected: float
) -> None:
    found = deflated_sharpe_ratio(
        BEST, rows=1250, skewness=skewness, kurtosis=kurtosis, trials=trials, deviation=DEVIATION
    )
    assert found == pytest.approx(expected, abs=5e-4)


def test_the_best_of_a_hundred_trials_without_skill_is_expected_as_the_paper_says() -> None:
    assert expected_greatest_sharpe(100, DEVIATION) == pytest.approx(0.1132, abs=5e-5)
    assert expected_greatest_sharpe(1, DEVIATION) == 0.0


def test_the_best_of_a_thousand_noise_models_is_called_insignificant() -> None:
    significant = 0
    for seed in range(100):
        returns = np.random.default_rng(seed).standard_normal((250, 1_000))
        significant += deflated_best(returns)[1] >= 0.95
    assert significant <= 5


def test_a_strategy_that_earns_is_called_significant_among_few() -> None:
    returns = np.random.default_rng(3).standard_normal((1_000, 10))
    returns[:, 4] += 0.25
    best, probability = deflated_best(returns)
    assert best == 4
    assert probability > 0.95


def plain_overfitting(returns: Float64s, parts: int) -> float:
    def ratios(blocks: list[Float64s]) -> list[float]:
        columns = np.concatenate(blocks).T
        return [0.0 if len(set(column)) == 1 else column.mean() / column.std() for column in columns]

    length = len(returns) // parts
    cut = np.split(returns[len(returns) - length * parts :], parts)
    logits = []
    for inside in itertools.combinations(range(parts), parts // 2):
        before = ratios([cut[at] for at in inside])
        after = ratios([cut[at] for at in range(parts) if at not in inside])
        rank = sorted(after).index(after[before.index(max(before))]) + 1
        share = rank / (len(after) + 1)
        logits.append(math.log(share / (1.0 - share)))
    return sum(logit <= 0.0 for logit in logits) / len(logits)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), parts=st.sampled_from([2, 4, 6]), trials=st.integers(2, 7))
def test_overfitting_is_what_the_definition_counts(seed: int, parts: int, trials: int) -> None:
    returns = np.random.default_rng(seed).standard_normal((61, trials))
    assert overfitting_probability(returns, parts=parts) == pytest.approx(plain_overfitting(returns, parts))


def test_a_choice_among_noise_is_overfit_and_one_for_a_strategy_that_earns_is_not() -> None:
    random = np.random.default_rng(5)
    noise = random.standard_normal((800, 50))
    assert overfitting_probability(noise, parts=10) > 0.3
    noise[:, 7] += 0.5
    assert overfitting_probability(noise, parts=10) == 0.0


def test_odd_parts_one_trial_and_unknown_returns_are_refused() -> None:
    for returns, parts in ((np.zeros((100, 3)), 5), (np.zeros((100, 1)), 4), (np.zeros((5, 3)), 4)):
        with pytest.raises(InvalidRequest, match="parts: must be even"):
            overfitting_probability(returns, parts=parts)
    with pytest.raises(InvalidRequest, match="returns: must be finite"):
        deflated_best(np.full((4, 2), np.nan))


def test_returns_are_taken_a_horizon_apart_and_symbols_of_one_time_are_one_return() -> None:
    times = np.array([0, 0, 1, 2, 3, 3, 9], np.int64)
    returns = np.array([1.0, 3.0, 8.0, 8.0, 4.0, 6.0, 7.0])
    assert apart_returns(times, returns, 3).tolist() == [2.0, 5.0, 7.0]
    assert apart_returns(times[::-1], returns[::-1], 3).tolist() == [2.0, 5.0, 7.0]
    assert apart_returns(times, returns, 1).tolist() == [2.0, 8.0, 8.0, 5.0, 7.0]


def test_one_strategy_is_deflated_by_its_own_moments_and_more_the_more_trials_there_were() -> None:
    returns = np.random.default_rng(3).standard_normal(500) + 0.15
    own = returns - returns.mean()
    expected = [
        deflated_sharpe_ratio(
            returns.mean() / returns.std(),
            rows=500,
            skewness=float(np.mean(own**3)) / returns.std() ** 3,
            kurtosis=float(np.mean(own**4)) / returns.std() ** 4,
            trials=trials,
            deviation=1.0 / math.sqrt(499),
        )
        for trials in (1, 10, 1_000)
    ]
    found = [deflated_among(returns, trials) for trials in (1, 10, 1_000)]
    assert found == pytest.approx(expected)
    assert found[0] is not None
    assert found[0] > 0.95
    assert expected == sorted(expected, reverse=True)
    assert deflated_among(returns[:1], 5) is None
    assert deflated_among(np.ones(9), 5) is None


@pytest.mark.parametrize("unit", [1e-140, 1e-110, 1e-60, 1e70, 1e120])
def test_the_unit_of_returns_changes_no_deflated_ratio(unit: float) -> None:
    returns = np.random.default_rng(3).standard_normal((300, 2)) + 0.1
    assert deflated_among(returns[:, 0] * unit, 20) == pytest.approx(deflated_among(returns[:, 0], 20), rel=1e-9)
    best, probability = deflated_best(returns * unit)
    expected, of_expected = deflated_best(returns)
    assert best == expected
    assert probability == pytest.approx(of_expected, rel=1e-9)


def test_returns_whose_squares_are_no_numbers_have_no_deflated_ratio() -> None:
    returns = np.random.default_rng(3).standard_normal(300) + 0.1
    assert deflated_among(returns * 1e-170, 20) is None


def test_the_best_of_noise_is_seldom_significant_when_its_trials_are_told() -> None:
    significant = 0
    for seed in range(100):
        returns = np.random.default_rng(seed).standard_normal((250, 200))
        best = returns[:, np.argmax(returns.mean(axis=0) / returns.std(axis=0))]
        significant += (deflated_among(best, 200) or 0.0) >= 0.95
    assert significant <= 5
