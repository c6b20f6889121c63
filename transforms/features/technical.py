"""What the candles say: features of closed one-minute klines."""

from __future__ import annotations

import math
from typing import Any

from transforms.declaration import KLINES, feature
from transforms.indicators import (
    MEMORY,
    convergence,
    exponential_average,
    mean,
    population_std,
    relative_strength,
)
from transforms.jit import jit
from transforms.moments import population_std_of_returns

NAN = math.nan
EMA_PERIOD = 21
RSI_PERIOD = 14
RSI_CANDLES = MEMORY * (2 * RSI_PERIOD - 1)
MACD_FAST = 12
MACD_SLOW = 26
MACD_SIGNAL = 9
MACD_CANDLES = MEMORY * (MACD_SLOW + MACD_SIGNAL)
BOLLINGER_CANDLES = 20
BOLLINGER_WIDTH = 2.0


@jit
def return_over(closes: Any) -> float:
    """Simple return from the first close to the last."""
    return (closes[-1] - closes[0]) / closes[0]


@feature("returns_{window}", reads=KLINES, windows=("1m", "3m", "5m"), candles=lambda n: n + 1, unit="1", low=-1.0)
def returns(candles: Any) -> float:
    """Simple return of the last candle's close over n candles.

    Formula: close(last candle) / close(n candles before) - 1
    NaN: a candle in between is missing.
    """
    return return_over(candles.close)


@feature("roc_{window}", reads=KLINES, windows=("5m", "15m", "1h"), candles=lambda n: n + 1, unit="1", low=-1.0)
def rate_of_change(candles: Any) -> float:
    """Rate of change of the close over the period.

    Formula: close(last candle) / close(period ago) - 1
    NaN: a candle in between is missing.
    """
    return return_over(candles.close)


@feature("returns_3_candles", reads=KLINES, candles=3, unit="1", low=-1.0)
def returns_3_candles(candles: Any) -> float:
    """Simple return from the first to the last close of the last three candles.

    Formula: close(last) / close(first) - 1, over 3 candles
    NaN: one of the candles is missing.
    """
    return return_over(candles.close)


@feature("volatility_{window}", reads=KLINES, windows=("5m", "10m", "15m"), candles=lambda n: n, unit="1", low=0.0)
def volatility(candles: Any) -> float:
    """Population standard deviation of the simple returns of consecutive closes of the last n candles.

    Formula: std(close(i) / close(i - 1) - 1, ddof = 0), n - 1 returns
    NaN: one of the candles is missing.
    """
    return population_std_of_returns(candles.close)


@feature("volatility_20_candles", reads=KLINES, candles=20, unit="1", low=0.0)
def volatility_20_candles(candles: Any) -> float:
    """Population standard deviation of the 19 simple returns of the last 20 closes.

    Formula: std(close(i) / close(i - 1) - 1, ddof = 0), 19 returns
    NaN: one of the candles is missing.
    """
    return population_std_of_returns(candles.close)


@feature("volume_zscore", reads=KLINES, candles=100, unit="1")
def volume_zscore(candles: Any) -> float:
    """How unusual the last candle's volume is among the last 100.

    Formula: (volume(last) - mean) / std(ddof = 0), over 100 candles
    NaN: all volumes are equal, or one of the candles is missing.
    """
    deviation = population_std(candles.volume)
    return (candles.volume[-1] - mean(candles.volume)) / deviation if deviation > 0.0 else NAN


@feature("volume_ratio_20", reads=KLINES, candles=20, unit="1", low=0.0, high=20.0)
def volume_ratio(candles: Any) -> float:
    """Last candle's volume relative to the mean of the last 20.

    Formula: volume(last) / mean(volume), over 20 candles
    NaN: nothing traded, or one of the candles is missing.
    """
    average = mean(candles.volume)
    return candles.volume[-1] / average if average > 0.0 else NAN


@feature("relative_volume_{window}", reads=KLINES, windows=("1h", "24h"), candles=lambda n: n, unit="1", low=0.0)
def relative_volume(candles: Any) -> float:
    """Last candle's volume relative to the mean candle of the period.

    Formula: volume(last) / mean(volume), over the period's candles
    NaN: nothing traded, or one of the candles is missing.
    """
    average = mean(candles.volume)
    return candles.volume[-1] / average if average > 0.0 else NAN


