"""Fundamentals: features of a company's quarterly reports from when each was published, and of its share's price.

Table ``reports``, a row a fiscal quarter, dated by the quarter's end and known when it was published; a restatement is
a row of the same quarter, published later: revenue and net_income of the quarter; equity, total_assets, total_debt and
shares_outstanding at its end. Prices and splits are those of ``daily_bars``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.equities.price_volume_features import BARS
from transforms.table_feature import EVENT_NS, Window, table_feature

FRESHNESS: Final = "1d"
TIME_TO_LIVE: Final = "200d"
REPORTS: Final = "reports"
QUARTERS: Final = 4
RECENT: Final = "200d"
"""After its quarter's end a report is the newest at most so long: a quarter, and the time to publish the next."""
PRICE: Final = {
    "close": Window(BARS, "close", 1, "7d"),
    "split_ratio": Window(BARS, "split_ratio", 0),
    "bar_ns": Window(BARS, EVENT_NS, 0),
}
_DAY_NS: Final = 86_400 * 10**9


def reported(quarters: int, *columns: str) -> dict[str, Window]:
    """What is seen of the last quarters, and when they ended."""
    return {
        name: Window(REPORTS, EVENT_NS if name == "quarter_ns" else name, quarters, RECENT)
        for name in (*columns, "quarter_ns")
    }


def are_successive(quarter_ns: Any) -> Any:
    """Whether quarters follow each other, none left out: 80 to 100 days, 14 weeks where a year has 53."""
    apart = np.diff(quarter_ns)
    return ((apart >= 80 * _DAY_NS) & (apart <= 100 * _DAY_NS)).all()


def market_value(shares: float, quarter_ns: int, close: float, split_ratio: Any, bar_ns: Any) -> float:
    """Value of all shares: those of the quarter's end, put into the shares of the newest known close."""
    since = np.searchsorted(bar_ns, quarter_ns, side="right")
    return shares * np.prod(split_ratio[since:]) * close


@table_feature("pe_ratio", unit="1", low=0.0, sees={**reported(QUARTERS, "net_income", "shares_outstanding"), **PRICE})
def pe_ratio(
    net_income: Any, shares_outstanding: Any, quarter_ns: Any, close: Any, split_ratio: Any, bar_ns: Any
) -> float:
    """Market value relative to the net income of the last four reported quarters.

    Formula: close * shares_outstanding * splits since the quarter's end / sum(net_income of 4 quarters)
    NaN: fewer than four successive quarters known, no close of the last 7 days, or no profit: a loss has no such ratio.
    Source: Graham and Dodd (1934), Security Analysis.
    """
    earned = np.sum(net_income)
    if earned <= 0 or not are_successive(quarter_ns):
        return np.nan
    return market_value(shares_outstanding[-1], quarter_ns[-1], close[-1], split_ratio, bar_ns) / earned


@table_feature("pb_ratio", unit="1", low=0.0, sees={**reported(1, "equity", "shares_outstanding"), **PRICE})
def pb_ratio(equity: Any, shares_outstanding: Any, quarter_ns: Any, close: Any, split_ratio: Any, bar_ns: Any) -> float:
    """Market value relative to the equity of the last reported quarter.

    Formula: close * shares_outstanding * splits since the quarter's end / equity
    NaN: no report known, no close of the last 7 days, or an equity that is not above 0.
    Source: Fama and French (1992), The Cross-Section of Expected Stock Returns, of which it is the inverse.
    """
    if equity[-1] <= 0:
        return np.nan
    return market_value(shares_outstanding[-1], quarter_ns[-1], close[-1], split_ratio, bar_ns) / equity[-1]


@table_feature("roe", unit="1/year", sees=reported(QUARTERS + 1, "net_income", "equity"))
def roe(net_income: Any, equity: Any, quarter_ns: Any) -> float:
    """Return on equity: net income of the last four reported quarters relative to the equity it was made with.

    Formula: sum(net_income of 4 quarters) / mean(equity at their beginning, at their end)
    NaN: fewer than five successive quarters known, or an equity whose mean is not above 0.
    """
    mean = (equity[0] + equity[-1]) / 2.0
    return np.sum(net_income[1:]) / mean if mean > 0 and are_successive(quarter_ns) else np.nan


@table_feature("roa", unit="1/year", sees=reported(QUARTERS + 1, "net_income", "total_assets"))
def roa(net_income: Any, total_assets: Any, quarter_ns: Any) -> float:
    """Return on assets: net income of the last four reported quarters relative to the assets it was made with.

    Formula: sum(net_income of 4 quarters) / mean(total_assets at their beginning, at their end)
    NaN: fewer than five successive quarters known, or assets whose mean is not above 0.
    """
    mean = (total_assets[0] + total_assets[-1]) / 2.0
    return np.sum(net_income[1:]) / mean if mean > 0 and are_successive(quarter_ns) else np.nan


@table_feature("debt_to_equity", unit="1", low=0.0, sees=reported(1, "total_debt", "equity"))
def debt_to_equity(total_debt: Any, equity: Any, quarter_ns: Any) -> float:  # noqa: ARG001  # the report's own date
    """Interest-bearing debt relative to equity at the end of the last reported quarter.

    Formula: total_debt / equity
    NaN: no report known, or an equity that is not above 0.
    """
    return total_debt[-1] / equity[-1] if equity[-1] > 0 else np.nan


@table_feature("debt_to_assets", unit="1", low=0.0, sees=reported(1, "total_debt", "total_assets"))
def debt_to_assets(total_debt: Any, total_assets: Any, quarter_ns: Any) -> float:  # noqa: ARG001  # the report's own date
    """Share of the assets that is financed by interest-bearing debt at the end of the last reported quarter.

    Formula: total_debt / total_assets
    NaN: no report known, or assets that are not above 0.
    """
    return total_debt[-1] / total_assets[-1] if total_assets[-1] > 0 else np.nan


@table_feature("revenue_growth", unit="1", low=-1.0, sees=reported(QUARTERS + 1, "revenue"))
def revenue_growth(revenue: Any, quarter_ns: Any) -> float:
    """Growth of the last reported quarter's revenue over the same quarter of the year before.

    Formula: revenue / revenue(4 quarters before) - 1
    NaN: fewer than five successive quarters known, or no revenue a year before.
    """
    return revenue[-1] / revenue[0] - 1.0 if revenue[0] > 0 and are_successive(quarter_ns) else np.nan


@table_feature("earnings_growth", unit="1", sees=reported(QUARTERS + 1, "net_income"))
def earnings_growth(net_income: Any, quarter_ns: Any) -> float:
    """Growth of the last reported quarter's net income over the same quarter of the year before.

    Formula: net_income / net_income(4 quarters before) - 1
    NaN: fewer than five successive quarters known, or no profit a year before: of a loss there is no growth.
    """
    return net_income[-1] / net_income[0] - 1.0 if net_income[0] > 0 and are_successive(quarter_ns) else np.nan
