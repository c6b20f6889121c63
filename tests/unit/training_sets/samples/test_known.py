"""What a model has at a sample: the row of its time, from the moment at which that arrived, unless it came too late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from market.clock import MILLISECOND_NS, SECOND_NS
from storage.features.log import FeatureLog, FeatureLogWriter
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.known import Lags, arrivals, came_too_late
from training_sets.samples.prices import MID
from transforms.rows import FeatureRows

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
    assert came_too_late(row_ns, available_ns).tolist() == expected


def test_a_row_that_came_late_alone_is_acted_on_when_it_came() -> None:
    row_ns = np.array([10, 20], np.int64) * SECOND_NS
    assert came_too_late(row_ns, row_ns + 5 * SECOND_NS).tolist() == [False, False]


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
