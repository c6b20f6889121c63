"""Prices of a window in the shares of its last day.

A split is told by the row of its ex day, ``split_ratio`` new shares for an old one (1 on every other day), so a window
holds all that is needed to compare its prices: a later split changes no earlier answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def in_last_shares(prices: Any, split_ratio: Any) -> Any:
    """(n,) prices divided by the ratios of all later days of the window."""
    return prices / _later_ratio(split_ratio)


def total_returns(close: Any, split_ratio: Any, dividend: Any) -> Any:
    """(n - 1,) return of each day but the first: new shares and their dividends for an old one."""
    return (close[1:] + dividend[1:]) * split_ratio[1:] / close[:-1] - 1.0


def volume_in_last_shares(volume: Any, split_ratio: Any) -> Any:
    """(n,) volumes multiplied by the ratios of all later days of the window."""
    return volume * _later_ratio(split_ratio)


def _later_ratio(split_ratio: Any) -> Any:
    ratio = np.ones(len(split_ratio))
    ratio[:-1] = np.cumprod(split_ratio[:0:-1])[::-1]
    return ratio
