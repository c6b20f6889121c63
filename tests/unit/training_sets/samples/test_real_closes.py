"""Splits and labels of 90 real days, at any periods and horizons: the properties hold on a market that was."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, MINUTE_NS, format_iso
from tests.real_candles import recorded_candles
from training_sets.request.folds import (
    Fold,
    PurgedCombinations,
    RandomBlocks,
    Strategy,
    TimeBased,
    WalkForward,
    default_periods,
    fold_count,
    make_folds,
)
from training_sets.request.targets import (
    ClassificationTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    TripleBarrierTarget,
)
from training_sets.samples.labels import make_labels, past_volatility
from training_sets.samples.prices import PriceSeries, price_series
from training_sets.samples.splits import FoldTally, SplitRules, assign_rows

STEP_NS = 5 * MINUTE_NS
DAYS = 90
ROWS = DAYS * DAY_NS // STEP_NS

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Market:
    """Every five minutes, and the close then."""

    times_ns: Int64s
    closes: list[float]
    prices: PriceSeries


@pytest.fixture(scope="module")
def market(recorded_data: Path) -> Market:
    candles = recorded_candles(recorded_data)
    assert len(candles) == ROWS
    times_ns = np.array([candle.start_ns for candle in candles]) + STEP_NS
    assert (np.diff(times_ns) == STEP_NS).all()
    closes = [float(candle.close) for candle in candles]
    return Market(times_ns, closes, price_series("kline_close", times_ns, np.array(closes), step_ns=STEP_NS))


# Drawn in steps and days from the first candle on, which the fixture knows.
HORIZONS = st.one_of(st.integers(1, 12), st.integers(1, 2000))
DELAYS = st.integers(0, 6)
EMBARGOES = st.one_of(st.just(0), st.integers(0, 300))


@st.composite
def strategies(draw: st.DrawFn) -> Strategy:
    """A strategy over some of the 90 days, from time 0."""
    start_ns = draw(st.integers(0, ROWS - 1000)) * STEP_NS
    end_ns = draw(st.integers(start_ns // STEP_NS + 600, ROWS)) * STEP_NS
    days = st.integers(1, 20).map(lambda count: count * DAY_NS)
    match draw(st.sampled_from(("time_based", "walk_forward", "random", "cpcv"))):
        case "time_based":
            return TimeBased(default_periods(start_ns, end_ns))
        case "walk_forward":
            test_ns = draw(st.integers(0, 5)) * DAY_NS
            is_expanding = draw(st.booleans())
            return WalkForward(0, ROWS * STEP_NS, draw(days), draw(days), draw(days), test_ns, is_expanding)
        case "random":
            return RandomBlocks(start_ns, end_ns, draw(st.integers(1, 150)) * STEP_NS, draw(st.integers(0, 99)))
        case _:
            groups = draw(st.integers(2, 8))
            return PurgedCombinations(start_ns, end_ns, groups, draw(st.integers(1, groups - 1)))


def count_by_formula(strategy: Strategy) -> int:
    match strategy:
        case WalkForward():
            spare = ROWS * STEP_NS - strategy.train_ns - strategy.validation_ns - strategy.test_ns
            return math.floor(spare / strategy.step_ns) + 1
        case PurgedCombinations():
            chosen = math.factorial(strategy.test_groups) * math.factorial(strategy.groups - strategy.test_groups)
            return math.factorial(strategy.groups) // chosen
        case _:
            return 1


def check_fold(fold: Fold, times_ns: Int64s, rules: SplitRules) -> None:
    """Each row of a period is kept or counted once, splits run forwards, no kept label looks at another split."""
    assigned = assign_rows(times_ns, fold, rules)
    tally = FoldTally(fold, rules)
    tally.add(times_ns, assigned)
    document = tally.document()
    counted = sum(split[name] for split in document for name in ("records", "purged", "embargoed"))
    within = sum(
        int(np.count_nonzero((times_ns >= period.start_ns) & (times_ns < period.end_ns))) for period in fold.periods
    )
    assert counted == within
    assert not any(split["overlaps_next"] for split in document)
    kept = np.flatnonzero(assigned.is_kept)
    names = np.array([period.name for period in fold.periods])[assigned.period[kept]]
    kept_ns = times_ns[kept]
    for name in fold.names:
        own, others = kept_ns[names == name], kept_ns[names != name]
        # The next row of another split after each row must lie beyond its label.
        following = np.searchsorted(others, own, side="right")
        has_next = following < len(others)
        assert (own[has_next] + rules.label_reach_ns < others[following[has_next]]).all()
    assert [split["name"] for split in document] == list(fold.names)
    if fold.whole is None and len({period.name for period in fold.periods}) == len(fold.periods):
        for one, other in itertools.pairwise(fold.names):
            if (names == one).any() and (names == other).any():
                assert kept_ns[names == one].max() < kept_ns[names == other].min()
    for split in document:
        if split["records"] > 0 and len(fold.periods) == len(fold.names):
            last_ns = int(kept_ns[names == split["name"]].max())
            assert split["last_label_end"] == format_iso(last_ns + rules.label_reach_ns)


@settings(max_examples=60)
@given(strategies(), HORIZONS, DELAYS, EMBARGOES)
def test_any_split_of_the_real_days_conserves_rows_and_overlaps_nowhere(
    market: Market, strategy: Strategy, horizon: int, delay: int, embargo: int
) -> None:
    count = fold_count(strategy)
    assert count == count_by_formula(strategy) or (count == 0 and count_by_formula(strategy) <= 0)
    if count == 0:
        return
    folds = make_folds(strategy)
    assert len(folds) == count
    rules = SplitRules((horizon + delay) * STEP_NS, embargo_ns=embargo * STEP_NS)
    times_ns = market.times_ns - int(market.times_ns[0])
    for fold in (folds[0], folds[len(folds) // 2], folds[-1]):
        check_fold(fold, times_ns, rules)


@settings(max_examples=40)
@given(
    HORIZONS,
    DELAYS,
    st.sampled_from((0.0005, 0.001, 0.01)),
    st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=50),
)
def test_labels_of_the_real_days_are_those_of_a_plain_list(
    market: Market, horizon: int, delay: int, threshold: float, rows: list[int]
) -> None:
    times_ns = market.times_ns[rows]
    ahead = (horizon * STEP_NS, delay * STEP_NS)
    change = make_labels(times_ns, market.prices, RegressionTarget(*ahead))
    side = make_labels(times_ns, market.prices, ClassificationTarget(*ahead, threshold=threshold))
    barrier = make_labels(times_ns, market.prices, TripleBarrierTarget(*ahead, upper=threshold, lower=2 * threshold))
    for at, row in enumerate(rows):
        if row + delay + horizon >= ROWS:
            assert np.isnan([change[at], side[at]]).all()
            continue
        entry = market.closes[row + delay]
        expected = market.closes[row + delay + horizon] / entry - 1.0
        assert change[at] == expected
        assert side[at] == (expected > threshold) - (expected < -threshold)
        path = (market.closes[row + delay + step] / entry - 1.0 for step in range(1, horizon + 1))
        touched = (1.0 if each >= threshold else -1.0 for each in path if each >= threshold or each <= -2 * threshold)
        assert barrier[at] == next(touched, 0.0)


@settings(max_examples=20)
@given(st.integers(2, 300), st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=20))
def test_the_volatility_of_the_real_days_looks_back_alone(market: Market, window: int, rows: list[int]) -> None:
    times_ns = market.times_ns[rows]
    found = past_volatility(times_ns, market.prices, window * STEP_NS)
    adjusted = make_labels(times_ns, market.prices, RiskAdjustedTarget(STEP_NS, volatility_window_ns=window * STEP_NS))
    for at, row in enumerate(rows):
        if row - window < 0:
            assert math.isnan(found[at])
            continue
        closes = np.array(market.closes[row - window : row + 1])
        expected = float(np.std(closes[1:] / closes[:-1] - 1.0))
        assert found[at] == pytest.approx(expected, rel=1e-9)
        if row + 1 < ROWS:
            change = market.closes[row + 1] / market.closes[row] - 1.0
            assert adjusted[at] == pytest.approx(change / expected, rel=1e-9)
