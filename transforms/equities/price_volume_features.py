"""Price and volume: features of a share's daily bars.

Table ``daily_bars``: open, high, low, close, volume, split_ratio, dividend and, where a source gives it, vwap.
Dividends are per share after the day's split, on their ex day.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.equities.adjusting import total_returns, volume_in_last_shares
from transforms.table_feature import table_feature

FRESHNESS: Final = "5m"
TIME_TO_LIVE: Final = "7d"
BARS: Final = "daily_bars"
TRADING_DAYS: Final = 252
"""Of a year, by which a daily deviation becomes a yearly one."""


@table_feature("close_price", reads=BARS, rows=1, unit="quote", low=0.0)
def close_price(close: Any) -> float:
    """Close of the newest day that is known, as traded.

    Formula: close
    NaN: the bar has no close.
    """
    return close[-1]


@table_feature("vwap", reads=BARS, rows=1, unit="quote", low=0.0)
def vwap(vwap: Any) -> float:
    """Volume-weighted average price of the day, as the source gives it.

    Formula: vwap
    NaN: the source gives none: open, high, low and close do not tell it.
    """
    return vwap[-1]


@table_feature("volume", reads=BARS, rows=1, unit="shares", low=0.0)
def volume(volume: Any) -> float:
    """Shares traded on the newest day that is known.

    Formula: volume
    NaN: the bar has no volume.
    """
    return volume[-1]


@table_feature("returns_{days}d", reads=BARS, rows=lambda days: days + 1, unit="1", low=-1.0, days=(1, 5, 20))
def returns(close: Any, split_ratio: Any, dividend: Any) -> float:
    """Return over the last n trading days, dividends reinvested at the close of their ex day.

    Formula: product(1 + r) - 1 with r = (close + dividend) * split_ratio / close(day before) - 1
    NaN: fewer than n + 1 bars, or one without close, split ratio or dividend.
    """
    return np.prod(1.0 + total_returns(close, split_ratio, dividend)) - 1.0


@table_feature("volatility_20d", reads=BARS, rows=21, unit="1/sqrt(year)", low=0.0)
def volatility_20d(close: Any, split_ratio: Any, dividend: Any) -> float:
    """Yearly volatility of the last 20 daily returns.

    Formula: std(log(1 + r), ddof = 1) * sqrt(252), r as in returns_1d
    NaN: fewer than 21 bars, or one without close, split ratio or dividend.
    """
    return np.std(np.log1p(total_returns(close, split_ratio, dividend)), ddof=1) * TRADING_DAYS**0.5


@table_feature("volume_ratio", reads=BARS, rows=21, unit="1", low=0.0)
def volume_ratio(volume: Any, split_ratio: Any) -> float:
    """Volume of the day relative to the mean of the 20 days before it, in shares of the day.

    Formula: volume / mean(volume of the 20 days before, splits undone)
    NaN: fewer than 21 bars, one without volume or split ratio, or nothing traded in the 20 days before.
    """
    before = np.mean(volume_in_last_shares(volume, split_ratio)[:-1])
    return volume[-1] / before if before > 0 else np.nan
