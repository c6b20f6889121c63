"""Rows are learned in the order in which they became known: a naive replay agrees, and the future changes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.known_rows import ComputedRows, KnownRows, computed_rows
from transforms.table_feature import TableFeature, Window

DAY = 86_400


def feature(name: str, rows: int, *columns: str) -> TableFeature:
    def weighted(*series: npt.NDArray[np.float64]) -> float:
        return sum(float(values @ np.arange(1, rows + 1)) for values in series)

    sees = {column: Window("t", column, rows) for column in columns}
    return TableFeature(name, "g", weighted, sees, {}, "1", -math.inf, math.inf, "", "", "")


FEATURES = (feature("last", 1, "a"), feature("three", 3, "a"), feature("both", 2, "a", "b"), feature("none", 1, "c"))

Row = tuple[int, int, float, float]
NUMBERS = st.sampled_from([1.0, 2.0, 3.0, 7.0, float("nan")])
ROWS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5), NUMBERS, NUMBERS), max_size=14)


def known_rows(rows: Sequence[Row]) -> KnownRows:
    """Event day, days until it is known, and two numbers."""
    event = np.array([row[0] for row in rows], np.int64)
    known = event + np.array([row[1] for row in rows], np.int64)
    columns = {"a": np.array([row[2] for row in rows], float), "b": np.array([row[3] for row in rows], float)}
    return KnownRows(event * DAY, known * DAY, columns)


def as_known(rows: Sequence[Row], day: int) -> list[tuple[int, float, float]]:
    """What is known on a day, by going through all rows: the last that was said of each event."""
    said: dict[int, tuple[int, float, float]] = {}
    for event, lag, a, b in sorted(rows, key=lambda row: (row[0] + row[1], row[0])):
        if event + lag <= day:
            said[event] = (event, a, b)
    return [said[event] for event in sorted(said)]


def answer(computed: ComputedRows, day: int) -> tuple[int, list[float]] | None:
    """The newest event of the feature rows created until a day, as it was created last."""
    places = [at for at in range(len(computed.created_ns)) if computed.created_ns[at] <= day * DAY]
    if not places:
        return None
    newest = max(places, key=lambda at: (computed.event_ns[at], computed.created_ns[at]))
    return int(computed.event_ns[newest]) // DAY, computed.values[newest].tolist()


@given(ROWS)
def test_an_answer_as_of_a_day_is_that_of_what_was_known_on_it(rows: list[Row]) -> None:
    computed = computed_rows(known_rows(rows), FEATURES)
    for day in range(15):
        known = as_known(rows, day)
        if not known:
            assert answer(computed, day) is None
            continue
        a, b = ([row[at] for row in known] for at in (1, 2))
        expected = [
            a[-1],
            a[-3] + 2 * a[-2] + 3 * a[-1] if len(known) >= 3 else math.nan,
            a[-2] + 2 * a[-1] + b[-2] + 2 * b[-1] if len(known) >= 2 else math.nan,
            math.nan,
        ]
        found = answer(computed, day)
        assert found is not None
        assert found[0] == known[-1][0]
        np.testing.assert_array_equal(found[1], expected)


@given(ROWS, ROWS, st.integers(0, 13))
def test_what_becomes_known_later_changes_no_answer_before(rows: list[Row], others: list[Row], day: int) -> None:
    """Everything that was not known on a day is taken away, and other rows put in its place."""
    past = [row for row in rows if row[0] + row[1] <= day]
    future = [row for row in others if row[0] + row[1] > day]
    one, other = (computed_rows(known_rows(each), FEATURES) for each in (rows, past + future))
    until = [int((each.created_ns <= day * DAY).sum()) for each in (one, other)]
    assert until[0] == until[1]
    np.testing.assert_array_equal(one.event_ns[: until[0]], other.event_ns[: until[0]])
    np.testing.assert_array_equal(one.values[: until[0]], other.values[: until[0]])


@given(ROWS, st.integers(0, 13))
def test_a_table_that_grew_is_computed_from_where_it_was(rows: list[Row], day: int) -> None:
    whole = computed_rows(known_rows(rows), FEATURES)
    before = computed_rows(known_rows([row for row in rows if row[0] + row[1] <= day]), FEATURES)
    since = computed_rows(known_rows(rows), FEATURES, after_ns=day * DAY)
    np.testing.assert_array_equal(np.concatenate([before.created_ns, since.created_ns]), whole.created_ns)
    np.testing.assert_array_equal(np.concatenate([before.values, since.values]), whole.values)


def test_a_feature_cannot_write_into_what_is_known() -> None:
    def cheat(a: npt.NDArray[np.float64]) -> float:
        a[0] = 5.0
        return 1.0

    cheating = TableFeature("x", "g", cheat, {"a": Window("t", "a")}, {}, "1", 0, 1, "", "", "")
    with pytest.raises(ValueError, match="read-only"):
        computed_rows(known_rows([(0, 0, 1.0, 1.0)]), (cheating,))
