"""Liquidity: features of a share's daily bars, and of what a source says beside them.

Table ``daily_bars``, as for price and volume; market_depth and shares_outstanding are columns of it where a source has
them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.equities.adjusting import total_returns
from transforms.equities.price_volume_features import BARS
from transforms.table_feature import table_feature

FRESHNESS: Final = "15m"
TIME_TO_LIVE: Final = "7d"
MONTH: Final = 21
YEAR: Final = 252
_TWO_DAYS: Final = 3.0 - 2.0 * 2.0**0.5


def illiquidity(close: Any, volume: Any, split_ratio: Any, dividend: Any) -> Any:
    """(n - 1,) absolute return of each day but the first for a million traded; infinite where nothing was."""
    return np.abs(total_returns(close, split_ratio, dividend)) / (close[1:] * volume[1:]) * 1e6


@table_feature("bid_ask_spread_bps", reads=BARS, rows=MONTH + 1, unit="bps", low=0.0, high=20_000.0)
def bid_ask_spread_bps(high: Any, low: Any, close: Any, split_ratio: Any) -> float:
    """Spread that the highs and lows of a month of days imply, in bps of the price.

    Formula: mean over 21 pairs of days of max(0, 2 (e^a - 1) / (1 + e^a)) * 1e4, with
        a = (sqrt(2 b) - sqrt(b)) / k - sqrt(g / k), k = 3 - 2 sqrt(2), b = sum of log(high / low)² of both days,
        g = log(highest / lowest)² of both; the second day is moved by the gap that it opened beyond the close before
    NaN: fewer than 22 bars, or one without high, low, close or split ratio.
    Source: Corwin and Schultz (2012), A Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices.
    """
    before = close[:-1] / split_ratio[1:]
    gap = np.maximum(before - high[1:], 0.0) - np.maximum(low[1:] - before, 0.0)
    high_before, low_before = high[:-1] / split_ratio[1:], low[:-1] / split_ratio[1:]
    high_after, low_after = high[1:] + gap, low[1:] + gap
    days = np.log(high_before / low_before) ** 2 + np.log(high_after / low_after) ** 2
    both = np.log(np.maximum(high_before, high_after) / np.minimum(low_before, low_after)) ** 2
    alpha = (np.sqrt(2.0 * days) - np.sqrt(days)) / _TWO_DAYS - np.sqrt(both / _TWO_DAYS)
    return np.mean(np.maximum(2.0 * np.tanh(alpha / 2.0), 0.0)) * 1e4


@table_feature("market_depth", reads=BARS, rows=1, unit="quote", low=0.0)
def market_depth(market_depth: Any) -> float:
    """Value of the orders near the price, as the source gives it.

    Formula: market_depth
    NaN: the source gives none: a bar does not tell the orders that were not filled.
    """
    return market_depth[-1]


@table_feature("turnover_ratio", reads=BARS, rows=1, unit="1/day", low=0.0)
def turnover_ratio(volume: Any, shares_outstanding: Any) -> float:
    """Share of all shares that was traded on the newest day that is known.

    Formula: volume / shares_outstanding
    NaN: the source does not give the shares outstanding, or 0 of them.
    """
    return volume[-1] / shares_outstanding[-1]


@table_feature("amihud_illiquidity", reads=BARS, rows=MONTH + 1, unit="1/million quote", low=0.0)
def amihud_illiquidity(close: Any, volume: Any, split_ratio: Any, dividend: Any) -> float:
    """Price move for a million traded, over a month of days.

    Formula: mean over 21 days of |r| / (close * volume) * 1e6, r as in returns_1d
    NaN: fewer than 22 bars, one without a number of the formula, or a day on which nothing was traded.
    Source: Amihud (2002), Illiquidity and stock returns.
    """
    return np.mean(illiquidity(close, volume, split_ratio, dividend))


@table_feature("price_impact_1pct", reads=BARS, rows=MONTH + 1, unit="bps", low=0.0)
def price_impact_1pct(close: Any, split_ratio: Any, dividend: Any) -> float:
    """Expected move of the price by an order of one per cent of a day's volume, by the square-root law.

    Formula: std(log(1 + r), ddof = 1) over 21 days * sqrt(0.01) * 1e4, r as in returns_1d
    NaN: fewer than 22 bars, or one without close, split ratio or dividend.
    Source: Tóth et al. (2011), Anomalous Price Impact; its factor of order one is taken as one.
    """
    return np.std(np.log1p(total_returns(close, split_ratio, dividend)), ddof=1) * 0.1 * 1e4


@table_feature("liquidity_regime", reads=BARS, rows=YEAR + MONTH, unit="1", low=0.0, high=2.0)
def liquidity_regime(close: Any, volume: Any, split_ratio: Any, dividend: Any) -> float:
    """Whether the share is more (2), as (1) or less (0) liquid than it was in most of the last year.

    Formula: 2 when amihud_illiquidity is in the lowest third of its last 252 values, 0 in the highest, else 1
    NaN: fewer than 273 bars, one without a number of the formula, or a day on which nothing was traded.
    """
    daily = illiquidity(close, volume, split_ratio, dividend)
    if not np.isfinite(daily).all():
        return np.nan
    monthly = np.convolve(daily, np.full(MONTH, 1.0 / MONTH), "valid")
    rank = np.mean(monthly <= monthly[-1])
    return 2.0 if rank <= 1.0 / 3.0 else 0.0 if rank > 2.0 / 3.0 else 1.0
