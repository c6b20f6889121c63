"""Time conversions are exact and the clock can be told the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    ManualClock,
    SystemClock,
    ceil_to,
    floor_to,
    format_iso,
    format_period,
    parse_duration_ns,
    parse_iso_ns,
    to_datetime,
    to_ns,
    utc_date,
)

times = st.integers(-(10**18), 4 * 10**18)
steps = st.sampled_from((1, 1_000, SECOND_NS, MINUTE_NS, DAY_NS, 7 * SECOND_NS))


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [("1s", SECOND_NS), ("90s", 90 * SECOND_NS), ("15m", 15 * MINUTE_NS), ("24h", 24 * HOUR_NS), ("7d", 7 * DAY_NS)],
)
def test_a_duration_is_an_integer_and_a_unit(text: str, duration_ns: int) -> None:
    assert parse_duration_ns(text) == duration_ns


@pytest.mark.parametrize("text", ["", "s", "0s", "1", "1.5m", "-3s", " 3s", "3s ", "3S", "1w", "3s\n"])
def test_another_form_of_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^duration: must be a positive <int><s\|m\|h\|d>, was "):
        parse_duration_ns(text)


@given(time_ns=times, step_ns=steps)
def test_floor_and_ceiling_are_the_nearest_multiples_around_a_time(time_ns: int, step_ns: int) -> None:
    floor_ns, ceil_ns = floor_to(time_ns, step_ns), ceil_to(time_ns, step_ns)
    assert floor_ns % step_ns == ceil_ns % step_ns == 0
    assert time_ns - step_ns < floor_ns <= time_ns <= ceil_ns < time_ns + step_ns


@given(time_us=st.integers(-(10**15), 4 * 10**15))
def test_a_time_of_whole_microseconds_survives_a_datetime_and_an_iso_text(time_us: int) -> None:
    time_ns = time_us * 1_000
    assert to_ns(to_datetime(time_ns)) == time_ns
    assert parse_iso_ns(format_iso(time_ns)) == time_ns


@given(time_ns=times)
def test_a_datetime_never_runs_ahead_of_its_time(time_ns: int) -> None:
    assert 0 <= time_ns - to_ns(to_datetime(time_ns)) < 1_000
    assert to_datetime(time_ns).tzinfo is UTC


def test_a_naive_datetime_means_utc_and_an_offset_is_kept() -> None:
    aware = datetime(2024, 12, 1, 2, 0, tzinfo=timezone(timedelta(hours=2)))
    assert to_ns(aware) == to_ns(datetime(2024, 12, 1)) == 1_733_011_200 * SECOND_NS  # noqa: DTZ001  # naive on purpose
    assert parse_iso_ns("2024-12-01T02:00:00+02:00") == parse_iso_ns("2024-12-01") == parse_iso_ns("2024-12-01T00:00Z")


def test_iso_text_has_microseconds_only_where_there_are_any() -> None:
    assert format_iso(1_733_011_200 * SECOND_NS) == "2024-12-01T00:00:00Z"
    assert format_iso(1_733_011_200 * SECOND_NS + 1_500) == "2024-12-01T00:00:00.000001Z"


def test_a_period_is_told_in_iso_times() -> None:
    assert format_period(0, None) == "1970-01-01T00:00:00Z to any time"


def test_the_utc_day_ends_just_before_midnight() -> None:
    assert utc_date(1_733_011_200 * SECOND_NS) == "2024-12-01"
    assert utc_date(1_733_011_200 * SECOND_NS - 1) == "2024-11-30"


def test_a_text_that_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        parse_iso_ns("yesterday")


def test_a_manual_clock_says_what_it_was_told() -> None:
    clock = ManualClock(5)
    assert clock.now_ns() == 5
    clock.set(3)
    assert clock.now_ns() == 3


def test_the_system_clock_counts_nanoseconds_since_1970() -> None:
    assert SystemClock().now_ns() > 1_700_000_000 * SECOND_NS


def test_a_time_is_read_to_the_nanosecond_and_no_finer() -> None:
    second = parse_iso_ns("2026-01-05T12:00:00")
    assert parse_iso_ns("2026-01-05T12:00:00.0000005Z") == second + 500
    assert parse_iso_ns("2026-01-05T13:00:00.123456789000+01:00") == second + 123_456_789
    with pytest.raises(ValueError, match="must be of whole nanoseconds, was"):
        parse_iso_ns("2026-01-05T12:00:00.1234567891")
