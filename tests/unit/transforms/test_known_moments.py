"""Features of a moment are those of what was known at it: a naive replay agrees, at every moment, and nothing later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from market.clock import DAY_NS
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.known_moments import Place, moment_rows
from transforms.known_rows import ComputedRows, KnownRows
from transforms.table_feature import TableFeature, Window


def weighted(*series: npt.NDArray[np.float64]) -> float:
    return sum(float(values @ np.arange(1.0, 1 + len(values))) for values in series)


def feature(name: str, **sees: Window) -> TableFeature:
    return TableFeature(name, "g", weighted, sees, {}, "1", -math.inf, math.inf, "", "", "")


FEATURES = (
    feature("two tables", one=Window("a", "x", 2), other=Window("b", "x")),
    feature("lately", one=Window("a", "x", 0, "3d")),
    feature("fresh", one=Window("b", "x", 1, "2d")),
    feature("dated", one=Window("b", "event_ns")),
    feature("for all", one=Window("b", "x", key="SPY")),
)
PLACES: tuple[Place, ...] = (("a", ""), ("b", ""), ("b", "SPY"))
Row = tuple[int, int, int, float]
"""Event day, days until it is known, item, number."""
ROWS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 4), st.integers(0, 1), st.sampled_from([1.0, 2.0, 5.0])), max_size=8
)


def known_rows(rows: Sequence[Row]) -> KnownRows:
    unique = {(event, event + lag, item): (event, lag, item, x) for event, lag, item, x in rows}
    of = [np.array([row[at] for row in unique.values()], np.int64) for at in range(3)]
    x = np.array([row[3] for row in unique.values()], float)
    return KnownRows(of[0] * DAY_NS, (of[0] + of[1]) * DAY_NS, {"x": x}, of[2] if of[2].any() else None)


def as_known(rows: Sequence[Row], day: int) -> list[tuple[int, float]]:
    """The last that was said of each event and item until a day, by going through all rows."""
    said: dict[tuple[int, int], float] = {}
    for event, lag, item, x in sorted(rows, key=lambda row: row[0] + row[1]):
        if event + lag <= day:
            said[event, item] = x
    return [(event, x) for (event, _), x in sorted(said.items())]


def expected(tables: dict[Place, list[Row]], day: int) -> list[float]:
    one, other, spy = (as_known(tables[place], day) for place in PLACES)
    x, y, z = ([number for _, number in rows] for rows in (one, other, spy))
    return [
        x[-2] + 2 * x[-1] + y[-1] if len(x) >= 2 and y else math.nan,
        weighted(np.array([number for event, number in one if event > day - 3])),
        y[-1] if y and other[-1][0] > day - 2 else math.nan,
        float(other[-1][0] * DAY_NS) if other else math.nan,
        z[-1] if z else math.nan,
    ]


def computed(tables: dict[Place, list[Row]], *, until: int = 20, after: int | None = None) -> ComputedRows:
    rows = {place: known_rows(given) for place, given in tables.items()}
    after_ns = None if after is None else after * DAY_NS
    return moment_rows(rows, FEATURES, until_ns=until * DAY_NS, after_ns=after_ns)


TABLES = st.fixed_dictionaries(dict.fromkeys(PLACES, ROWS))


@given(TABLES)
def test_an_answer_as_of_a_day_is_that_of_what_was_known_on_it(tables: dict[Place, list[Row]]) -> None:
    found = computed(tables)
    for day in range(20):
        at = int(np.searchsorted(found.created_ns, day * DAY_NS, side="right")) - 1
        if at < 0:
            assert all(not as_known(rows, day) for rows in tables.values())
        else:
            np.testing.assert_array_equal(found.values[at], expected(tables, day))


@given(TABLES, TABLES, st.integers(0, 12))
def test_what_becomes_known_later_changes_no_row_before(
    tables: dict[Place, list[Row]], others: dict[Place, list[Row]], day: int
) -> None:
    past = {place: [row for row in rows if row[0] + row[1] <= day] for place, rows in tables.items()}
    changed = {place: past[place] + [row for row in others[place] if row[0] + row[1] > day] for place in tables}
    one, other = (computed(each, until=day) for each in (tables, changed))
    np.testing.assert_array_equal(one.created_ns, other.created_ns)
    np.testing.assert_array_equal(one.values, other.values)


@given(TABLES, st.integers(0, 12))
def test_moments_are_computed_from_where_it_was(tables: dict[Place, list[Row]], day: int) -> None:
    whole, before, since = computed(tables), computed(tables, until=day), computed(tables, after=day)
    np.testing.assert_array_equal(np.concatenate([before.created_ns, since.created_ns]), whole.created_ns)
    np.testing.assert_array_equal(np.concatenate([before.values, since.values]), whole.values)


def companys_tables() -> dict[Place, KnownRows]:
    """Six years of a company: bars with splits, prices of 0 and gaps; reports with restatements, losses and lacks."""
    drawn = np.random.default_rng(3)
    day = np.arange(1500, dtype=np.int64) * DAY_NS
    bars = {"close": drawn.uniform(5.0, 50.0, 1500), "split_ratio": np.ones(1500)}
    bars["split_ratio"][drawn.integers(0, 1500, 9)] = drawn.choice([0.1, 3.0, 7.0, math.nan], 9)
    bars["close"][drawn.integers(0, 1500, 9)] = drawn.choice([0.0, math.nan], 9)
    is_there = (day < 700 * DAY_NS) | (day > 720 * DAY_NS)
    quarter = np.arange(-8, 16, dtype=np.int64) * 91 * DAY_NS
    quarter = np.delete(quarter, 14)
    order = np.concatenate([np.arange(len(quarter)), np.arange(0, len(quarter), 3)])
    published = quarter[order] + drawn.integers(20, 60, len(order)) * DAY_NS
    published[len(quarter) :] += 60 * DAY_NS
    reports = {
        name: drawn.uniform(-2.0 if name in ("net_income", "equity") else 0.5, 20.0, len(order))
        for name in ("revenue", "net_income", "equity", "total_assets", "total_debt", "shares_outstanding")
    }
    reports["revenue"][7] = math.nan
    bar_rows = {name: held[is_there] for name, held in bars.items()}
    return {
        ("daily_bars", ""): KnownRows(day[is_there], day[is_there] + DAY_NS, bar_rows),
        ("reports", ""): KnownRows(quarter[order], published, reports),
    }


def test_many_moments_at_once_have_the_bits_of_a_call_for_each() -> None:
    features = TABLE_GROUPS["fundamental_features"].features
    alone = [
        replace(each, function=lambda *seen, of=each.function, **parameters: of(*seen, **parameters))
        for each in features
    ]  # of another module: called for each
    tables = companys_tables()
    found, expected = (moment_rows(tables, of, until_ns=1600 * DAY_NS) for of in (features, alone))
    np.testing.assert_array_equal(found.created_ns, expected.created_ns)
    assert found.values.view(np.int64).tolist() == expected.values.view(np.int64).tolist()
    assert (np.isfinite(found.values).mean(axis=0) > 0.1).all()
