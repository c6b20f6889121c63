"""Labels: what happened after a model acted on a sample, from prices it could not see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from training_sets.request.targets import (
    ClassificationTarget,
    MetaLabelTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    Target,
    TripleBarrierTarget,
)
from training_sets.samples.prices import PriceSeries
from transforms.jit import jit

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def make_labels(
    times_ns: Int64s,
    prices: PriceSeries,
    target: Target,
    *,
    decisions_ns: Int64s | None = None,
    sides: Float64s | None = None,
) -> Float64s:
    """The label of each sample.

    times_ns: int64 (n,), any order, where the past volatility ends. decisions_ns: int64 (n,), when the model acts, from
    where the label looks ahead; None is at its time. sides: float64 (n,), +1 or -1, of a primary model, for
    meta-labels. Returns float64 (n,); classes are -1, 0 and +1.
    NaN: a price that the label needs is unknown, the volatility it is measured by is unknown or 0.
    """
    decisions_ns = times_ns if decisions_ns is None else decisions_ns
    match target:
        case RegressionTarget():
            return _returns(decisions_ns, prices, target)
        case ClassificationTarget():
            change = _returns(decisions_ns, prices, target)
            classes = (change > target.threshold).astype(np.float64) - (change < -target.threshold)
            return np.where(np.isnan(change), np.nan, classes)
        case RiskAdjustedTarget():
            volatility = past_volatility(times_ns, prices, target.volatility_window_ns)
            return _returns(decisions_ns, prices, target) / np.where(volatility == 0.0, np.nan, volatility)
        case TripleBarrierTarget():
            return first_touches(times_ns, decisions_ns, prices, target, sides).labels
        case _:
            assert_never(target)


def past_volatility(times_ns: Int64s, prices: PriceSeries, window_ns: int) -> Float64s:
    """Population standard deviation of the simple one-step returns in (t - window, t].

    Returns float64 (n,); NaN where any of those prices is unknown.
    """
    return _volatility(prices.values, prices.positions(times_ns), window_ns // prices.step_ns)


def _returns(decisions_ns: Int64s, prices: PriceSeries, target: Target) -> Float64s:
    entry = prices.at(decisions_ns + target.delay_ns)
    return prices.at(decisions_ns + target.reach_ns) / entry - 1.0


@dataclass(frozen=True, slots=True)
class Touches:
    """labels: float64 (n,). met: float64 (n,), the barrier: -1 lower or stop, 0 end, +1 upper or profit. NaN: unknown.

    touched_ns: int64 (n,), the end of the step in which it was met, 0 where the label is NaN.
    """

    labels: Float64s
    met: Float64s
    touched_ns: Int64s


def first_touches(
    times_ns: Int64s,
    decisions_ns: Int64s,
    prices: PriceSeries,
    target: TripleBarrierTarget,
    sides: Float64s | None = None,
) -> Touches:
    """Which barrier each sample meets first.

    sides: float64 (n,), +1 or -1, of the trades that a meta-label judges.

    Where the price is a kline's close a barrier is met by the highs and lows of the bars after the entry; of a bar that
    meets both, the adverse one counts, for a buyer the lower one: which came first is unknown.
    """
    is_meta = isinstance(target, MetaLabelTarget)
    assert is_meta == (sides is not None), "meta-labels, and they alone, are of sides"
    held = np.ones(len(times_ns)) if sides is None else sides
    steps = target.horizon_ns // prices.step_ns
    unit = np.ones(len(times_ns))
    if target.by_volatility:
        volatility = past_volatility(times_ns, prices, target.volatility_window_ns)
        unit = np.where(volatility == 0.0, np.nan, volatility) * math.sqrt(steps)
    entries = prices.positions(decisions_ns + target.delay_ns)
    highs = prices.values if prices.highs is None else prices.highs
    lows = prices.values if prices.lows is None else prices.lows
    bars = np.ascontiguousarray(np.stack([prices.values, highs, lows]))
    met, touched = _first_touched(bars, entries, held, target.upper * unit, target.lower * unit, steps)
    touched_ns = np.where(np.isnan(met), 0, prices.start_ns + touched * prices.step_ns)
    labels = met
    if is_meta:
        gain = held * (prices.at(touched_ns) / prices.at(decisions_ns + target.delay_ns) - 1.0)
        is_right = np.where(met == 0.0, gain > 0.0, met > 0.0).astype(np.float64)
        labels = np.where(np.isnan(met), np.nan, is_right)
    return Touches(labels, met, touched_ns)


@jit
def _volatility(prices: Float64s, positions: Int64s, count: int) -> Float64s:
    """Two passes over each window: a running sum of squares would depend on where it began."""
    found = np.full(len(positions), np.nan)
    for row in range(len(positions)):
        first = positions[row] - count + 1
        if first < 1:
            continue
        total = 0.0
        least, most = math.inf, -math.inf
        for at in range(first, positions[row] + 1):
            change = prices[at] / prices[at - 1] - 1.0
            total += change
            least, most = min(least, change), max(most, change)
        if math.isnan(total):
            continue
        if least == most:
            # Equal returns: their mean may round to something else, their deviation is 0.
            found[row] = 0.0
            continue
        mean = total / count
        squares = 0.0
        for at in range(first, positions[row] + 1):
            deviation = prices[at] / prices[at - 1] - 1.0 - mean
            squares += deviation * deviation
        found[row] = math.sqrt(squares / count)
    return found


@jit
def _first_touched(
    bars: Float64s, entries: Int64s, sides: Float64s, upper: Float64s, lower: Float64s, steps: int
) -> tuple[Float64s, Int64s]:
    """+1, -1 or 0 by the barrier that is met first, and where; an unknown price before that leaves the label unknown.

    bars: float64 (3, n): prices, highs and lows. sides: float64 (rows,), in whose direction +1 is.
    """
    found, touched = np.full(len(entries), np.nan), np.zeros(len(entries), np.int64)
    for row in range(len(entries)):
        entry = entries[row]
        if entry < 0 or math.isnan(bars[0, entry]) or math.isnan(upper[row]):
            continue
        price, side = bars[0, entry], sides[row]
        best, worst = (1, 2) if side > 0.0 else (2, 1)
        for at in range(entry + 1, entry + steps + 1):
            if at >= bars.shape[1] or math.isnan(bars[1, at]) or math.isnan(bars[2, at]):
                break
            if side * (bars[worst, at] / price - 1.0) <= -lower[row]:
                found[row], touched[row] = -1.0, at
                break
            if side * (bars[best, at] / price - 1.0) >= upper[row]:
                found[row], touched[row] = 1.0, at
                break
            if at == entry + steps:
                found[row], touched[row] = 0.0, at
    return found, touched
