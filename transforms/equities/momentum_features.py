"""Momentum: features of the course of a share's daily bars.

Prices of a window are in the shares of its last day. Recursive indicators see ten periods of bars and are seeded as in
TA-Lib: what lies before weighs next to nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.equities.adjusting import in_last_shares, total_returns
from transforms.equities.price_volume_features import BARS
from transforms.table_feature import table_feature

FRESHNESS: Final = "1h"
TIME_TO_LIVE: Final = "7d"
RSI_PERIOD: Final = 14
RSI_ROWS: Final = 10 * RSI_PERIOD + 1
MACD_ROWS: Final = 350
YEAR: Final = 252
MONTH: Final = 21


def relative_strength(prices: Any) -> float:
    """Relative strength index at the last price, 0 to 100; 50 when nothing moved."""
    changes = np.diff(prices)
    gain, loss = RSI_WEIGHTS @ np.maximum(changes, 0.0), RSI_WEIGHTS @ np.maximum(-changes, 0.0)
    return 100.0 * gain / (gain + loss) if gain + loss > 0 else 50.0


def averages(series: Any, period: int, weight: float) -> Any:
    """(n - period + 1, ...) recursive averages from the first full period on, seeded with its mean."""
    average = np.mean(series[:period], axis=0)
    found = [average]
    for value in series[period:]:
        average = average + (value - average) * weight
        found.append(average)
    return np.array(found)


def convergence(prices: Any) -> Any:
    """(2, ...) MACD line of 12 and 26 rows and its signal of 9, at the last row."""
    line = averages(prices[14:], 12, 2 / 13) - averages(prices, 26, 2 / 27)
    return np.array([line[-1], averages(line, 9, 2 / 10)[-1]])


# Each is linear in its window, so that what it makes of unit windows are its weights.
RSI_WEIGHTS: Final = averages(np.eye(RSI_ROWS - 1), RSI_PERIOD, 1 / RSI_PERIOD)[-1]
MACD_WEIGHTS, SIGNAL_WEIGHTS = convergence(np.eye(MACD_ROWS))


@table_feature("rsi_14", reads=BARS, rows=RSI_ROWS, unit="1", low=0.0, high=100.0)
def rsi_14(close: Any, split_ratio: Any) -> float:
    """Relative strength index of 14 days over the last 140 changes of the close.

    Formula: 100 * gain / (gain + loss), Wilder averages of rises and falls; 50 when nothing moved
    NaN: fewer than 141 bars, or one without close or split ratio.
    Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    return relative_strength(in_last_shares(close, split_ratio))


@table_feature("macd", reads=BARS, rows=MACD_ROWS, unit="quote")
def macd(close: Any, split_ratio: Any) -> float:
    """Difference of the 12- and 26-day exponential averages of the close.

    Formula: ema_12 - ema_26, both seeded to end on the same day
    NaN: fewer than 350 bars, or one without close or split ratio.
    Source: Appel (2005), Technical Analysis; the seed is TA-Lib's.
    """
    return MACD_WEIGHTS @ in_last_shares(close, split_ratio)


@table_feature("macd_signal", reads=BARS, rows=MACD_ROWS, unit="quote")
def macd_signal(close: Any, split_ratio: Any) -> float:
    """Nine-day exponential average of macd.

    Formula: ema_9 of macd, seeded with the mean of its first 9 values
    NaN: as macd.
    """
    return SIGNAL_WEIGHTS @ in_last_shares(close, split_ratio)


@table_feature("macd_histogram", reads=BARS, rows=MACD_ROWS, unit="quote")
def macd_histogram(close: Any, split_ratio: Any) -> float:
    """Distance of macd from its signal.

    Formula: macd - macd_signal
    NaN: as macd.
    """
    return (MACD_WEIGHTS - SIGNAL_WEIGHTS) @ in_last_shares(close, split_ratio)


@table_feature("trend_strength", reads=BARS, rows=63, unit="1", low=-1.0, high=1.0)
def trend_strength(close: Any, split_ratio: Any) -> float:
    """How straight the last quarter went: R² of the line through the log closes, with the sign of its slope.

    Formula: sign(c) * c² with c = correlation(day number, log(close)) over 63 days; 0 when nothing moved
    NaN: fewer than 63 bars, or one without close or split ratio.
    """
    prices = np.log(in_last_shares(close, split_ratio))
    if np.ptp(prices) == 0.0:
        return 0.0
    correlation = float(np.clip(np.corrcoef(np.arange(len(prices)), prices)[0, 1], -1.0, 1.0))
    return correlation * abs(correlation)


@table_feature(
    "momentum_{months}m", reads=BARS, rows=lambda months: months * MONTH + 1, unit="1", low=-1.0, months=(1, 3, 6, 12)
)
def momentum(close: Any, split_ratio: Any, dividend: Any) -> float:
    """Return over the last n months of 21 trading days, the newest included, dividends reinvested.

    Formula: product(1 + r) - 1 over 21 n days, r as in returns_1d
    NaN: fewer than 21 n + 1 bars, or one without close, split ratio or dividend.
    Source: Jegadeesh and Titman (1993), without their month between ranking and holding.
    """
    return np.prod(1.0 + total_returns(close, split_ratio, dividend)) - 1.0


@table_feature("high_52w_position", reads=BARS, rows=YEAR, unit="1", low=0.0)
def high_52w_position(close: Any, high: Any, split_ratio: Any) -> float:
    """Close relative to the highest price of the last 252 days.

    Formula: close / max(high)
    NaN: fewer than 252 bars, or one without close, high or split ratio.
    Source: George and Hwang (2004), The 52-Week High and Momentum Investing.
    """
    return close[-1] / np.max(in_last_shares(high, split_ratio))


@table_feature("low_52w_position", reads=BARS, rows=YEAR, unit="1", low=0.0)
def low_52w_position(close: Any, low: Any, split_ratio: Any) -> float:
    """Close relative to the lowest price of the last 252 days.

    Formula: close / min(low)
    NaN: fewer than 252 bars, one without close, low or split ratio, or a low of 0.
    """
    lowest = np.min(in_last_shares(low, split_ratio))
    return close[-1] / lowest if lowest > 0 else np.nan
