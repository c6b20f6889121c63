"""Splits: no row is lost or doubled, and no label reaches into a period of another split."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS, format_iso
from training_sets.request.folds import Fold, Period, PurgedCombinations, RandomBlocks, WalkForward, make_folds
from training_sets.request.sessions import TradingSessions
from training_sets.request.targets import ClassificationTarget
from training_sets.samples.splits import OUTSIDE, FoldTally, SplitRules, assign_rows, laid_periods

SECONDS = st.integers(0, 200)
NAMES = ("train", "validation", "test")


@st.composite
def timed_folds(draw: st.DrawFn) -> Fold:
    """Up to three periods in order; some touch, some leave a hole."""
    bounds = sorted(draw(st.sets(SECONDS, min_size=6, max_size=6)))
    touching = draw(st.booleans())
    return Fold(
        None,
        tuple(
            Period(name, bounds[2 * at] * SECOND_NS, bounds[2 * at + (2 if touching and at < 2 else 1)] * SECOND_NS)
            for at, name in enumerate(NAMES)
        ),
    )


@st.composite
def folds(draw: st.DrawFn) -> Fold:
    """A fold of any strategy within 200 seconds."""
    end_ns = 200 * SECOND_NS
    length = st.integers(1, 60).map(lambda seconds: seconds * SECOND_NS)
    match draw(st.sampled_from(("time_based", "walk_forward", "random", "cpcv"))):
        case "time_based":
            return draw(timed_folds())
        case "walk_forward":
            return draw(
                st.sampled_from(make_folds(WalkForward(0, end_ns, draw(length), draw(length), draw(length), SECOND_NS)))
            )
        case "random":
            return make_folds(RandomBlocks(0, end_ns, draw(length), draw(st.integers(0, 9))))[0]
        case _:
            groups = draw(st.integers(2, 8))
            strategy = PurgedCombinations(0, end_ns, groups, draw(st.integers(1, groups - 1)))
            return draw(st.sampled_from(make_folds(strategy)))


TIMES = st.lists(SECONDS, max_size=300).map(lambda seconds: np.array(seconds, np.int64) * SECOND_NS)
REACHES = st.integers(1, 50).map(lambda seconds: seconds * SECOND_NS)
EMBARGOES = st.integers(0, 20).map(lambda seconds: seconds * SECOND_NS)
Times = np.ndarray[tuple[int], np.dtype[np.int64]]


@given(TIMES, folds(), REACHES, st.booleans(), EMBARGOES)
def test_every_row_of_a_period_is_kept_purged_or_embargoed_and_none_twice(
    times: Times,
    fold: Fold,
    reach_ns: int,
    purge: bool,  # noqa: FBT001  # drawn
    embargo_ns: int,
) -> None:
    rules = SplitRules(reach_ns, purge, embargo_ns)
    assigned = assign_rows(times, fold, rules)
    for time, index in zip(times.tolist(), assigned.period.tolist(), strict=True):
        inside = [at for at, period in enumerate(fold.periods) if period.start_ns <= time < period.end_ns]
        assert [index] == (inside or [OUTSIDE])
    assert not (assigned.is_purged & assigned.is_embargoed).any()
    assert purge or not assigned.is_purged.any()
    tally = FoldTally(fold, rules)
    tally.add(times, assigned)
    dropped = sum(split["purged"] + split["embargoed"] for split in tally.document())
    assert sum(tally.records().values()) + dropped == np.count_nonzero(assigned.period != OUTSIDE)


@given(TIMES, folds(), REACHES, EMBARGOES)
def test_with_purging_no_label_of_a_split_looks_at_a_time_of_another(
    times: Times, fold: Fold, reach_ns: int, embargo_ns: int
) -> None:
    rules = SplitRules(reach_ns, embargo_ns=embargo_ns)
    assigned = assign_rows(times, fold, rules)
    rows = [
        (time, fold.periods[index].name)
        for time, index, kept in zip(times.tolist(), assigned.period.tolist(), assigned.is_kept.tolist(), strict=True)
        if kept
    ]
    for time, name in rows:
        for other, other_name in rows:
            if other_name != name and other > time:
                assert time + reach_ns < other
    tally = FoldTally(fold, rules)
    tally.add(times, assigned)
    assert not any(split["overlaps_next"] for split in tally.document())


LAGS = st.sampled_from((0, 10_000_000, SECOND_NS - 1, SECOND_NS, 7 * SECOND_NS))


@given(st.lists(st.tuples(SECONDS, LAGS), max_size=200), folds(), REACHES, EMBARGOES)
def test_a_row_that_is_acted_on_late_is_purged_by_when_its_own_label_ends(
    rows: list[tuple[int, int]], fold: Fold, reach_ns: int, embargo_ns: int
) -> None:
    times = np.array([second for second, _ in rows], np.int64) * SECOND_NS
    decisions = times + np.array([lag_ns for _, lag_ns in rows], np.int64)
    rules = SplitRules(reach_ns, embargo_ns=embargo_ns)
    assigned = assign_rows(times, fold, rules, decisions_ns=decisions)
    kept = np.flatnonzero(assigned.is_kept).tolist()
    names = [fold.periods[index].name for index in assigned.period.tolist()]
    for one in kept:
        for other in kept:
            if names[one] != names[other] and times[other] > times[one]:
                assert decisions[one] + reach_ns < times[other]
    tally = FoldTally(fold, rules)
    tally.add(times, assigned)
    for split in tally.document():
        assert not split["overlaps_next"]
        ends = [decisions[row] + reach_ns for row in kept if names[row] == split["name"]]
        assert split["last_label_end"] == (format_iso(int(max(ends))) if ends else None)


SESSIONS = TradingSessions("XNYS", tuple(close * SECOND_NS for close in range(-3, 260, 3)))


@given(folds(), REACHES, st.booleans(), EMBARGOES, st.sampled_from((None, SESSIONS)))
def test_a_period_is_laid_out_as_its_rows_are_assigned(
    fold: Fold,
    reach_ns: int,
    purge: bool,  # noqa: FBT001  # drawn
    embargo_ns: int,
    sessions: TradingSessions | None,
) -> None:
    if sessions is not None:  # on whose clock a day is a session
        reach_ns, embargo_ns = (length // SECOND_NS // 5 * DAY_NS for length in (reach_ns, embargo_ns))
    rules = SplitRules(max(reach_ns, 1), purge, embargo_ns, sessions)
    times = np.arange(0, 200, dtype=np.int64) * SECOND_NS
    assigned = assign_rows(times, fold, rules)
    for index, laid in enumerate(laid_periods(fold, rules)):
        assert laid.period == fold.periods[index]
        edges = (laid.period.start_ns, laid.embargo_from_ns, laid.used_from_ns, laid.used_until_ns, laid.period.end_ns)
        assert list(edges) == sorted(edges)
        is_within = [(times >= edges[at]) & (times < edges[at + 1]) for at in range(4)]
        is_own = assigned.period == index
        np.testing.assert_array_equal(is_within[0] | is_within[3], is_own & assigned.is_purged)
        np.testing.assert_array_equal(is_within[1], is_own & assigned.is_embargoed)
        np.testing.assert_array_equal(is_within[2], is_own & assigned.is_kept)


@given(TIMES, folds(), REACHES)
def test_without_purging_the_tally_tells_the_overlap(times: Times, fold: Fold, reach_ns: int) -> None:
    rules = SplitRules(reach_ns, purge=False)
    assigned = assign_rows(times, fold, rules)
    tally = FoldTally(fold, rules)
    tally.add(times, assigned)
    reaches_over = any(
        fold.periods[one].name != fold.periods[other].name and time < later <= time + reach_ns
        for time, one in zip(times.tolist(), assigned.period.tolist(), strict=True)
        for later, other in zip(times.tolist(), assigned.period.tolist(), strict=True)
        if OUTSIDE not in {one, other}
    )
    if reaches_over:
        assert any(split["overlaps_next"] for split in tally.document())


@given(TIMES, folds(), REACHES, st.integers(0, 300))
def test_a_tally_does_not_depend_on_how_the_rows_are_cut(times: Times, fold: Fold, reach_ns: int, cut: int) -> None:
    rules = SplitRules(reach_ns)
    whole, pieces = FoldTally(fold, rules), FoldTally(fold, rules)
    whole.add(times, assign_rows(times, fold, rules))
    for piece in (times[:cut], times[cut:]):
        pieces.add(piece, assign_rows(piece, fold, rules))
    assert whole.document() == pieces.document()


def test_a_label_that_ends_on_the_first_moment_of_the_next_period_is_purged() -> None:
    fold = Fold(None, (Period("train", 0, 10 * SECOND_NS), Period("validation", 10 * SECOND_NS, 20 * SECOND_NS)))
    assigned = assign_rows(np.array([8, 9, 10], np.int64) * SECOND_NS, fold, SplitRules(SECOND_NS))
    assert assigned.is_purged.tolist() == [False, True, False]
    assert assigned.period.tolist() == [0, 0, 1]


@pytest.mark.parametrize(("reach_ns", "overlaps"), [(SECOND_NS - 1, False), (SECOND_NS, True)])
def test_a_label_that_was_not_purged_and_ends_on_that_moment_overlaps(reach_ns: int, overlaps: bool) -> None:  # noqa: FBT001  # a parameter
    fold = Fold(None, (Period("train", 0, 10 * SECOND_NS), Period("validation", 10 * SECOND_NS, 20 * SECOND_NS)))
    rules, times = SplitRules(reach_ns, purge=False), np.arange(20, dtype=np.int64) * SECOND_NS
    tally = FoldTally(fold, rules)
    tally.add(times, assign_rows(times, fold, rules))
    assert [split["overlaps_next"] for split in tally.document()] == [overlaps, False]


def test_an_embargo_drops_the_first_rows_of_later_periods_only() -> None:
    fold = Fold(None, (Period("train", 0, 10 * SECOND_NS), Period("validation", 10 * SECOND_NS, 20 * SECOND_NS)))
    assigned = assign_rows(
        np.arange(20, dtype=np.int64) * SECOND_NS, fold, SplitRules(SECOND_NS, purge=False, embargo_ns=3 * SECOND_NS)
    )
    assert np.flatnonzero(assigned.is_embargoed).tolist() == [10, 11, 12]


def test_a_tested_group_stays_whole_and_train_gives_way_before_and_after_it() -> None:
    [_, fold, _] = make_folds(PurgedCombinations(0, 30 * SECOND_NS, groups=3, test_groups=1))
    assigned = assign_rows(
        np.arange(30, dtype=np.int64) * SECOND_NS, fold, SplitRules(2 * SECOND_NS, embargo_ns=3 * SECOND_NS)
    )
    assert np.flatnonzero(assigned.is_purged).tolist() == [8, 9, 20, 21]
    assert np.flatnonzero(assigned.is_embargoed).tolist() == [22, 23, 24]
    assert assigned.is_kept[10:20].all()


def test_a_row_of_a_tested_group_whose_model_acts_after_the_group_is_over_is_purged() -> None:
    [_, fold, _] = make_folds(PurgedCombinations(0, 30 * SECOND_NS, groups=3, test_groups=1))
    times = np.arange(30, dtype=np.int64) * SECOND_NS
    decisions = times + np.where(times == 18 * SECOND_NS, 5 * SECOND_NS, 10_000_000)
    decisions[[16, 17]] = 20 * SECOND_NS - 1, 20 * SECOND_NS
    assigned = assign_rows(times, fold, SplitRules(2 * SECOND_NS), decisions_ns=decisions)
    assert np.flatnonzero(assigned.is_purged).tolist() == [8, 9, 17, 18, 20, 21]


@pytest.mark.parametrize("number", [None, 3])
def test_an_empty_split_is_told_with_its_reason(number: int | None) -> None:
    fold = Fold(number, (Period("train", 0, 10 * SECOND_NS), Period("validation", 10 * SECOND_NS, 20 * SECOND_NS)))
    rules = SplitRules(15 * SECOND_NS)
    times = np.arange(12, dtype=np.int64) * SECOND_NS
    tally = FoldTally(fold, rules)
    tally.add(times, assign_rows(times, fold, rules))
    where = "" if number is None else "fold 3 "
    asked: list[tuple[int, int]] = []

    def why_empty(start_ns: int, end_ns: int) -> str:
        asked.append((start_ns, end_ns))
        return "data_gap"

    untouched = FoldTally(fold, rules)
    assert tally.empty_splits(why_empty) == {"train": "all_dropped"}
    assert tally.warnings(tally.empty_splits(why_empty)) == [f"{where}train: no rows, 10 purged and 0 embargoed"]
    assert asked == []
    assert untouched.warnings(untouched.empty_splits(why_empty)) == [
        f"{where}train: no rows, data_gap",
        f"{where}validation: no rows, data_gap",
    ]
    assert untouched.empty_splits(lambda *_: "data_gap") == {"train": "data_gap", "validation": "data_gap"}
    assert asked == [(0, 10 * SECOND_NS), (10 * SECOND_NS, 20 * SECOND_NS)]
    assert tally.document()[1]["last_label_end"] == format_iso(26 * SECOND_NS)


def test_a_split_tells_the_labels_that_purge_left_in_it() -> None:
    fold = Fold(None, (Period("train", 0, 6 * SECOND_NS), Period("test", 6 * SECOND_NS, 10 * SECOND_NS)))
    target = ClassificationTarget(SECOND_NS, name="side")
    labels = np.array([0, 0, 0, 0, 0, 1, 1, -1, 0, 1], np.float64)
    whole, pieces = (FoldTally(fold, SplitRules(SECOND_NS), (target,)) for _ in range(2))
    times_ns = np.arange(10, dtype=np.int64) * SECOND_NS
    for tally, cuts in ((whole, [0, 10]), (pieces, [0, 3, 7, 10])):
        for begin, end in pairwise(cuts):
            part = slice(begin, end)
            assigned = assign_rows(times_ns[part], fold, tally.rules)
            tally.add(times_ns[part], assigned, labels[part].reshape(-1, 1))
    train, test = whole.document()
    # The only up of train is purged.
    assert train["targets"]["side"]["classes"] == {"down": 0.0, "flat": 1.0, "up": 0.0}
    assert whole.targets["train"][0].is_constant
    assert test["targets"]["side"]["classes"] == {"down": 0.25, "flat": 0.25, "up": 0.5}
    assert test["targets"]["side"]["deviation"] == pytest.approx(np.std(labels[6:]))
    for one, other in zip(whole.document(), pieces.document(), strict=True):
        of_one, of_other = one["targets"]["side"], other["targets"]["side"]
        assert of_one.pop("classes") == of_other.pop("classes")
        assert of_one == pytest.approx(of_other)
