"""Relations against pandas, and what they say where a truth is known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from quality.relations import LEAST_ROWS, Relation, autocorrelation, redundant_clusters
from quality.relations import relations as relations_by_label

ROWS = 4_000
ONE_SYMBOL = np.zeros(ROWS, np.int64)

Float64s = npt.NDArray[np.float64]


def relations(columns: Float64s, label: Float64s, symbol: npt.NDArray[np.int64], *, overlap: float) -> list[Relation]:
    [found] = relations_by_label(columns, label[:, None], symbol, overlaps=[overlap])
    return found


def noise(seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).standard_normal(ROWS)


def test_both_coefficients_are_those_of_pandas_where_both_are_known() -> None:
    import pandas as pd

    column, label = np.exp(noise(1)), noise(1) + noise(2)
    column[::7] = np.nan
    label[::11] = np.nan
    column[3] = np.inf
    [found] = relations(column[:, None], label, ONE_SYMBOL, overlap=1.0)
    frame = pd.DataFrame({"one": np.where(np.isinf(column), np.nan, column), "other": label}).dropna()
    assert found.rows == len(frame)
    assert found.ic == pytest.approx(frame.corr().iloc[0, 1], abs=1e-12)
    assert found.rank_ic == pytest.approx(frame.corr("spearman").iloc[0, 1], abs=1e-12)


def test_the_interval_holds_the_true_coefficient_19_times_of_20() -> None:
    held = {"ic": 0, "rank_ic": 0}
    for seed in range(200):
        column = noise(seed)
        label = 0.3 * column + math.sqrt(1.0 - 0.09) * noise(seed + 1_000)
        rows = slice(0, 300)
        [found] = relations(column[rows, None], label[rows], ONE_SYMBOL[rows], overlap=1.0)
        assert found.ic_interval is not None
        assert found.rank_ic_interval is not None
        held["ic"] += found.ic_interval[0] <= 0.3 <= found.ic_interval[1]
        # Of normal variables Spearman's is 6 / pi * asin(r / 2).
        true = 6.0 / math.pi * math.asin(0.15)
        held["rank_ic"] += found.rank_ic_interval[0] <= true <= found.rank_ic_interval[1]
    assert all(180 <= count <= 199 for count in held.values()), held


def test_labels_that_overlap_count_once() -> None:
    column, label = noise(1), noise(2)
    [alone] = relations(column[:, None], label, ONE_SYMBOL, overlap=1.0)
    [over] = relations(column[:, None], label, ONE_SYMBOL, overlap=100.0)
    assert alone.ic_interval is not None
    assert over.ic_interval is not None
    assert over.ic_interval[1] - over.ic_interval[0] > 9.0 * (alone.ic_interval[1] - alone.ic_interval[0])


def test_what_differs_between_symbols_is_no_relation() -> None:
    symbol = np.arange(ROWS) % 2
    column, label = noise(1) + 100.0 * symbol, noise(2) + 100.0 * symbol
    [found] = relations(column[:, None], label, symbol, overlap=1.0)
    assert found.ic is not None
    assert abs(found.ic) < 0.05


def test_mutual_information_sees_what_a_correlation_does_not_and_nothing_in_noise() -> None:
    column = noise(1)
    square, unlike = relations(np.stack([column, noise(3)], axis=1), np.abs(column), ONE_SYMBOL, overlap=1.0)
    assert square.rank_ic is not None
    assert abs(square.rank_ic) < 0.05
    assert square.mutual_information is not None
    assert square.mutual_information > 1.0
    assert unlike.mutual_information == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    "column", [np.ones(ROWS), np.full(ROWS, 0.0001), np.full(ROWS, np.nan), np.where(np.arange(ROWS) < 5, 1.0, np.nan)]
)
def test_a_constant_and_too_few_rows_have_no_coefficient(column: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    [found] = relations(column[:, None], noise(1), ONE_SYMBOL, overlap=1.0)
    assert (found.ic, found.rank_ic, found.ic_interval) == (None, None, None)
    assert (found.mutual_information is None) == (found.rows < LEAST_ROWS)


def test_autocorrelation_is_of_rows_of_one_symbol() -> None:
    walk = np.repeat(noise(4)[: ROWS // 4], 4)
    assert autocorrelation(walk, ONE_SYMBOL, 1) == pytest.approx(0.75, abs=0.05)
    assert autocorrelation(walk, ONE_SYMBOL, 4) == pytest.approx(0.0, abs=0.06)
    assert autocorrelation(walk, np.arange(ROWS) % 2, 1) == pytest.approx(0.5, abs=0.06)
    assert autocorrelation(walk, ONE_SYMBOL, ROWS) is None
    assert autocorrelation(np.full(50, 0.0001), np.zeros(50, np.int64), 1) is None


def test_features_that_repeat_each_other_are_one_cluster() -> None:
    one, other = noise(1), noise(2)
    values = np.stack([one, other, -one + 0.01 * other, 2.0 * other, noise(3), one], axis=1)
    clusters = redundant_clusters(["a", "b", "c", "d", "e", "f"], values, ONE_SYMBOL)
    assert clusters == [["a", "c", "f"], ["b", "d"]]
