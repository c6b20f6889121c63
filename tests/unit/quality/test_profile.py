"""The profile's counts and correlations against plain ones, however the rows are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quality.profile import SAMPLE_ROWS, TableProfile, correlations, outlier_shares

ONE_SYMBOL = np.zeros(500, np.int64)
VALUES = st.lists(
    st.tuples(*[st.sampled_from((0.0, 1.0, -1.0, 5.0, np.nan, np.inf, -np.inf)) for _ in range(2)]), max_size=40
)


def profiled(values: np.ndarray[tuple[int, int], np.dtype[np.float64]], cut: int) -> TableProfile:
    profile = TableProfile(("a", "b"), np.array([-np.inf, 0.0]), np.array([np.inf, 1.0]))
    times = np.arange(len(values), dtype=np.int64)
    for piece in (slice(None, cut), slice(cut, None)):
        profile.add(times[piece], values[piece])
    return profile


@given(VALUES, st.integers(0, 40))
def test_every_value_is_counted_once_whatever_the_cut(rows: list[tuple[float, float]], cut: int) -> None:
    values = np.array(rows, np.float64).reshape(-1, 2)
    profile = profiled(values, cut)
    assert profile.rows == len(rows)
    for at in range(2):
        column = [row[at] for row in rows]
        finite = [value for value in column if np.isfinite(value)]
        assert profile.missing[at] == sum(np.isnan(value) for value in column)
        assert profile.infinite[at] == sum(np.isinf(value) for value in column)
        assert profile.least[at] == min(finite, default=np.inf)
        assert profile.greatest[at] == max(finite, default=-np.inf)
        assert profile.of_class[at].tolist() == [column.count(label) for label in (-1.0, 0.0, 1.0)]
    assert profile.outside.tolist() == [0, sum(value in {-1.0, 5.0} for _, value in rows)]


def test_classes_are_counted_of_the_columns_that_have_them() -> None:
    profile = TableProfile(("a", "b"), np.full(2, -np.inf), np.full(2, np.inf), classes={"b"})
    profile.add(np.arange(3, dtype=np.int64), np.array([[1.0, 1.0], [0.0, -1.0], [1.0, 1.0]]))
    assert profile.of_class.tolist() == [[0, 0, 0], [1, 0, 2]]


def test_the_sample_is_bounded_evenly_spaced_and_the_same_for_any_cut() -> None:
    values = np.arange(5 * SAMPLE_ROWS, dtype=np.float64).reshape(-1, 2)
    one, other = (profiled(values, cut).sample for cut in (0, 12_345))
    assert np.array_equal(one[1], other[1])
    assert np.array_equal(one[0], other[0])
    assert SAMPLE_ROWS // 2 <= len(one[0]) <= SAMPLE_ROWS
    assert set(np.diff(one[0]).tolist()) == {4}


def test_correlations_are_those_of_the_rows_where_both_are_known() -> None:
    generator = np.random.default_rng(3)
    values = generator.standard_normal((500, 4)) * [1.0, 1e-6, 1e5, 1.0] + [0.0, 1.0, 1e5, 0.0]
    values[:, 3] = 7.0
    values[:, 1] += 1e-6 * values[:, 0]
    values[::3, 0] = np.nan
    values[1::7, 2] = np.inf
    found = correlations(values, ONE_SYMBOL)
    for one in range(3):
        for other in range(3):
            both = np.isfinite(values[:, one]) & np.isfinite(values[:, other])
            expected = np.corrcoef(values[both, one], values[both, other])[0, 1]
            assert abs(found[one, other] - expected) < 1e-9
    assert np.isnan(found[3]).all()
    assert np.isnan(correlations(values[:20], ONE_SYMBOL[:20])).all()


def test_outliers_are_far_beyond_the_quartiles() -> None:
    column = np.r_[np.linspace(0, 1, 98), 100.0, np.nan]
    constant = np.r_[np.ones(99), 50.0]
    assert outlier_shares(np.column_stack([column, constant]), ONE_SYMBOL[: len(column)]).tolist() == [1 / 99, 0.0]


def test_what_differs_between_symbols_is_no_correlation_and_no_outlier() -> None:
    generator = np.random.default_rng(4)
    steps = generator.standard_normal((400, 2))
    steps[:, 1] += 0.5 * steps[:, 0]
    symbol = np.repeat([0, 1], [300, 100])
    prices = steps + np.where(symbol == 0, 65_000.0, 1_900.0)[:, None]
    assert correlations(prices, np.zeros(400, np.int64))[0, 1] > 0.999
    alone = [np.corrcoef(prices[symbol == one].T)[0, 1] for one in (0, 1)]
    assert abs(correlations(prices, symbol)[0, 1] - (300 * alone[0] + 100 * alone[1]) / 400) < 1e-9
    rare = np.repeat([0, 1], [380, 20])
    levels = steps + np.where(rare == 0, 65_000.0, 1_900.0)[:, None]
    assert outlier_shares(levels, np.zeros(400, np.int64)).tolist() == [0.05, 0.05]
    assert outlier_shares(levels, rare).tolist() == [0.0, 0.0]


def test_a_profile_keeps_the_symbol_of_each_sampled_row() -> None:
    profile = TableProfile(("a",), np.array([-np.inf]), np.array([np.inf]))
    for begin in (0, 3):
        profile.add(np.arange(begin, begin + 3), np.zeros((3, 1)), np.array([0, 1, 2]))
    assert profile.sample_symbol.tolist() == [0, 1, 2, 0, 1, 2]
