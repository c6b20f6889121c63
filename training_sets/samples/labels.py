"""Labels: what happened after a model acted on a sample, from prices it could not see."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np
import numpy.typing as npt

from training_sets.request.targets import (
    ClassificationTarget,
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
    times_ns: Int64s, prices: PriceSeries, target: Target, *, decisions_ns: Int64s | None = None
) -> Float64s:
    """The label of each sample.

    times_ns: int64 (n,), any order, where the past volatility ends. decisions_ns: int64 (n,), when the model acts, from
    where the label looks ahead; None is at its time. Returns float64 (n,); classes are -1, 0 and +1.
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
            return first_touches(times_ns, decisions_ns, prices, target)[0]
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


def first_touches(
    times_ns: Int64s, decisions_ns: Int64s, prices: PriceSeries, target: TripleBarrierTarget
) -> tuple[Float64s, Int64s]:
    """The label of each sample, and the end of the step in which its barrier was met, ns; 0 where the label is NaN.

    Where the price is a kline's close a barrier is met by the highs and lows of the bars after the entry; of a bar that
    meets both, the lower one counts: which came first is unknown, and a buyer must reckon with the adverse one.
    """
    steps = target.horizon_ns // prices.step_ns
    unit = np.ones(len(times_ns))
    if target.by_volatility:
        volatility = past_volatility(times_ns, prices, target.volatility_window_ns)
        unit = np.where(volatility == 0.0, np.nan, volatility) * math.sqrt(steps)
    entries = prices.positions(decisions_ns + target.delay_ns)
    highs = prices.values if prices.highs is None else prices.highs
    lows = prices.values if prices.lows is None else prices.lows
    bars = np.ascontiguousarray(np.stack([prices.values, highs, lows]))
    labels, touched = _first_touched(bars, entries, target.upper * unit, target.lower * unit, steps)
    return labels, np.where(np.isnan(labels), 0, prices.start_ns + touched * prices.step_ns)


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
    bars: Float64s, entries: Int64s, upper: Float64s, lower: Float64s, steps: int
) -> tuple[Float64s, Int64s]:
    """+1, -1 or 0 by the barrier that is met first, and where; an unknown price before that leaves the label unknown.

    bars: float64 (3, n): prices, highs and lows.
    """
    found, touched = np.full(len(entries), np.nan), np.zeros(len(entries), np.int64)
    for row in range(len(entries)):
        entry = entries[row]
        if entry < 0 or math.isnan(bars[0, entry]) or math.isnan(upper[row]):
            continue
        price = bars[0, entry]
        for at in range(entry + 1, entry + steps + 1):
            if at >= bars.shape[1] or math.isnan(bars[1, at]) or math.isnan(bars[2, at]):
                break
            if bars[2, at] / price - 1.0 <= -lower[row]:
                found[row], touched[row] = -1.0, at
                break
            if bars[1, at] / price - 1.0 >= upper[row]:
                found[row], touched[row] = 1.0, at
                break
            if at == entry + steps:
                found[row], touched[row] = 0.0, at
    return found, touched
