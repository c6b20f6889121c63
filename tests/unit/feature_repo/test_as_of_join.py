"""The point-in-time join against a reader that tries every row for every question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.as_of_join import (
    NO_GROUP,
    NO_ROW,
    NULL_NS,
    Int64Array,
    as_of_positions,
    group_rows,
    newest_positions,
    oldest_ns,
    sorting_order,
    times_ns,
    utc_times,
)
from market.errors import InvalidRequest

BERLIN = ZoneInfo("Europe/Berlin")
US = 1_000
TTL = 5 * US
LIMITS = st.sampled_from([None, 0, 1, TTL - 1, TTL, TTL + 1])
# Few values, so that ties are the rule, and each edge of the TTL with its neighbours on both sides.
TIMES = st.sampled_from([base + off for base in (0, TTL, 2 * TTL) for off in (-US, -1, 0, 1, US)])
# Mostly one group: rows of other groups say little about each other.
GROUPS = st.sampled_from([0, 0, 0, 0, 1, NO_GROUP])
CREATED = st.one_of(TIMES, TIMES, st.just(NULL_NS))
ROWS = st.lists(st.tuples(GROUPS, st.one_of(TIMES, TIMES, st.just(NULL_NS)), CREATED), max_size=12)
ENTITIES = st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2, NO_GROUP]), TIMES), min_size=1, max_size=12)

Row = tuple[int, int, int]


def find_slowly(group: int, t: int, rows: list[Row], *, ttl_ns: int | None, bitemporal: bool) -> int:
    """The newest row that may be known at t, by trying all of them."""
    best: tuple[int, int, int] | None = None
    for position, (row_group, event, created) in enumerate(rows):
        known = event if created == NULL_NS else created
        if row_group != group or NO_GROUP in {group, row_group} or event == NULL_NS or event > t:
            continue
        if (bitemporal and known > t) or (ttl_ns is not None and t - event > ttl_ns):
            continue
        best = max(best or (event, known, position), (event, known, position))
    return NO_ROW if best is None else best[2]


def column(rows: list[Row], index: int) -> Int64Array:
    return np.array([row[index] for row in rows], np.int64)


def find(
    entities: list[tuple[int, int]], rows: list[Row], *, ttl_ns: int | None = None, bitemporal: bool = True
) -> list[int]:
    found = as_of_positions(
        np.array([group for group, _ in entities], np.int64),
        np.array([t for _, t in entities], np.int64),
        row_group=column(rows, 0),
        event_ns=column(rows, 1),
        created_ns=column(rows, 2),
        ttl_ns=ttl_ns,
        bitemporal=bitemporal,
    )
    return [int(position) for position in found]


@settings(max_examples=1000)
@given(
    entities=ENTITIES, rows=ROWS, ttl_ns=st.sampled_from([None, 0, 1, TTL - 1, TTL, TTL + 1]), bitemporal=st.booleans()
)
def test_the_join_finds_what_trying_every_row_finds(
    entities: list[tuple[int, int]], rows: list[Row], *, ttl_ns: int | None, bitemporal: bool
) -> None:
    expected = [find_slowly(group, t, rows, ttl_ns=ttl_ns, bitemporal=bitemporal) for group, t in entities]
    assert find(entities, rows, ttl_ns=ttl_ns, bitemporal=bitemporal) == expected


@given(ROWS)
def test_the_newest_row_of_a_group_is_the_one_that_the_join_finds_at_the_end_of_time(rows: list[Row]) -> None:
    rows = [row for row in rows if row[0] != NO_GROUP and row[1] != NULL_NS]
    groups = sorted({row[0] for row in rows})
    at_the_end = find([(group, 2**62) for group in groups], rows, bitemporal=False)
    newest = newest_positions(column(rows, 0), column(rows, 1), column(rows, 2))
    assert newest.tolist() == sorted(at_the_end)


@pytest.mark.parametrize("count", [16, 10_000])
def test_of_many_restatements_in_random_order_the_last_one_known_is_found(count: int) -> None:
    created = np.random.default_rng(count).permutation(count) + 1
    asked = np.arange(count + 2)
    zeros = np.zeros(count, np.int64)
    found = as_of_positions(
        np.zeros(count + 2, np.int64),
        asked,
        row_group=zeros,
        event_ns=zeros,
        created_ns=created,
        ttl_ns=None,
        bitemporal=True,
    )
    assert found[0] == NO_ROW
    assert created[found[1:]].tolist() == np.minimum(asked[1:], count).tolist()


def test_without_a_creation_time_a_row_is_known_at_its_event() -> None:
    found = as_of_positions(
        np.zeros(3, np.int64),
        np.array([4, 5, 6]),
        row_group=np.zeros(2, np.int64),
        event_ns=np.array([5, 5]),
        created_ns=None,
        ttl_ns=None,
        bitemporal=True,
    )
    assert found.tolist() == [NO_ROW, 1, 1]


def test_a_restatement_of_an_old_event_does_not_hide_a_newer_event() -> None:
    rows = [(0, 10, 10), (0, 20, 20), (0, 10, 30), (0, 20, 40)]
    assert find([(0, 15), (0, 25), (0, 35), (0, 40)], rows) == [0, 1, 1, 3]


def test_a_row_of_age_exactly_ttl_is_found_and_one_nanosecond_older_is_not() -> None:
    assert find([(0, TTL - 1), (0, TTL), (0, TTL + 1)], [(0, 0, 0)], ttl_ns=TTL) == [0, 0, NO_ROW]


def test_the_age_limit_stays_inside_int64() -> None:
    assert oldest_ns(np.array([5, NULL_NS + 1]), 2**70).tolist() == [5 - (2**63 - 1), NULL_NS]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, 3, None])), max_size=8))
def test_rows_are_of_one_group_exactly_when_all_their_keys_are_equal(keys: list[tuple[str | None, int | None]]) -> None:
    texts = pa.chunked_array([pa.array([key[0] for key in keys], pa.string())])
    numbers = pa.chunked_array([pa.array([key[1] for key in keys], pa.int64())])
    group = group_rows([texts, numbers], len(keys))
    for i, one in enumerate(keys):
        assert (group[i] == NO_GROUP) == (None in one)
        for j, other in enumerate(keys):
            if None not in one and None not in other:
                assert (group[i] == group[j]) == (one == other)


def test_without_keys_all_rows_are_one_group() -> None:
    assert group_rows([], 3).tolist() == [0, 0, 0]


def test_keys_keep_their_group_over_chunks() -> None:
    chunks = pa.chunked_array([pa.array(["a", "b"]), pa.array(["b", "a"])])
    group = group_rows([chunks], 4)
    assert (group[0], group[1]) == (group[3], group[2])
    assert group[0] != group[1]


@pytest.mark.parametrize(
    "times",
    [
        pd.Series(pd.to_datetime(["2026-07-01 12:00", "2026-01-01 12:00"])),
        pd.Series([datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 12, tzinfo=UTC)]),
        pd.Series(pd.to_datetime(["2026-07-01 08:00", "2026-01-01 07:00"])).dt.tz_localize("America/New_York"),
        pd.Series(["2026-07-01T12:00:00Z", "2026-01-01 14:00:00+02:00"]),
        pd.Series(
            [datetime(2026, 7, 1, 14, tzinfo=ZoneInfo("Europe/Berlin")), pd.Timestamp("2026-01-01 12:00")], dtype=object
        ),
        pd.Series(pd.to_datetime(["2026-07-01 12:00", "2026-01-01 12:00"]).as_unit("s")),
    ],
    ids=["naive", "utc", "zone with summer time", "text", "mixed objects", "seconds"],
)
def test_all_spellings_of_a_moment_are_the_same_moment(times: pd.Series[pd.Timestamp]) -> None:
    expected = [pd.Timestamp("2026-07-01 12:00", tz="UTC"), pd.Timestamp("2026-01-01 12:00", tz="UTC")]
    assert utc_times(times, "t").tolist() == expected


def test_both_hours_of_the_night_when_summer_time_ends_stay_apart() -> None:
    night = [datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)]
    first, second = utc_times(pd.Series(night), "t")
    assert second - first == timedelta(hours=1)


@pytest.mark.parametrize(
    "times",
    [pd.Series([1, 2]), pd.Series(["yesterday"]), pd.Series([True]), pd.Series([pd.Timestamp("2026-01-01"), pd.NaT])],
    ids=["numbers", "words", "bools", "null"],
)
def test_what_is_no_moment_is_refused_by_name(times: pd.Series[pd.Timestamp]) -> None:
    with pytest.raises(InvalidRequest, match=r"entity_df\.when"):
        utc_times(times, "entity_df.when")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.timestamp("s"), 1),
        (pa.timestamp("us", "UTC"), 1_000_000),
        (pa.timestamp("ns", "Asia/Tokyo"), 1_000_000_000),
    ],
)
def test_a_stored_time_is_the_same_nanosecond_in_every_unit_and_zone(kind: pa.DataType, value: int) -> None:
    stored = pa.chunked_array([pa.array([value, None], pa.int64()).cast(kind)])
    assert times_ns(stored, "t").tolist() == [1_000_000_000, NULL_NS]


@pytest.mark.parametrize(
    "stored",
    [pa.array([1]), pa.array(["2026-01-01"]), pa.array([2**60], pa.timestamp("us"))],
    ids=["number", "text", "beyond int64"],
)
def test_a_column_that_holds_no_times_is_refused_by_name(stored: pa.Array[Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"source\.t: "):
        times_ns(pa.chunked_array([stored]), "source.t")


def test_a_date_is_its_first_moment_in_utc() -> None:
    stored = pa.chunked_array([pa.array([datetime(1970, 1, 2, tzinfo=UTC).date()])])
    assert times_ns(stored, "t").tolist() == [86_400_000_000_000]


@pytest.mark.parametrize("count", [1, 2, 20, 3_000])
def test_equal_keys_are_ordered_by_position(count: int) -> None:
    keys = np.random.default_rng(count).integers(-3, 3, (2, count))
    order = sorting_order(*keys)
    assert order.tolist() == sorted(range(count), key=lambda at: (int(keys[0, at]), int(keys[1, at])))
