"""What the exchange's own candles of other intervals say, a group an interval: of confirmed ones that have ended."""

from __future__ import annotations

import math
from typing import Any, Final

from transforms.declaration import BARS, feature
from transforms.indicators import MEMORY, exponential_average, mean, population_std, relative_strength
from transforms.jit import jit
from transforms.moments import population_std_of_returns

NAN = math.nan
INTERVALS: Final = ("5m", "15m", "1h")
LONG: Final = ("5m",)
"""Of which a day holds as many as a recursive indicator looks back at."""
BARS_20 = 20
EMA_PERIOD = 20
RSI_PERIOD = 14
RSI_BARS = MEMORY * (2 * RSI_PERIOD - 1)
BOLLINGER_WIDTH = 2.0


@jit
def return_from(first: int, last: int) -> float:
    """Simple return from one price to another."""
    return (last - first) / first


@feature(
    "returns_{n}_bars_{interval}",
    reads=BARS,
    intervals=INTERVALS,
    n=(1, 3, 12),
    candles=lambda n: n + 1,
    unit="1",
    low=-1.0,
)
def returns(bars: Any) -> float:
    """Simple return of the last bar's close over n bars.

    Formula: close(last) / close(n bars before) - 1
    NaN: a bar in between is missing.
    """
    return return_from(bars.close[0], bars.close[-1])


@feature("volatility_20_bars_{interval}", reads=BARS, intervals=INTERVALS, candles=BARS_20, unit="1", low=0.0)
def volatility(bars: Any) -> float:
    """Population standard deviation of the 19 simple returns of the last 20 closes.

    Formula: std(close(i) / close(i - 1) - 1, ddof = 0), 19 returns
    NaN: one of the bars is missing.
    """
    return population_std_of_returns(bars.close)


@feature(
    "volume_ratio_20_bars_{interval}", reads=BARS, intervals=INTERVALS, candles=BARS_20, unit="1", low=0.0, high=20.0
)
def volume_ratio(bars: Any) -> float:
    """Last bar's volume relative to the mean of the last 20.

    Formula: volume(last) / mean(volume), over 20 bars
    NaN: nothing traded, or one of the bars is missing.
    """
    average = mean(bars.volume)
    return bars.volume[-1] / average if average > 0.0 else NAN


@feature("volume_zscore_20_bars_{interval}", reads=BARS, intervals=INTERVALS, candles=BARS_20, unit="1")
def volume_zscore(bars: Any) -> float:
    """How unusual the last bar's volume is among the last 20.

    Formula: (volume(last) - mean) / std(ddof = 0), over 20 bars
    NaN: all volumes are equal, or one of the bars is missing.
    """
    deviation = population_std(bars.volume)
    return (bars.volume[-1] - mean(bars.volume)) / deviation if deviation > 0.0 else NAN


@feature("bb_width_bars_{interval}", reads=BARS, intervals=INTERVALS, candles=BARS_20, unit="1", low=0.0)
def bb_width(bars: Any) -> float:
    """Distance of the Bollinger bands of 20 bars and two deviations relative to their middle.

    Formula: 4 * std(close, ddof = 0) / mean(close), over 20 bars
    NaN: one of the bars is missing.
    """
    return 2.0 * BOLLINGER_WIDTH * population_std(bars.close) / mean(bars.close)


@feature("rsi_14_bars_{interval}", reads=BARS, intervals=LONG, candles=RSI_BARS, unit="1", low=0.0, high=100.0)
def rsi_14(bars: Any) -> float:
    """Relative strength index of 14 periods over the last 270 closes.

    Formula: 100 * gain / (gain + loss) over the last 270 closes; gain = (13 * gain + rise) / 14, starting from the mean
        of the first 14 rises, a fall being 0, and loss likewise of the falls; 50 when nothing moved
    NaN: one of the bars is missing.
    Source: Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib's seed.
    """
    return relative_strength(bars.close, RSI_PERIOD)


@feature(
    "price_ema20_ratio_bars_{interval}", reads=BARS, intervals=LONG, candles=MEMORY * EMA_PERIOD, unit="1", low=0.0
)
def price_ema20_ratio(bars: Any) -> float:
    """Last close relative to its 20-period exponential average over the last 200 closes.

    Formula: close(last) / ema_20 over the last 200 closes, seeded with the mean of the first 20
    NaN: one of the bars is missing.
    Source: TA-Lib's EMA.
    """
    return bars.close[-1] / exponential_average(bars.close, EMA_PERIOD)


@feature("bar_body_{interval}", reads=BARS, intervals=INTERVALS, candles=1, unit="1", low=-1.0)
def bar_body(bars: Any) -> float:
    """How far the last bar closed above its open, relative to it; below is negative.

    Formula: close / open - 1
    NaN: the bar is missing.
    """
    return return_from(bars.open[-1], bars.close[-1])


@feature("bar_range_{interval}", reads=BARS, intervals=INTERVALS, candles=1, unit="1", low=0.0)
def bar_range(bars: Any) -> float:
    """Distance of the last bar's high from its low, relative to its open.

    Formula: (high - low) / open
    NaN: the bar is missing.
    """
    return (bars.high[-1] - bars.low[-1]) / bars.open[-1]


@feature("bar_close_place_{interval}", reads=BARS, intervals=INTERVALS, candles=1, unit="1", low=0.0, high=1.0)
def bar_close_place(bars: Any) -> float:
    """Where the last bar closed between its low and its high.

    Formula: (close - low) / (high - low)
    NaN: the bar has one price, or is missing.
    """
    height = bars.high[-1] - bars.low[-1]
    return (bars.close[-1] - bars.low[-1]) / height if height > 0 else NAN
