"""The technical features as the catalogue states them: exponential averages in closed form where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from operator import sub
from typing import Final

from quality.oracle.arithmetic import Number, decimal_mean, mean, population_std, rounded
from quality.oracle.candles import Candle

K: Final = 10
"""A recursive indicator of period n sees K n bars."""


Formula = Callable[[Sequence[Candle]], Number | None]


def decayed(seed: Fraction, later: Sequence[Fraction], decay: Fraction) -> Decimal:
    """An exponential average of the m bars after its seed: Σ (1 - decay) decay^(m - i) x_i + decay^m × seed."""
    total = sum(
        (rounded((1 - decay) * value) * rounded(decay) ** age for age, value in enumerate(reversed(later))), Decimal(0)
    )
    return total + rounded(decay) ** len(later) * rounded(seed)


def ema(closes: Sequence[Fraction], period: int) -> Decimal:
    """Seeded with the mean of the first ``period`` closes."""
    return decayed(mean(closes[:period]), closes[period:], 1 - Fraction(2, period + 1))


def emas(values: Sequence[Decimal], period: int) -> list[Decimal]:
    """The average after each value from the ``period``-th on."""
    weight = Decimal(2) / (period + 1)
    averages = [decimal_mean(values[:period])]
    for value in values[period:]:
        averages.append(weight * value + (1 - weight) * averages[-1])
    return averages


def macd(closes: Sequence[Fraction]) -> tuple[Decimal, Decimal]:
    """Line and signal (12, 26, 9) at the last close; both averages are seeded to end on the 26th."""
    values = [rounded(close) for close in closes]
    lines = [fast - slow for fast, slow in zip(emas(values[26 - 12 :], 12), emas(values, 26), strict=True)]
    return lines[-1], emas(lines, 9)[-1]


def rsi(closes: Sequence[Fraction]) -> Number:
    """100 gain / (gain + loss) of 14 periods with Wilder's averages, 50 when nothing moved."""
    changes = [later - earlier for earlier, later in pairwise(closes)]
    gains = [max(change, Fraction(0)) for change in changes]
    losses = [max(-change, Fraction(0)) for change in changes]
    gain, loss = (decayed(mean(moves[:14]), moves[14:], Fraction(13, 14)) for moves in (gains, losses))
    return 100 * gain / (gain + loss) if gain + loss else Fraction(50)


def over_closes(formula: Callable[[Sequence[Fraction]], Number]) -> Formula:
    return lambda candles: formula([candle.close for candle in candles])


def change(closes: Sequence[Fraction]) -> Fraction:
    return closes[-1] / closes[0] - 1


def returns_std(closes: Sequence[Fraction]) -> Decimal:
    return population_std([later / earlier - 1 for earlier, later in pairwise(closes)])


def volume_to_mean(candles: Sequence[Candle]) -> Fraction | None:
    average = mean([candle.volume for candle in candles])
    return candles[-1].volume / average if average else None


def volume_zscore(candles: Sequence[Candle]) -> Decimal | None:
    volumes = [candle.volume for candle in candles]
    spread = population_std(volumes)
    return rounded(volumes[-1] - mean(volumes)) / spread if spread else None


def bollinger(closes: Sequence[Fraction], widths: int) -> Decimal:
    return rounded(mean(closes)) + widths * population_std(closes)


def bollinger_width(closes: Sequence[Fraction]) -> Decimal:
    return (bollinger(closes, 2) - bollinger(closes, -2)) / rounded(mean(closes))


TECHNICAL: Final[dict[str, tuple[int, Formula]]] = {
    **{f"returns_{n}m": (n + 1, over_closes(change)) for n in (1, 3, 5)},
    "roc_5m": (6, over_closes(change)),
    "roc_15m": (16, over_closes(change)),
    "roc_1h": (61, over_closes(change)),
    "returns_3_candles": (3, over_closes(change)),
    **{f"volatility_{n}m": (n, over_closes(returns_std)) for n in (5, 10, 15)},
    "volatility_20_candles": (20, over_closes(returns_std)),
    "volume_zscore": (100, volume_zscore),
    "volume_ratio_20": (20, volume_to_mean),
    "relative_volume_1h": (60, volume_to_mean),
    "relative_volume_24h": (1440, volume_to_mean),
    "rsi_14": (K * (2 * 14 - 1), over_closes(rsi)),
    "ema_20": (K * 20, over_closes(lambda closes: ema(closes, 20))),
    "ema_21": (K * 21, over_closes(lambda closes: ema(closes, 21))),
    "price_ema21_ratio": (K * 21, over_closes(lambda closes: rounded(closes[-1]) / ema(closes, 21))),
    "macd_line": (K * (26 + 9), over_closes(lambda closes: macd(closes)[0])),
    "macd_signal": (K * (26 + 9), over_closes(lambda closes: macd(closes)[1])),
    "macd_histogram": (K * (26 + 9), over_closes(lambda closes: sub(*macd(closes)))),
    "bb_upper": (20, over_closes(lambda closes: bollinger(closes, 2))),
    "bb_lower": (20, over_closes(lambda closes: bollinger(closes, -2))),
    "bb_width": (20, over_closes(bollinger_width)),
}
"""By name: how many candles the formula is over, and the formula; None where its inputs give no value."""
