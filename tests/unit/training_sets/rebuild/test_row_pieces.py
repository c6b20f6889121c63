"""Rows that come in any pieces are cut at midnight and into groups of one size, and none is lost or doubled."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from training_sets.rebuild.rebuild import rows_by_day, rows_in_groups
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet, joined_rows

CHOSEN = FeatureSet("1.0.0", ("mid",), (FeatureGroup("price", "aaaa", ("mid",), (0,)),), "bbbb")
MIDNIGHT_NS = 20_000 * DAY_NS


def rows_from(begin: int, count: int) -> FeatureRows:
    """Consecutive rows, ``begin`` seconds after a midnight."""
    row_ns = MIDNIGHT_NS + np.arange(begin, begin + count) * SECOND_NS
    return FeatureRows(
        "BTCUSDT", CHOSEN, row_ns, (row_ns // SECOND_NS).astype(np.float64)[:, None], np.zeros((count, 1), np.int8)
    )


def in_pieces(begin: int, sizes: list[int]) -> list[FeatureRows]:
    ends = np.cumsum(sizes).tolist()
    return [rows_from(begin + end - size, size) for end, size in zip(ends, sizes, strict=True)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 10))
def test_groups_have_one_size_but_the_last_and_hold_every_row_once(sizes: list[int], count: int) -> None:
    groups = list(rows_in_groups(in_pieces(-4, sizes), count))
    full, rest = divmod(sum(sizes), count)
    assert [len(group) for group in groups] == [count] * full + [rest] * (rest > 0)
    expected = rows_from(-4, sum(sizes))
    if groups:
        joined = joined_rows(groups)
        assert np.array_equal(joined.row_ns, expected.row_ns)
        assert np.array_equal(joined.values, expected.values)


@settings(max_examples=200, deadline=None)
@given(st.integers(-12, 3), st.lists(st.integers(0, 9), max_size=6), st.sampled_from([0, DAY_NS // SECOND_NS]))
def test_each_day_has_its_rows_and_no_other(begin: int, sizes: list[int], more: int) -> None:
    pieces = in_pieces(begin, [*sizes, more])
    days = [(day_ns, joined_rows(list(of_day))) for day_ns, of_day in rows_by_day(pieces)]
    expected = rows_from(begin, sum(sizes) + more)
    assert [day_ns for day_ns, _ in days] == np.unique(expected.row_ns // DAY_NS * DAY_NS).tolist()
    for day_ns, rows in days:
        assert np.array_equal(rows.row_ns, expected.row_ns[expected.row_ns // DAY_NS * DAY_NS == day_ns])
