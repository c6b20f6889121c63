"""A table with revisions, late rows, splits and a changing universe, against knowledge replayed day by day."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS
from tests.examples import examples
from transforms.cross_section import SectionFeature, rank
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.known_rows import ComputedRows, KnownRows
from transforms.table_group import TableGroup

Row = tuple[str, int, int, float, float, float]
"""Key, event day, days until it is known, close, split ratio, dividend."""
RETURNS = next(each for each in TABLE_GROUPS["price_volume_features"].features if each.name == "returns_5d")
MEMBERS = SectionFeature(
    "rank_of_members",
    "g",
    lambda returns_5d, is_member: rank(np.where(is_member > 0, returns_5d, math.nan)),
    ("returns_5d", "is_member"),
    "1",
    0.0,
    1.0,
    "",
    "",
    "",
)
GROUP = TableGroup("g", (RETURNS,), (MEMBERS,), 1, 1)
FIRST_DAYS = {"A": 0, "B": 0, "C": 3}
LAST_DAYS = {"A": 12, "B": 8, "C": 12}  # B is delisted, C comes later
ROWS = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.integers(0, 11),
        st.sampled_from([0, 0, 0, 0, 1, 2, 5]),
        st.sampled_from([50.0, 99.0, 100.0, 101.0, 200.0]),
        st.sampled_from([1.0, 1.0, 1.0, 2.0, 0.5]),
        st.sampled_from([0.0, 0.0, 1.0]),
    ),
    min_size=12,
    max_size=45,
)


def within_universe(rows: Sequence[Row]) -> list[Row]:
    """Rows of days on which their key is listed; of one key, day and known day the last counts."""
    listed = [row for row in rows if FIRST_DAYS[row[0]] <= row[1] < LAST_DAYS[row[0]]]
    return list({(row[0], row[1], row[2]): row for row in listed}.values())


def is_member(key: str, day: int) -> float:
    """C joins the index on its sixth day."""
    return float(key != "C" or day >= 6)


def computed(rows: Sequence[Row]) -> dict[str, ComputedRows]:
    table = {}
    for key in sorted({row[0] for row in rows}):
        of_key = [row for row in rows if row[0] == key]
        event = np.array([row[1] for row in of_key], np.int64)
        known = event + np.array([row[2] for row in of_key], np.int64)
        columns = {name: np.array([row[at] for row in of_key]) for name, at in NUMBERS.items()}
        columns["is_member"] = np.array([is_member(key, row[1]) for row in of_key])
        table[key] = KnownRows(event * DAY_NS, known * DAY_NS, columns)
    return GROUP.computed({"daily_bars": table}, until_ns=100 * DAY_NS)


NUMBERS: Mapping[str, int] = {"close": 3, "split_ratio": 4, "dividend": 5}


def naive(rows: Sequence[Row], day: int) -> dict[str, tuple[int, float, float]]:
    """By key its newest known day, its return and its rank among the members of that day, in plain Python."""
    said: dict[str, dict[int, Row]] = {}
    for row in sorted(rows, key=lambda row: row[1] + row[2]):
        if row[1] + row[2] <= day:
            said.setdefault(row[0], {})[row[1]] = row
    returns = {}
    for key, of_key in said.items():
        held = [of_key[event] for event in sorted(of_key)][-6:]
        growth = 1.0 if len(held) == 6 else math.nan
        for before, after in pairwise(held):
            growth *= (after[3] + after[5]) * after[4] / before[3]
        returns[key] = growth - 1.0
    newest = {key: max(of_key) for key, of_key in said.items()}
    latest = max(newest.values(), default=-1)
    known = {
        key: value
        for key, value in returns.items()
        if newest[key] == latest and not math.isnan(value) and is_member(key, latest)
    }
    ranks = {
        key: (
            sum(other < value for other in known.values()) + sum(other == value for other in known.values()) / 2 - 0.5
        )
        / (len(known) - 1)
        if len(known) > 1
        else math.nan
        for key, value in known.items()
    }
    return {key: (newest[key], returns[key], ranks.get(key, math.nan)) for key in said}


def answers(found: Mapping[str, ComputedRows], day: int) -> dict[str, tuple[int, float, float]]:
    """Of each key the newest event's newest row that was created until a day."""
    answered = {}
    for key, rows in found.items():
        places = np.flatnonzero(rows.created_ns <= day * DAY_NS)
        if len(places):
            at = max(places.tolist(), key=lambda at, rows=rows: (rows.event_ns[at], rows.created_ns[at]))  # type: ignore[misc]
            answered[key] = (int(rows.event_ns[at] // DAY_NS), *rows.values[at].tolist())
    return answered


def assert_as_replayed(rows: Sequence[Row]) -> None:
    found = computed(rows)
    for day in range(18):
        expected, answered = naive(rows, day), answers(found, day)
        assert expected.keys() == answered.keys()
        latest = max((event for event, _, _ in expected.values()), default=-1)
        for key, (event, growth, place) in expected.items():
            assert answered[key][0] == event
            assert answered[key][1] == pytest.approx(growth, abs=1e-12, nan_ok=True)
            if event == latest:  # of an older day it keeps the answer of its own
                assert answered[key][2] == pytest.approx(place, abs=1e-12, nan_ok=True)


def assert_later_knowledge_changes_nothing(rows: Sequence[Row], others: Sequence[Row], day: int) -> None:
    past = [row for row in rows if row[1] + row[2] <= day]
    changed = [*past, *(row for row in others if row[1] + row[2] > day)]
    one, other = computed(rows), computed(changed)
    for at in range(day + 1):
        assert repr(answers(one, at)) == repr(answers(other, at))


@settings(max_examples=examples(60))
@given(ROWS)
def test_an_answer_is_that_of_knowledge_replayed_day_by_day(rows: list[Row]) -> None:
    assert_as_replayed(within_universe(rows))


@settings(max_examples=examples(40))
@given(ROWS, ROWS, st.integers(0, 14))
def test_later_knowledge_changes_nothing_earlier(rows: list[Row], others: list[Row], day: int) -> None:
    assert_later_knowledge_changes_nothing(within_universe(rows), within_universe(others), day)


@pytest.mark.soak
@settings(max_examples=10_000)
@given(ROWS, ROWS, st.integers(0, 14))
def test_both_hold_in_ten_thousand_draws(rows: list[Row], others: list[Row], day: int) -> None:
    assert_as_replayed(within_universe(rows))
    assert_later_knowledge_changes_nothing(within_universe(rows), within_universe(others), day)