@feature("rsi_14", reads=KLINES, candles=RSI_CANDLES, unit="1", low=0.0, high=100.0)
def rsi_14(candles: Any) -> float:
    """Relative strength index of 14 periods over the last 270 closes.

    Formula: 100 * gain / (gain + loss) over the last 270 closes; gain = (13 * gain + rise) / 14, starting from the mean
        of the first 14 rises, a fall being 0, and loss likewise of the falls; 50 when nothing moved
    NaN: one of the candles is missing.
    Source: Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib's seed.
    """
    return relative_strength(candles.close, RSI_PERIOD)


@feature("ema_{period}", reads=KLINES, period=(20, 21), candles=lambda period: MEMORY * period, unit="quote", low=0.0)
def ema(candles: Any, period: int, scale: Any) -> float:
    """Exponential moving average of the close over the last 10 n candles.

    Formula: over the last 10 n closes, ema is the mean of the first n of them, then ema += (close - ema) * 2 / (n + 1)
    NaN: one of the candles is missing.
    Source: TA-Lib's EMA.
    """
    return exponential_average(candles.close, period) / scale.px


@feature("price_ema21_ratio", reads=KLINES, candles=MEMORY * EMA_PERIOD, unit="1", low=0.0)
def price_ema21_ratio(candles: Any) -> float:
    """Last close relative to its 21-period exponential average.

    Formula: close(last) / ema_21, over the last 210 closes
    NaN: one of the candles is missing.
    """
    return candles.close[-1] / exponential_average(candles.close, EMA_PERIOD)


@feature("macd_line", reads=KLINES, candles=MACD_CANDLES, unit="quote")
def macd_line(candles: Any, scale: Any) -> float:
    """Difference of the 12- and 26-period exponential averages, over the last 350 closes.

    Formula: ema_12 - ema_26 over the last 350 closes, seeded with the means of the 12 and the 26 closes up to the 26th
    NaN: one of the candles is missing.
    Source: TA-Lib's MACD.
    """
    return convergence(candles.close, MACD_FAST, MACD_SLOW, MACD_SIGNAL)[0] / scale.px


@feature("macd_signal", reads=KLINES, candles=MACD_CANDLES, unit="quote")
def macd_signal(candles: Any, scale: Any) -> float:
    """Nine-period exponential average of the MACD line.

    Formula: ema_9 of macd_line from the 26th of the last 350 closes on, seeded with the mean of its first 9 values
    NaN: one of the candles is missing.
    Source: TA-Lib's MACD.
    """
    return convergence(candles.close, MACD_FAST, MACD_SLOW, MACD_SIGNAL)[1] / scale.px


@feature("macd_histogram", reads=KLINES, candles=MACD_CANDLES, unit="quote")
def macd_histogram(candles: Any, scale: Any) -> float:
    """Distance of the MACD line from its signal.

    Formula: macd_line - macd_signal
    NaN: one of the candles is missing.
    Source: TA-Lib's MACD.
    """
    line, signal = convergence(candles.close, MACD_FAST, MACD_SLOW, MACD_SIGNAL)
    return (line - signal) / scale.px


@feature("bb_upper", reads=KLINES, candles=BOLLINGER_CANDLES, unit="quote", low=0.0)
def bb_upper(candles: Any, scale: Any) -> float:
    """Upper Bollinger band of 20 candles and two deviations.

    Formula: mean(close) + 2 * std(close, ddof = 0), over 20 candles
    NaN: one of the candles is missing.
    """
    return (mean(candles.close) + BOLLINGER_WIDTH * population_std(candles.close)) / scale.px


@feature("bb_lower", reads=KLINES, candles=BOLLINGER_CANDLES, unit="quote")
def bb_lower(candles: Any, scale: Any) -> float:
    """Lower Bollinger band of 20 candles and two deviations.

    Formula: mean(close) - 2 * std(close, ddof = 0), over 20 candles
    NaN: one of the candles is missing.
    """
    return (mean(candles.close) - BOLLINGER_WIDTH * population_std(candles.close)) / scale.px


@feature("bb_width", reads=KLINES, candles=BOLLINGER_CANDLES, unit="1", low=0.0)
def bb_width(candles: Any) -> float:
    """Distance of the Bollinger bands relative to their middle.

    Formula: (bb_upper - bb_lower) / mean(close), over 20 candles
    NaN: one of the candles is missing.
    """
    return 2.0 * BOLLINGER_WIDTH * population_std(candles.close) / mean(candles.close)
