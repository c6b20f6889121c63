"""Cross-sections as they were known: a naive replay of each day agrees, and nothing later changes what was."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import scipy.stats  # type: ignore[import-untyped]  # it ships no types
from bokeh_sampledata import stocks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from market.clock import DAY_NS
from transforms.cross_section import SectionFeature, neutralised, of_columns, rank, section_rows, z_score
from transforms.known_rows import ComputedRows, KnownRows, computed_rows
from transforms.table_feature import TableFeature, Window

VALUES = arrays(float, st.integers(0, 7), elements=st.sampled_from([1.0, 2.0, 3.0, math.nan]))


@given(VALUES)
def test_ranks_and_scores_are_those_of_scipy(values: npt.NDArray[np.float64]) -> None:
    is_known = ~np.isnan(values)
    if is_known.sum() < 2:
        assert np.isnan(rank(values)).all()
        assert np.isnan(z_score(values)).all()
        return
    expected = (scipy.stats.rankdata(values[is_known]) - 1) / (is_known.sum() - 1)
    np.testing.assert_allclose(rank(values)[is_known], expected)
    assert np.isnan(rank(values)[~is_known]).all()
    if np.ptp(values[is_known]) > 0:
        np.testing.assert_allclose(z_score(values)[is_known], scipy.stats.zscore(values[is_known], ddof=1))
    else:
        np.testing.assert_array_equal(z_score(values)[is_known], 0.0)


def test_equal_values_whose_mean_rounds_have_no_distance_from_it() -> None:
    np.testing.assert_array_equal(z_score(np.full(7, 0.1)), np.zeros(7))


def test_what_is_neutralised_has_no_mean_in_any_group() -> None:
    found = neutralised(np.array([1.0, 3.0, 5.0, 7.0, math.nan]), np.array([1.0, 1.0, 2.0, math.nan, 1.0]))
    np.testing.assert_array_equal(found, [-1.0, 1.0, 0.0, math.nan, math.nan])


def sums(x: npt.NDArray[np.float64]) -> float:
    return float(x[-1] + x[-2])


PLAIN = TableFeature("sums", "g", sums, {"x": Window("t", "x", 2)}, {}, "1", -math.inf, math.inf, "", "", "")
SECTION = SectionFeature(
    "rank", "g", lambda sums, x: rank(sums) + 10 * rank(x), ("sums", "x"), "1", -math.inf, math.inf, "", "", ""
)
FEATURES = of_columns([PLAIN], [SECTION], "t")
Row = tuple[str, int, int, float]
ROWS = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(0, 5), st.integers(0, 3), st.sampled_from([1.0, 2.0, 5.0])),
    max_size=14,
)


def computed(rows: list[Row], after: int | None = None) -> dict[str, ComputedRows]:
    after_ns = None if after is None else after * DAY_NS
    by_key = {}
    for key in sorted({row[0] for row in rows}):
        of_key = list({(row[1], row[1] + row[2]): row for row in rows if row[0] == key}.values())
        event = np.array([row[1] for row in of_key], np.int64)
        known = event + np.array([row[2] for row in of_key], np.int64)
        x = {"x": np.array([row[3] for row in of_key])}
        by_key[key] = computed_rows(
            KnownRows(event * DAY_NS, known * DAY_NS, x), FEATURES, after_ns=after_ns, with_last=True
        )
    return section_rows(by_key, [each.name for each in FEATURES], [SECTION], after_ns=after_ns)


def naive(rows: list[Row], day: int) -> dict[str, float]:
    """The section as known on a day, by going through all rows."""
    said: dict[str, dict[int, float]] = {}
    for key, event, lag, x in sorted(rows, key=lambda row: row[1] + row[2]):
        if event + lag <= day:
            said.setdefault(key, {})[event] = x
    newest = max((max(of_key) for of_key in said.values()), default=-1)
    members = [key for key in sorted(said) if max(said[key]) == newest]
    last = {key: [said[key][event] for event in sorted(said[key])] for key in members}
    newest_x = np.array([last[key][-1] for key in members])
    two = np.array([last[key][-1] + last[key][-2] if len(last[key]) > 1 else math.nan for key in members])
    found = dict.fromkeys(said, math.nan)
    return found | dict(zip(members, (rank(two) + 10 * rank(newest_x)).tolist(), strict=True))


def answer(found: dict[str, ComputedRows], day: int) -> dict[str, float]:
    """Of each key the newest row created until a day, of the newest event."""
    answers = {}
    for key, rows in found.items():
        places = [at for at in range(len(rows.created_ns)) if rows.created_ns[at] <= day * DAY_NS]
        if places:
            newest = max(places, key=lambda at: (rows.event_ns[at], rows.created_ns[at]))
            answers[key] = float(rows.values[newest][-1])
    return answers


@given(ROWS)
def test_a_section_as_of_a_day_is_that_of_what_was_known_on_it(rows: list[Row]) -> None:
    found = computed(rows)
    for day in range(9):
        newest = max((row[1] for row in rows if row[1] + row[2] <= day), default=-1)
        expected, given_ = naive(rows, day), answer(found, day)
        assert expected.keys() == given_.keys()
        for key in expected:  # a key that is not of the newest date keeps the answer of its own
            if max(row[1] for row in rows if row[0] == key and row[1] + row[2] <= day) == newest:
                np.testing.assert_array_equal(given_[key], expected[key])


@given(ROWS, ROWS, st.integers(0, 8))
def test_what_becomes_known_later_changes_no_section_before(rows: list[Row], others: list[Row], day: int) -> None:
    past = [row for row in rows if row[1] + row[2] <= day]
    changed = past + [row for row in others if row[1] + row[2] > day]
    for at in range(day + 1):
        assert str(answer(computed(rows), at)) == str(answer(computed(changed), at))


@given(ROWS, st.integers(0, 8))
def test_sections_go_on_from_where_they_were(rows: list[Row], day: int) -> None:
    whole, before = computed(rows), computed([row for row in rows if row[1] + row[2] <= day])
    since = computed(rows, after=day)
    for key, expected in whole.items():
        parts = [before[key], since[key]] if key in before else [since[key]]
        np.testing.assert_array_equal(np.concatenate([each.created_ns for each in parts]), expected.created_ns)
        np.testing.assert_array_equal(np.concatenate([each.values for each in parts]), expected.values)


def test_a_key_alone_has_no_rank() -> None:
    assert math.isnan(answer(computed([("A", 0, 0, 1.0), ("A", 1, 0, 2.0)]), 5)["A"])
    assert answer(computed([("A", 1, 0, 2.0), ("B", 1, 0, 1.0), ("A", 0, 0, 1.0), ("B", 0, 0, 1.0)]), 5) == {
        "A": pytest.approx(11.0),
        "B": pytest.approx(0.0),
    }


def test_real_shares_are_ranked_as_pandas_ranks_them() -> None:
    """Five shares, of which two begin late: each day those that are there are ranked."""
    names = ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    closes = pd.DataFrame(
        {
            name: pd.Series(held["adj_close"], pd.DatetimeIndex(held["date"]))
            for name in names
            for held in (getattr(stocks, name),)
        }
    )["2011":"2013"]
    by_key = {}
    for name in names:
        close = closes[name].dropna()
        event = pd.DatetimeIndex(close.index).as_unit("ns").astype(np.int64).to_numpy()
        by_key[name] = computed_rows(KnownRows(event, event + DAY_NS, {"x": close.to_numpy()}), FEATURES)
    found = section_rows(by_key, [each.name for each in FEATURES], [SECTION])
    two = closes + closes.shift()
    ranks = [(each.rank(axis=1) - 1).div(each.count(axis=1) - 1, axis=0) for each in (two, closes)]
    expected = ranks[0] + 10 * ranks[1]
    for name in names:
        days = expected.index[closes[name].notna().to_numpy()]
        np.testing.assert_allclose(found[name].values[:, -1], expected[name][days])
