"""Means and deviations of short series, recomputed from the whole series in one fixed order.

A sum of squares kept running loses digits at market prices and depends on where it started; two passes do neither.
"""

from __future__ import annotations

import math
from typing import Any

from transforms.jit import jit


@jit
def population_std_of_returns(prices: Any) -> float:
    """Population standard deviation (ddof 0) of the simple returns between consecutive prices.

    prices: positive integers (n,), n >= 2; 0 stands for unknown and makes the result NaN.
    """
    count = len(prices) - 1
    total = 0.0
    for i in range(len(prices)):
        if prices[i] == 0:
            return math.nan
        if i > 0:
            total += (prices[i] - prices[i - 1]) / prices[i - 1]
    mean = total / count
    squares = 0.0
    for i in range(1, len(prices)):
        deviation = (prices[i] - prices[i - 1]) / prices[i - 1] - mean
        squares += deviation * deviation
    return math.sqrt(squares / count)
