"""Splits by time: no row is lost or doubled, and no label reaches into a later period."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.errors import InvalidRequest
from training_sets.splits import Period, check_periods, split_by_time

SECONDS = st.integers(0, 200)


@st.composite
def periods(draw: st.DrawFn) -> list[Period]:
    """Up to three periods in order; some touch, some leave a hole."""
    bounds = sorted(draw(st.sets(SECONDS, min_size=6, max_size=6)))
    touching = draw(st.booleans())
    names = ("train", "validation", "test")
    return [
        Period(name, bounds[2 * at] * SECOND_NS, bounds[2 * at + (2 if touching and at < 2 else 1)] * SECOND_NS)
        for at, name in enumerate(names)
    ]


@given(
    st.lists(SECONDS, max_size=300),
    periods(),
    st.integers(1, 50),
    st.booleans(),
    st.integers(0, 20),
)
def test_every_row_of_a_period_is_kept_purged_or_embargoed_and_none_is_in_two(
    seconds: list[int],
    wanted: list[Period],
    reach_s: int,
    purge: bool,  # noqa: FBT001  # drawn
    embargo_s: int,  # drawn
) -> None:
    times = np.array(seconds, np.int64) * SECOND_NS
    splits = split_by_time(
        times, wanted, label_reach_ns=reach_s * SECOND_NS, purge=purge, embargo_ns=embargo_s * SECOND_NS
    )
    for split in splits:
        inside = sum(split.period.start_ns <= time < split.period.end_ns for time in times.tolist())
        assert len(split.rows) + split.purged + split.embargoed == inside
    kept = np.concatenate([split.rows for split in splits])
    assert len(set(kept.tolist())) == len(kept)


@given(st.lists(SECONDS, max_size=300), periods(), st.integers(1, 50))
def test_with_purging_no_label_reaches_a_later_period(seconds: list[int], wanted: list[Period], reach_s: int) -> None:
    times = np.array(seconds, np.int64) * SECOND_NS
    splits = split_by_time(times, wanted, label_reach_ns=reach_s * SECOND_NS, purge=True, embargo_ns=0)
    for earlier, later in itertools.pairwise(splits):
        assert all(times[row] + reach_s * SECOND_NS < later.period.start_ns for row in earlier.rows)
        assert earlier.last_label_ns is None or earlier.last_label_ns < later.period.start_ns
        assert list(times[later.rows]) == sorted(times[later.rows])


def test_a_label_that_ends_on_the_first_moment_of_the_next_period_is_purged() -> None:
    times = np.array([8, 9, 10], np.int64) * SECOND_NS
    train, validation = split_by_time(
        times,
        [Period("train", 0, 10 * SECOND_NS), Period("validation", 10 * SECOND_NS, 20 * SECOND_NS)],
        label_reach_ns=SECOND_NS,
        purge=True,
        embargo_ns=0,
    )
    assert (train.rows.tolist(), train.purged) == ([0], 1)
    assert validation.rows.tolist() == [2]


def test_an_embargo_drops_the_first_rows_of_later_periods_only() -> None:
    times = np.arange(20, dtype=np.int64) * SECOND_NS
    train, validation = split_by_time(
        times,
        [Period("train", 0, 10 * SECOND_NS), Period("validation", 10 * SECOND_NS, 20 * SECOND_NS)],
        label_reach_ns=SECOND_NS,
        purge=False,
        embargo_ns=3 * SECOND_NS,
    )
    assert (len(train.rows), train.embargoed) == (10, 0)
    assert (validation.rows[0], validation.embargoed) == (13, 3)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([Period("train", 5, 5)], "train period: must end after it starts"),
        ([Period("train", 0, 10), Period("test", 9, 20)], "test period: must not start before train"),
    ],
)
def test_periods_that_run_backwards_or_overlap_are_refused(wanted: list[Period], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check_periods(wanted)
