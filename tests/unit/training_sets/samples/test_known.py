"""What a model has at a sample: the row of its time, from the moment at which that arrived, unless it came too late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, MILLISECOND_NS, SECOND_NS
from storage.features.log import FeatureLog, FeatureLogWriter
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.known import NO_ROW, TOO_LATE, Lags, arrivals, came_too_late
from training_sets.samples.prices import MID
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

DELAYS_NS = st.sampled_from(
    (0, 10 * MILLISECOND_NS, SECOND_NS - 1, SECOND_NS, SECOND_NS + 10 * MILLISECOND_NS, 5 * SECOND_NS)
) | st.sampled_from((LONGEST_LAG_NS, LONGEST_LAG_NS + 1, 2 * LONGEST_LAG_NS))


@example({0: SECOND_NS, 1: 0})  # both can be read at one moment
@given(st.dictionaries(st.integers(0, 90), DELAYS_NS, min_size=1))
def test_a_row_is_too_late_when_a_newer_one_can_be_read_no_later_or_its_time_to_live_is_over(
    delays: dict[int, int],
) -> None:
    rows = sorted((second * SECOND_NS, second * SECOND_NS + delay) for second, delay in delays.items())
    row_ns, available_ns = np.array(rows, np.int64).T
    expected = [
        had_ns > time_ns + LONGEST_LAG_NS
        or any(time_ns < newer_ns <= had_ns and newer_had_ns <= had_ns for newer_ns, newer_had_ns in rows)
        for time_ns, had_ns in rows
    ]
    assert came_too_late(row_ns, available_ns, available_ns).tolist() == expected


def test_a_row_that_came_late_alone_is_acted_on_when_it_came() -> None:
    row_ns = np.array([10, 20], np.int64) * SECOND_NS
    had_ns = row_ns + 5 * SECOND_NS
    assert came_too_late(row_ns, had_ns, had_ns).tolist() == [False, False]


def had(versions: dict[int, list[int]], second: int) -> tuple[int, int]:
    """What a sample at a second has, of when each version of each row could be read: the rule, row by row."""
    time_ns = second * SECOND_NS
    of_row = [time_ns + delay_ns for delay_ns in versions.get(second, [])]
    for had_ns in (max(of_row), min(of_row)) if of_row else ():
        newer = (
            other * SECOND_NS <= had_ns and other * SECOND_NS + min(delays) <= had_ns
            for other, delays in versions.items()
            if other > second
        )
        if had_ns <= time_ns + LONGEST_LAG_NS and not any(newer):
            return time_ns, had_ns
    return (TOO_LATE if of_row else NO_ROW), time_ns


@settings(max_examples=30)
@given(
    st.dictionaries(st.integers(0, 150), st.lists(DELAYS_NS, min_size=1, max_size=3), min_size=1, max_size=20),
    st.lists(st.integers(0, 150), min_size=1, max_size=6),
)
@example({0: [50 * SECOND_NS], 40: [MILLISECOND_NS, 40 * SECOND_NS]}, [0])  # what was had by then was revised after
@example({0: [50 * SECOND_NS], 40: [MILLISECOND_NS, 40 * SECOND_NS], 70: [0]}, [0, 70])
def test_what_a_sample_has_is_the_same_however_its_times_are_cut_into_readings(
    tmp_path_factory: pytest.TempPathFactory, versions: dict[int, list[int]], asked: list[int]
) -> None:
    group = FeatureGroup("price", "aaaa", ("mid",), (0,))
    chosen = FeatureSet("1.0.0", ("mid",), (group,), "cccc")
    root = tmp_path_factory.mktemp("features")
    begin_ns = 20_000 * DAY_NS
    for version in range(max(map(len, versions.values()))):
        rows = sorted((second, delays[version]) for second, delays in versions.items() if version < len(delays))
        seconds, delays_ns = np.array(rows, np.int64).T
        row_ns = begin_ns + seconds * SECOND_NS
        values, status = np.zeros((len(rows), 1)), np.zeros((len(rows), 1), np.int8)
        with FeatureLogWriter(root) as writer:
            writer.append(FeatureRows("BTCUSDT", chosen, row_ns, values, status), row_ns + delays_ns)
    log = FeatureLog(root)
    wanted = sorted(set(asked))
    expected = [
        (row_ns + begin_ns if row_ns >= 0 else row_ns, had_ns + begin_ns)
        for row_ns, had_ns in (had(versions, second) for second in wanted)
    ]
    times_ns = begin_ns + np.array(wanted, np.int64) * SECOND_NS
    for cut in ([times_ns], np.split(times_ns, len(times_ns))):
        found = [arrivals(log, chosen, "BTCUSDT", each) for each in cut]
        told = [tuple(pair) for row_ns, had_ns in found for pair in zip(row_ns.tolist(), had_ns.tolist(), strict=True)]
        assert told == expected


def test_a_row_that_was_revised_later_is_had_as_it_was_known_first(tmp_path: Path) -> None:
    row_ns = np.arange(3, dtype=np.int64) * SECOND_NS
    rows = FeatureRows("BTCUSDT", MID, row_ns, np.ones((3, 1)), np.zeros((3, 1), np.int8))
    with FeatureLogWriter(tmp_path) as writer:
        for lag_ns in (10 * MILLISECOND_NS, 2 * LONGEST_LAG_NS):
            writer.append(rows, row_ns + lag_ns)
            writer.flush()
    found_ns, had_ns = arrivals(FeatureLog(tmp_path), MID, "BTCUSDT", row_ns)
    assert found_ns.tolist() == row_ns.tolist()
    assert had_ns.tolist() == (row_ns + 10 * MILLISECOND_NS).tolist()


def test_lags_do_not_depend_on_how_the_samples_are_cut() -> None:
    lags_ns = np.array([10, 3, 80, 7], np.int64) * MILLISECOND_NS
    whole, pieces = Lags(), Lags()
    whole.add(lags_ns)
    for piece in (lags_ns[:1], lags_ns[1:1], lags_ns[1:]):
        pieces.add(piece)
    assert whole.document() == pieces.document() == {"least": 3.0, "mean": 25.0, "most": 80.0}
    assert Lags().document() is None
