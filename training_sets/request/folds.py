"""Folds: how a strategy lays named periods over time, before any row is read."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, assert_never

import msgspec

from market.clock import SECOND_NS, format_iso
from market.errors import InvalidRequest

MOST_FOLDS: Final = 400
"""Two files of each may be open at a time, which stays below the usual 1024 descriptors of a process."""
SPLIT_NAMES: Final = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Period:
    """[start_ns, end_ns) with the name of its split."""

    name: str
    start_ns: int
    end_ns: int

    def __str__(self) -> str:
        return f"{self.name} [{format_iso(self.start_ns)}, {format_iso(self.end_ns)})"


@dataclass(frozen=True, slots=True)
class Fold:
    """Periods in time order, neighbours of different names.

    number: from 0; None for the only fold of a strategy that makes one.
    whole: the split that keeps all its rows, so that the others give way on both sides of it; None for no split.
    """

    number: int | None
    periods: tuple[Period, ...]
    whole: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The splits of the fold: train first."""
        present = {period.name for period in self.periods}
        return tuple(name for name in SPLIT_NAMES if name in present)


class TimeBased(msgspec.Struct, frozen=True, tag="time_based", tag_field="strategy"):
    """One fold of explicit periods: train, validation and test in this order."""

    periods: tuple[Period, ...]


class WalkForward(msgspec.Struct, frozen=True, tag="walk_forward", tag_field="strategy"):
    """Every fold that fits into [start, end): train, validation and, if it has a length, test, a step further each.

    is_expanding: train begins at the start in every fold instead of rolling on.
    min_train_samples: a fold with fewer train rows is left out, with a warning.
    """

    start_ns: int
    end_ns: int
    train_ns: int
    validation_ns: int
    step_ns: int
    test_ns: int = 0
    is_expanding: bool = False
    min_train_samples: int = 0


class RandomBlocks(msgspec.Struct, frozen=True, tag="random", tag_field="strategy"):
    """One fold of whole blocks dealt out 70/15/15 by a seed. For tests: a model would learn from its future."""

    start_ns: int
    end_ns: int
    block_ns: int
    seed: int = 0


class PurgedCombinations(msgspec.Struct, frozen=True, tag="cpcv", tag_field="strategy"):
    """Combinatorial purged cross-validation: a fold for every choice of ``test_groups`` of the ``groups`` in time.

    Source: López de Prado (2018), Advances in Financial Machine Learning, chapter 12.
    """

    start_ns: int
    end_ns: int
    groups: int = 6
    test_groups: int = 2


Strategy = TimeBased | WalkForward | RandomBlocks | PurgedCombinations


def strategy_name(strategy: Strategy) -> str:
    """The name that a request gives the strategy."""
    return str(strategy.__struct_config__.tag)


@lru_cache(maxsize=64)
def make_folds(strategy: Strategy) -> tuple[Fold, ...]:
    """All folds of a strategy, in order. Raises InvalidRequest when it makes none, or more than MOST_FOLDS."""
    count = fold_count(strategy)
    if not 0 < count <= MOST_FOLDS:
        raise InvalidRequest(
            f"{strategy_name(strategy)}: must make 1 to {MOST_FOLDS} folds, was {count} of {_told(strategy)}"
        )
    match strategy:
        case TimeBased():
            check_periods(strategy.periods)
            return (Fold(None, strategy.periods),)
        case WalkForward():
            return tuple(_walked(strategy, number) for number in range(count))
        case RandomBlocks():
            return (Fold(None, _dealt(strategy)),)
        case PurgedCombinations():
            chosen = itertools.combinations(range(strategy.groups), strategy.test_groups)
            return tuple(Fold(number, _grouped(strategy, groups), whole="test") for number, groups in enumerate(chosen))
        case _:
            assert_never(strategy)


def _told(strategy: Strategy) -> str:
    """The settings of a strategy in words: "2026-01-01T00:00:00Z to 2026-01-09T00:00:00Z, groups 4, test_groups 2"."""
    if isinstance(strategy, TimeBased):
        return ", ".join(map(str, strategy.periods))
    others = (
        f"{name.removesuffix('_ns')} {value / SECOND_NS:g} s" if name.endswith("_ns") else f"{name} {value}"
        for name, value in msgspec.structs.asdict(strategy).items()
        if name not in {"start_ns", "end_ns"}
    )
    return ", ".join([f"{format_iso(strategy.start_ns)} to {format_iso(strategy.end_ns)}", *others])


