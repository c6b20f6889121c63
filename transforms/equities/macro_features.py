"""Macro: features of series that are the same for every symbol, each value from when it was published.

Table ``macro_series``, a row a value: key is the series, value its number. SPY is the price of the fund, VIX the index
in per cent, and as the Federal Reserve names them DGS3MO, DGS2 and DGS10 the Treasury yields, AAA and BAA the yields
that Moody's gives for corporate bonds, in per cent.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.table_feature import Window, table_feature

FRESHNESS: Final = "1h"
TIME_TO_LIVE: Final = "7d"
SERIES: Final = "macro_series"
DAILY: Final = "7d"
MONTHLY: Final = "65d"
"""A month dated by its first day, known some days after its end, and the newest until the next is."""
TREND_DAYS: Final = 200
YEAR: Final = 252


def series(key: str, rows: int = 1, within: str = DAILY) -> Window:
    """The last values of a series, none where the newest is old."""
    return Window(SERIES, "value", rows, within, key)


@table_feature(
    "spy_returns_{days}d", unit="1", low=-1.0, sees=lambda days: {"spy": series("SPY", days + 1)}, days=(1, 5, 20)
)
def spy_returns(spy: Any) -> float:
    """Return of the S&P 500 fund over the last n trading days, without its dividends.

    Formula: SPY / SPY(n days before) - 1
    NaN: fewer than n + 1 values known, or none of the last 7 days.
    """
    return spy[-1] / spy[0] - 1.0


@table_feature("spy_volatility_20d", unit="1/sqrt(year)", low=0.0, sees={"spy": series("SPY", 21)})
def spy_volatility_20d(spy: Any) -> float:
    """Yearly volatility of the last 20 daily returns of the S&P 500 fund.

    Formula: std(log(SPY / SPY(day before)), ddof = 1) * sqrt(252)
    NaN: fewer than 21 values known, or none of the last 7 days.
    """
    return np.std(np.diff(np.log(spy)), ddof=1) * YEAR**0.5


@table_feature("vix", unit="%", low=0.0, sees={"value": series("VIX")})
def vix(value: Any) -> float:
    """Volatility that options on the S&P 500 imply for the next 30 days.

    Formula: VIX
    NaN: no value of the last 7 days is known.
    Source: Cboe (2003), VIX White Paper.
    """
    return value[-1]


@table_feature("term_spread", unit="%", sees={"long": series("DGS10"), "short": series("DGS3MO")})
def term_spread(long: Any, short: Any) -> float:
    """Slope of the yield curve.

    Formula: DGS10 - DGS3MO
    NaN: one of both has no known value of the last 7 days.
    Source: Estrella and Mishkin (1998), Predicting U.S. Recessions.
    """
    return long[-1] - short[-1]


@table_feature("credit_spread", unit="%", sees={"low": series("BAA", 1, MONTHLY), "high": series("AAA", 1, MONTHLY)})
def credit_spread(low: Any, high: Any) -> float:
    """What the market asks for the risk of default: yield of lesser over that of best corporate bonds.

    Formula: BAA - AAA
    NaN: one of both has no known value of the last 65 days.
    Source: Fama and French (1989), Business Conditions and Expected Returns on Stocks and Bonds.
    """
    return low[-1] - high[-1]


@table_feature("treasury_yield_3m", unit="%", sees={"value": series("DGS3MO")})
def treasury_yield_3m(value: Any) -> float:
    """Yield of three months of the United States.

    Formula: DGS3MO
    NaN: no value of the last 7 days is known.
    """
    return value[-1]


@table_feature("treasury_yield_{years}y", unit="%", sees=lambda years: {"value": series(f"DGS{years}")}, years=(2, 10))
def treasury_yield(value: Any) -> float:
    """Yield of n years of the United States.

    Formula: DGSn
    NaN: no value of the last 7 days is known.
    """
    return value[-1]


@table_feature(
    "market_regime", unit="1", low=0.0, high=2.0, sees={"spy": series("SPY", TREND_DAYS), "vix": series("VIX", YEAR)}
)
def market_regime(spy: Any, vix: Any) -> float:
    """Whether the market rises calmly (2), falls in fear (0), or neither (1).

    Formula: 2 when SPY is above its mean of 200 days and VIX not above its median of 252, 0 when SPY is not above its
        mean and VIX above its median, else 1
    NaN: fewer than 200 values of SPY or 252 of VIX known, or none of the last 7 days.
    Source: Faber (2007), A Quantitative Approach to Tactical Asset Allocation, for the trend.
    """
    is_rising, is_calm = spy[-1] > np.mean(spy), vix[-1] <= np.median(vix)
    return 2.0 if is_rising and is_calm else 1.0 if is_rising or is_calm else 0.0
