"""What the candles say: features of closed one-minute klines."""

from __future__ import annotations

import math
from typing import Any

from transforms.declaration import KLINES, feature
from transforms.moments import population_std_of_returns

NAN = math.nan


@feature("returns_{window}", reads=KLINES, windows=("1m", "3m", "5m"), candles=lambda n: n + 1, unit="1", low=-1.0)
def returns(candles: Any) -> float:
    """Simple return of the last candle's close over n candles.

    Formula: close(last candle) / close(n candles before) - 1
    NaN: a candle in between is missing.
    """
    return (candles.close[-1] - candles.close[0]) / candles.close[0]


@feature("volatility_{window}", reads=KLINES, windows=("5m", "10m", "15m"), candles=lambda n: n, unit="1", low=0.0)
def volatility(candles: Any) -> float:
    """Population standard deviation of the simple returns of consecutive closes of the last n candles.

    Formula: std(close(i) / close(i - 1) - 1, ddof = 0), n - 1 returns
    NaN: one of the candles is missing.
    """
    return population_std_of_returns(candles.close)
