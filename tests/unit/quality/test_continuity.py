"""Continuity against a plain walk over the row times."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from market.clock import SECOND_NS, format_iso
from quality.continuity import Continuity, ContinuityRules, ContinuityTally, VaryingTally

RULES = ContinuityRules(max_gap_ratio=5.0, min_coverage=0.8, critical_gap_ns=60 * SECOND_NS)


def check(seconds: list[int], end: int, interval: int = 1, cuts: Sequence[int] = ()) -> Continuity:
    tally = ContinuityTally(
        "BTCUSDT train", start_ns=0, end_ns=end * SECOND_NS, interval_ns=interval * SECOND_NS, rules=RULES
    )
    for piece in np.split(np.array(seconds, np.int64) * SECOND_NS, sorted(cuts)):
        tally.add(piece)
    return tally.finish()


@given(st.sets(st.integers(0, 199), min_size=1), st.integers(1, 4), st.lists(st.integers(0, 200), max_size=5))
def test_gaps_are_the_steps_longer_than_the_ratio_and_coverage_the_share_of_rows_cut_anywhere(
    present: set[int], interval: int, cuts: list[int]
) -> None:
    seconds = sorted(second for second in present if second % interval == 0)
    # Rows outside the period are those of another.
    found = check([-7, *seconds, 200, 207], 200, interval, cuts).document
    edges = [0, *seconds, 200]
    steps = [(edges[at], edges[at + 1]) for at in range(len(edges) - 1)]
    gaps = [(one, other) for one, other in steps if other - one > (5 * interval if seconds else 0)]
    assert found["gap_count"] == len(gaps)
    assert found["gap_locations"] == [
        {
            "start": format_iso(one * SECOND_NS),
            "end": format_iso(other * SECOND_NS),
            "seconds": other - one,
        }
        for one, other in gaps[:10]
    ]
    assert found["largest_gap_seconds"] == max((other - one for one, other in gaps), default=0)
    assert found["actual_coverage_ratio"] == len(seconds) / len(range(0, 200, interval))


def test_a_whole_period_has_nothing_to_tell() -> None:
    found = check(list(range(100)), 100)
    assert (found.document["actual_coverage_ratio"], found.document["gap_count"], found.warnings) == (1.0, 0, ())


def test_a_period_without_rows_is_one_gap() -> None:
    found = check([], 100)
    assert (found.document["actual_coverage_ratio"], found.document["largest_gap_seconds"], found.is_critical) == (
        0.0,
        100,
        True,
    )


def test_low_coverage_and_critical_gaps_are_told() -> None:
    found = check([*range(20), *range(80, 100)], 100)
    assert found.is_critical
    assert (found.document["critical_gaps_count"], found.document["warnings_count"]) == (1, 2)
    assert found.warnings == (
        "BTCUSDT train: coverage must be 0.8 or more, was 0.4000",
        "BTCUSDT train: gaps must be shorter than 60 s, was 61 s",
    )


def test_the_largest_gap_has_its_place_and_every_day_its_coverage() -> None:
    day = 86_400
    seconds = [*range(day - 20, day, 2), *range(day + 5, day + 20)]
    tally = ContinuityTally(
        "BTCUSDT train",
        start_ns=(day - 20) * SECOND_NS,
        end_ns=(day + 20) * SECOND_NS,
        interval_ns=SECOND_NS,
        rules=RULES,
    )
    tally.add(np.array(seconds, np.int64) * SECOND_NS)
    found = tally.finish().document
    assert (found["largest_gap_start"], found["largest_gap_end"]) == (
        "1970-01-01T23:59:58Z",
        "1970-01-02T00:00:05Z",
    )
    assert found["coverage_by_period"] == {"1970-01-01": 0.5, "1970-01-02": 0.75}
    whole = check(list(range(100)), 100).document
    assert (whole["largest_gap_start"], whole["largest_gap_end"]) == (None, None)


def check_varying(seconds: list[int], end: int, rules: ContinuityRules) -> Continuity:
    tally = VaryingTally("BTCUSDT train", start_ns=0, end_ns=end * SECOND_NS, rules=rules)
    for piece in np.split(np.array([-9, *seconds, end + 1], np.int64) * SECOND_NS, [3, 5]):
        tally.add(piece)
    return tally.finish()


def test_events_are_held_to_the_median_of_their_steps_and_to_no_coverage() -> None:
    seconds = [0, 2, 4, 6, 7, 90, 92, 94, 96, 98]
    found = check_varying(seconds, 100, RULES)
    assert found.document["is_interval_detected"]
    assert found.document["expected_interval_seconds"] == 2.0
    assert (found.document["gap_count"], found.document["largest_gap_seconds"]) == (1, 83)
    assert found.document["actual_coverage_ratio"] == 0.2
    assert found.warnings == ("BTCUSDT train: gaps must be shorter than 60 s, was 83 s",)
    assert found.is_critical


def test_an_interval_that_is_not_detected_is_that_of_the_rules() -> None:
    rules = dataclasses.replace(RULES, detects_interval=False, expected_interval_ns=5 * SECOND_NS)
    found = check_varying([0, 5, 10], 100, rules)
    assert not found.document["is_interval_detected"]
    assert (found.document["expected_timestamps_count"], found.document["actual_coverage_ratio"]) == (20, 0.15)
    assert found.warnings[0] == "BTCUSDT train: coverage must be 0.8 or more, was 0.1500"


def test_one_event_has_no_step_to_detect_an_interval_by() -> None:
    found = check_varying([50], 100, dataclasses.replace(RULES, expected_interval_ns=10 * SECOND_NS))
    assert not found.document["is_interval_detected"]
    assert found.document["expected_timestamps_count"] == 10
