"""Folds: their number follows the formula, and their periods run forward in time."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from market.errors import InvalidRequest
from training_sets.request.folds import (
    Period,
    PurgedCombinations,
    RandomBlocks,
    WalkForward,
    check_periods,
    covered,
    default_periods,
    make_folds,
    path_periods,
)

DAYS = st.integers(1, 6)


@given(st.integers(0, 40), st.tuples(DAYS, DAYS, st.integers(0, 4)), DAYS, st.booleans())
def test_walk_forward_makes_every_fold_that_fits_and_no_other(
    days: int,
    windows: tuple[int, int, int],
    step: int,
    is_expanding: bool,  # noqa: FBT001  # drawn
) -> None:
    train, validation, test = windows
    strategy = WalkForward(
        start_ns=0,
        end_ns=days * DAY_NS,
        train_ns=train * DAY_NS,
        validation_ns=validation * DAY_NS,
        test_ns=test * DAY_NS,
        step_ns=step * DAY_NS,
        is_expanding=is_expanding,
    )
    # Counted by hand: fold after fold until one reaches beyond the end.
    ends = itertools.takewhile(
        lambda end: end <= days, (train + validation + test + at * step for at in itertools.count())
    )
    expected = len(list(ends))
    if expected == 0:
        with pytest.raises(InvalidRequest, match="must make 1 to"):
            make_folds(strategy)
        return
    folds = make_folds(strategy)
    assert [fold.number for fold in folds] == list(range(expected))
    for at, fold in enumerate(folds):
        check_periods(fold.periods)
        assert fold.names == ("train", "validation", "test")[: len(fold.periods)]
        trained = fold.periods[0]
        assert trained.end_ns == (train + at * step) * DAY_NS
        assert trained.start_ns == (0 if is_expanding else at * step * DAY_NS)
        assert fold.periods[-1].end_ns <= days * DAY_NS
        assert len(fold.periods) == (3 if test else 2)


@given(st.integers(2, 7), st.data())
def test_cpcv_tests_every_choice_of_groups_once_and_every_group_equally_often(groups: int, data: st.DataObject) -> None:
    test_groups = data.draw(st.integers(1, groups - 1))
    end_ns = data.draw(st.integers(groups, 500)) * SECOND_NS
    folds = make_folds(PurgedCombinations(start_ns=0, end_ns=end_ns, groups=groups, test_groups=test_groups))
    assert len(folds) == math.comb(groups, test_groups)
    assert len({fold.periods for fold in folds}) == len(folds)
    for fold in folds:
        check_periods(fold.periods)
        assert covered([fold]) == [(0, end_ns)]
        assert all(one.name != other.name for one, other in itertools.pairwise(fold.periods))
    for second in range(0, end_ns, end_ns // groups):
        times_tested = sum(
            period.name == "test" and period.start_ns <= second < period.end_ns
            for fold in folds
            for period in fold.periods
        )
        assert times_tested == math.comb(groups - 1, test_groups - 1)


@given(st.integers(30, 300), st.integers(1, 10), st.integers(0, 5))
def test_random_blocks_cover_the_period_and_are_the_same_for_a_seed(seconds: int, block: int, seed: int) -> None:
    strategy = RandomBlocks(start_ns=0, end_ns=seconds * SECOND_NS, block_ns=block * SECOND_NS, seed=seed)
    [fold] = make_folds(strategy)
    make_folds.cache_clear()
    assert (fold,) == make_folds(strategy)
    assert fold.names == ("train", "validation", "test")
    assert covered([fold]) == [(0, seconds * SECOND_NS)]
    assert all(period.start_ns % strategy.block_ns == 0 for period in fold.periods)
    check_periods(fold.periods)


@pytest.mark.parametrize(("blocks", "aside"), [(3, 1), (13, 1), (14, 2), (19, 2), (20, 3)])
def test_validation_and_test_have_15_percent_of_the_blocks_rounded_down_one_at_least(blocks: int, aside: int) -> None:
    [fold] = make_folds(RandomBlocks(0, blocks * SECOND_NS, SECOND_NS))
    seconds = Counter[str]()
    for period in fold.periods:
        seconds[period.name] += (period.end_ns - period.start_ns) // SECOND_NS
    assert seconds == {"validation": aside, "test": aside, "train": blocks - 2 * aside}


def test_the_default_split_ends_at_whole_seconds_from_the_start_rounded_down() -> None:
    periods = default_periods(5, 11 * SECOND_NS + 6)
    assert [(period.name, period.start_ns, period.end_ns) for period in periods] == [
        ("train", 5, 7 * SECOND_NS + 5),
        ("validation", 7 * SECOND_NS + 5, 9 * SECOND_NS + 5),
        ("test", 9 * SECOND_NS + 5, 11 * SECOND_NS + 6),
    ]


def test_cpcv_groups_differ_by_a_second_at_most() -> None:
    strategy = PurgedCombinations(0, 11 * SECOND_NS, 4, 1)
    bounds = [path_periods(strategy, fold)[0][:2] for fold in range(4)]
    assert bounds == [(start * SECOND_NS, end * SECOND_NS) for start, end in itertools.pairwise((0, 2, 5, 8, 11))]


def test_another_seed_deals_other_blocks() -> None:
    dealt = {
        make_folds(RandomBlocks(start_ns=0, end_ns=100 * SECOND_NS, block_ns=SECOND_NS, seed=seed))[0].periods
        for seed in range(5)
    }
    assert len(dealt) == 5


@pytest.mark.parametrize(
    ("strategy", "rule"),
    [
        (WalkForward(0, 10 * DAY_NS, 0, DAY_NS, DAY_NS), "windows and step must be positive"),
        (WalkForward(0, 10 * DAY_NS, DAY_NS, DAY_NS, 0), "windows and step must be positive"),
        (WalkForward(0, 3000 * DAY_NS, DAY_NS, DAY_NS, DAY_NS), "must make 1 to 400 folds, was 2999"),
        (PurgedCombinations(0, DAY_NS, 4, 4), "test_groups must be 1 to groups - 1"),
        (PurgedCombinations(0, 3 * SECOND_NS, 4, 2), "every group must be a second or longer"),
        (RandomBlocks(0, 2 * SECOND_NS, SECOND_NS), "must have three blocks or more"),
    ],
    ids=str,
)
def test_numbers_that_make_no_folds_are_refused(
    strategy: WalkForward | PurgedCombinations | RandomBlocks, rule: str
) -> None:
    with pytest.raises(InvalidRequest, match=rule):
        make_folds(strategy)


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


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (
            WalkForward(0, DAY_NS, DAY_NS, DAY_NS, DAY_NS),
            "1970-01-02T00:00:00Z, train 86400 s, validation 86400 s",
        ),
        (PurgedCombinations(0, 5 * SECOND_NS), "1970-01-01T00:00:05Z, groups 6, test_groups 2"),
        (PurgedCombinations(0, DAY_NS, 4, 4), "1970-01-02T00:00:00Z, groups 4, test_groups 4"),
        (RandomBlocks(0, 2 * SECOND_NS, SECOND_NS), "1970-01-01T00:00:02Z, block 1 s, seed 0"),
    ],
    ids=["walk_forward", "cpcv of short groups", "cpcv of all groups", "random"],
)
def test_what_makes_no_folds_is_refused_with_its_period_and_settings(
    strategy: WalkForward | PurgedCombinations | RandomBlocks, told: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"was (0 of )?1970-01-01T00:00:00Z to {told}"):
        make_folds(strategy)


@pytest.mark.parametrize(("groups", "test_groups"), [(6, 2), (4, 1), (5, 3)])
def test_every_path_is_each_group_once_from_a_fold_that_tests_it(groups: int, test_groups: int) -> None:
    strategy = PurgedCombinations(0, 600 * SECOND_NS, groups, test_groups)
    folds = make_folds(strategy)
    paths: dict[int, list[tuple[int, int]]] = {}
    for fold in folds:
        assert fold.number is not None
        tested = [(period.start_ns, period.end_ns) for period in fold.periods if period.name == "test"]
        for start_ns, end_ns, path in path_periods(strategy, fold.number):
            assert any(begin <= start_ns and end_ns <= end for begin, end in tested)
            paths.setdefault(path, []).append((start_ns, end_ns))
    assert sorted(paths) == list(range(math.comb(groups, test_groups) * test_groups // groups))
    for spans in paths.values():
        bounds = [bound for span in sorted(spans) for bound in span]
        assert bounds[0] == 0
        assert bounds[-1] == 600 * SECOND_NS
        assert bounds[1:-1:2] == bounds[2::2]
