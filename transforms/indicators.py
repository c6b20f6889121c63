"""Technical indicators with TA-Lib's seeds, recomputed from the last bars so that they never depend on older ones.

Series are int64 mantissas, oldest first; results are in mantissas too, so that the division by the scale comes last.
A recursive indicator of period n sees MEMORY × n bars: what lies before weighs less than 1e-7 of the seed's error.
"""

from __future__ import annotations

import math
from typing import Any, Final

from transforms.jit import jit
from transforms.wide import rounded, sum_of

MEMORY: Final = 10


@jit
def mean(series: Any) -> float:
    """Arithmetic mean, from an exact sum: a day of the largest volumes passes int64."""
    high = 0
    low = 0
    for value in series:
        high, low = sum_of(high, low, 0, value)
    return rounded(high, low) / len(series)


@jit
def population_std(series: Any) -> float:
    """Population standard deviation (ddof 0), from exact deviations times the length, of up to 1000 values."""
    count = len(series)
    total = 0
    for value in series:
        total += value
    squares = 0.0
    for value in series:
        deviation = float(count * value - total)
        squares += deviation * deviation
    return math.sqrt(squares / count) / count


@jit
def exponential_average(series: Any, period: int) -> float:
    """Exponential moving average at the last bar, seeded with the mean of the first ``period`` bars."""
    average = mean(series[:period])
    weight = 2.0 / (period + 1)
    for value in series[period:]:
        average += (value - average) * weight
    return average


@jit
def relative_strength(series: Any, period: int) -> float:
    """Relative strength index at the last bar, 0 to 100; 50 when nothing moved.

    Wilder's smoothing, seeded with the mean gain and loss of the first ``period`` changes.
    """
    gained = 0
    lost = 0
    for i in range(1, period + 1):
        change = series[i] - series[i - 1]
        if change > 0:
            gained += change
        else:
            lost -= change
    gain = gained / period
    loss = lost / period
    for i in range(period + 1, len(series)):
        change = series[i] - series[i - 1]
        gain = (gain * (period - 1) + max(change, 0)) / period
        loss = (loss * (period - 1) + max(-change, 0)) / period
    if gain + loss == 0.0:
        return 50.0
    return 100.0 * (gain / (gain + loss))


@jit
def convergence(series: Any, fast: int, slow: int, signal: int) -> tuple[float, float]:
    """MACD line and its signal at the last bar.

    Both averages are seeded to end on bar ``slow`` (the fast one with the last of those bars), the signal with the mean
    of the first ``signal`` values of the line.
    """
    fast_average = mean(series[slow - fast : slow])
    slow_average = mean(series[:slow])
    fast_weight = 2.0 / (fast + 1)
    slow_weight = 2.0 / (slow + 1)
    signal_weight = 2.0 / (signal + 1)
    line = fast_average - slow_average
    signal_average = line
    for i in range(slow, len(series)):
        fast_average += (series[i] - fast_average) * fast_weight
        slow_average += (series[i] - slow_average) * slow_weight
        line = fast_average - slow_average
        known = i - slow + 2  # values of the line so far
        if known < signal:
            signal_average += line
        elif known == signal:
            signal_average = (signal_average + line) / signal
        else:
            signal_average += (line - signal_average) * signal_weight
    return line, signal_average
