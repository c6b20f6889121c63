"""The features of bars as the catalogue states them: by the interval, the formulas of candles."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from quality.oracle.arithmetic import Number, rounded
from quality.oracle.candles import Candle
from quality.oracle.indicators import (
    Formula,
    bollinger_width,
    change,
    ema,
    over_closes,
    returns_std,
    rsi,
    volume_to_mean,
    volume_zscore,
)
from quality.oracle.rows import Value

MINUTES: Final = {"5m": 5, "15m": 15, "1h": 60}
_FORMULAS: Final[dict[str, tuple[int, Formula]]] = {
    **{f"returns_{n}_bars": (n + 1, over_closes(change)) for n in (1, 3, 12)},
    "volatility_20_bars": (20, over_closes(returns_std)),
    "volume_ratio_20_bars": (20, volume_to_mean),
    "volume_zscore_20_bars": (20, volume_zscore),
    "bb_width_bars": (20, over_closes(bollinger_width)),
    "bar_body": (1, lambda bars: bars[-1].close / bars[-1].open - 1),
    "bar_range": (1, lambda bars: bars[-1].range),
    "bar_close_place": (1, lambda bars: close_place(bars[-1])),
}
_OF_FIVE_MINUTES: Final[dict[str, tuple[int, Formula]]] = {
    "rsi_14_bars": (270, over_closes(rsi)),
    "price_ema20_ratio_bars": (200, over_closes(lambda closes: rounded(closes[-1]) / ema(closes, 20))),
}


def bar_features(interval: str, run: Sequence[Candle]) -> dict[str, Value]:
    """Every feature of an interval's group; run: the bars that a row may look at, oldest first."""
    formulas = _FORMULAS | (_OF_FIVE_MINUTES if interval == "5m" else {})
    return {
        f"{name}_{interval}": Value(formula(run[-count:]) if count <= len(run) else None, _size(name))
        for name, (count, formula) in formulas.items()
    }


def close_place(bar: Candle) -> Number | None:
    height = bar.high - bar.low
    return (bar.close - bar.low) / height if height else None


def _size(name: str) -> Fraction:
    """Of the terms of a difference, beside which the difference itself may be next to nothing."""
    return Fraction(1) if name == "volume_zscore_20_bars" else Fraction(0)