def fold_count(strategy: Strategy) -> int:
    """How many folds a strategy makes. Raises InvalidRequest when its numbers contradict each other.

    Formula: floor((end - start - train - validation - test) / step) + 1 for walk_forward, C(groups, test_groups) for
    cpcv.
    """
    match strategy:
        case TimeBased():
            return 1
        case WalkForward():
            lengths = (strategy.train_ns, strategy.validation_ns, strategy.step_ns)
            if min(lengths) <= 0 or strategy.test_ns < 0:
                raise InvalidRequest(f"walk_forward: windows and step must be positive, was {_told(strategy)}")
            spare_ns = strategy.end_ns - strategy.start_ns - sum(lengths[:2]) - strategy.test_ns
            return spare_ns // strategy.step_ns + 1 if spare_ns >= 0 else 0
        case RandomBlocks():
            if strategy.block_ns <= 0 or strategy.end_ns - strategy.start_ns < 3 * strategy.block_ns:
                raise InvalidRequest(f"random: must have three blocks or more, was {_told(strategy)}")
            return 1
        case PurgedCombinations():
            if not 0 < strategy.test_groups < strategy.groups:
                raise InvalidRequest(f"cpcv: test_groups must be 1 to groups - 1, was {_told(strategy)}")
            if strategy.end_ns - strategy.start_ns < strategy.groups * SECOND_NS:
                raise InvalidRequest(f"cpcv: every group must be a second or longer, was {_told(strategy)}")
            return math.comb(strategy.groups, strategy.test_groups)
        case _:
            assert_never(strategy)


def path_periods(strategy: PurgedCombinations, fold: int) -> tuple[tuple[int, int, int], ...]:
    """The test groups of a fold as (start, end, path), in order of time.

    A path is a backtest over all groups, each from a fold that did not train on it: of the folds that test a group the
    first gives path 0, the next path 1. There are C(groups, test_groups) * test_groups / groups of them.
    """
    chosen = list(itertools.combinations(range(strategy.groups), strategy.test_groups))
    bounds = _group_bounds(strategy)
    return tuple(
        (bounds[group], bounds[group + 1], sum(group in earlier for earlier in chosen[:fold])) for group in chosen[fold]
    )


def check_periods(periods: Sequence[Period]) -> None:
    """Periods must run forwards, in order, without overlap; touching is fine. Raises InvalidRequest."""
    for period in periods:
        if period.end_ns <= period.start_ns:
            raise InvalidRequest(f"{period.name} period: must end after it starts, was {period}")
    for earlier, later in itertools.pairwise(periods):
        if later.start_ns < earlier.end_ns:
            raise InvalidRequest(f"{later.name} period: must not start before {earlier} ends, was {later}")


def covered(folds: Sequence[Fold]) -> list[tuple[int, int]]:
    """The times that any period holds, as disjoint [start, end) in order."""
    merged: list[tuple[int, int]] = []
    for start_ns, end_ns in sorted((period.start_ns, period.end_ns) for fold in folds for period in fold.periods):
        if merged and start_ns <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_ns))
        else:
            merged.append((start_ns, end_ns))
    return merged


def default_periods(start_ns: int, end_ns: int) -> tuple[Period, ...]:
    """The 70 / 15 / 15 split of [start, end) by time, at whole seconds."""
    seconds = (end_ns - start_ns) // SECOND_NS
    train_end_ns = start_ns + seconds * 70 // 100 * SECOND_NS
    validation_end_ns = start_ns + seconds * 85 // 100 * SECOND_NS
    return (
        Period("train", start_ns, train_end_ns),
        Period("validation", train_end_ns, validation_end_ns),
        Period("test", validation_end_ns, end_ns),
    )


def _walked(strategy: WalkForward, number: int) -> Fold:
    ahead_ns = number * strategy.step_ns
    begin_ns = strategy.start_ns + (0 if strategy.is_expanding else ahead_ns)
    train_end_ns = strategy.start_ns + ahead_ns + strategy.train_ns
    validation_end_ns = train_end_ns + strategy.validation_ns
    periods = [Period("train", begin_ns, train_end_ns), Period("validation", train_end_ns, validation_end_ns)]
    if strategy.test_ns:
        periods.append(Period("test", validation_end_ns, validation_end_ns + strategy.test_ns))
    return Fold(number, tuple(periods))


def _dealt(strategy: RandomBlocks) -> tuple[Period, ...]:
    starts = range(strategy.start_ns, strategy.end_ns, strategy.block_ns)
    aside = max(1, len(starts) * 15 // 100)
    names = ["validation"] * aside + ["test"] * aside + ["train"] * (len(starts) - 2 * aside)
    random.Random(strategy.seed).shuffle(names)  # noqa: S311  # a reproducible deal, no secret
    ends = [*starts[1:], strategy.end_ns]
    return _joined([Period(*block) for block in zip(names, starts, ends, strict=True)])


def _group_bounds(strategy: PurgedCombinations) -> list[int]:
    seconds = (strategy.end_ns - strategy.start_ns) // SECOND_NS
    bounds = [strategy.start_ns + at * seconds // strategy.groups * SECOND_NS for at in range(strategy.groups)]
    return [*bounds, strategy.end_ns]


def _grouped(strategy: PurgedCombinations, test_groups: Sequence[int]) -> tuple[Period, ...]:
    bounds = _group_bounds(strategy)
    return _joined(
        [Period("test" if at in test_groups else "train", bounds[at], bounds[at + 1]) for at in range(strategy.groups)]
    )


def _joined(periods: Sequence[Period]) -> tuple[Period, ...]:
    """Touching neighbours of one name as one period."""
    runs = (list(run) for _, run in itertools.groupby(periods, key=lambda period: period.name))
    return tuple(Period(run[0].name, run[0].start_ns, run[-1].end_ns) for run in runs)
