"""A study of a feature: what is known is counted, what is not has its reason, and figures are those of plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from market.clock import SECOND_NS
from quality.feature_study import BINS, LAGS_S, QUANTILES, by_second, correlation, correlations, study
from transforms.status import GAP, OK, WARMUP

NAN = float("nan")


def test_every_second_is_known_or_has_one_reason() -> None:
    row_ns = np.array([0, 1, 2, 4, 5]) * SECOND_NS
    values = by_second(row_ns, np.array([NAN, NAN, 7.0, 9.0, NAN]), 0, 8)
    has_row = np.array([1, 1, 1, 0, 1, 1, 0, 0], np.bool_)
    status = np.array([WARMUP, OK, OK, OK, OK, GAP, OK, OK], np.int8)
    found = study(values, status, has_row, bucket_s=4)
    assert {name: counts.tolist() for name, counts in found.unknown.items()} == {
        "WARMUP": [1, 0],
        "UNDEFINED": [1, 0],
        "GAP": [0, 1],
        "NO_ROW": [1, 2],
    }
    assert (found.rows, found.known) == (5, 2)
    assert (found.low.tolist(), found.high.tolist(), found.mean.tolist()) == ([7.0, 9.0], [7.0, 9.0], [7.0, 9.0])


def test_a_peak_of_one_second_is_in_the_line_of_a_long_period() -> None:
    values = np.zeros(10_000)
    values[6_543] = 42.0
    known = np.ones(10_000, np.bool_)
    found = study(values, np.zeros(10_000, np.int8), known, bucket_s=1_000)
    assert found.high.tolist() == [0.0] * 6 + [42.0] + [0.0] * 3
    assert found.mean[6] == 0.042
    assert found.unknown == {}


def test_distribution_and_autocorrelation_are_those_of_what_is_known() -> None:
    rng = np.random.default_rng(7)
    noise = rng.standard_normal(5_000)
    series = np.convolve(noise, [1.0, 0.8], "valid")
    series[rng.random(len(series)) < 0.2] = NAN
    found = study(series, np.zeros(len(series), np.int8), np.ones(len(series), np.bool_), bucket_s=10)
    known = series[~np.isnan(series)]
    assert found.counts.sum() + found.below + found.above == found.known == len(known)
    assert (len(found.counts), len(found.edges)) == (BINS, BINS + 1)
    np.testing.assert_array_equal(found.quantiles, np.quantile(known, QUANTILES))
    # Of a moving average of two: 0.8 / (1 + 0.8 ** 2) a second apart, and nothing further away.
    assert found.autocorrelation[LAGS_S.index(1)] == pytest.approx(0.8 / 1.64, abs=0.06)
    assert abs(found.autocorrelation[LAGS_S.index(5)]) < 0.06


def test_a_correlation_is_of_the_seconds_that_both_know_and_unknown_of_what_does_not_vary() -> None:
    one = np.array([1.0, 2.0, NAN, 4.0, 5.0, 6.0])
    other = np.array([2.0, NAN, 3.0, 8.0, 10.0, 12.5])
    assert correlation(one, other) == pytest.approx(np.corrcoef([1.0, 4.0, 5.0, 6.0], [2.0, 8.0, 10.0, 12.5])[0, 1])
    assert np.isnan(correlation(one, np.full(6, 0.1)))
    assert np.isnan(correlation(one[:2], other[:2]))
    found = correlations([one, other, -one])
    np.testing.assert_array_equal(found, found.T)
    assert (found[0, 0], found[0, 2]) == (pytest.approx(1.0), pytest.approx(-1.0))


def test_nothing_known_is_no_figure_and_no_error() -> None:
    found = study(np.full(20, NAN), np.full(20, WARMUP, np.int8), np.ones(20, np.bool_), bucket_s=7)
    assert (found.known, len(found.counts)) == (0, 0)
    for figure in (found.average, found.deviation, *found.quantiles, *found.mean, *found.autocorrelation):
        assert np.isnan(figure)
