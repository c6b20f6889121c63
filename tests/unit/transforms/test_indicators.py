"""Technical indicators against TA-Lib on a month of real candles, and where it has no answer."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from transforms.features.technical import BOLLINGER_CANDLES, MACD_CANDLES, RSI_CANDLES
from transforms.indicators import MEMORY, convergence, exponential_average, mean, population_std, relative_strength
from transforms.moments import population_std_of_returns

SCALE: Final = 10**5
Series = npt.NDArray[np.int64]
Reference = npt.NDArray[np.float64]


def bollinger(closes: Series, widths: int) -> float:
    return mean(closes) + widths * population_std(closes)


def bollinger_width(closes: Series) -> float:
    return 4 * population_std(closes) / mean(closes)


def reference_bands(closes: Reference) -> tuple[Reference, Reference, Reference]:
    upper, middle, lower = talib.BBANDS(closes, BOLLINGER_CANDLES, 2, 2)
    return upper, middle, lower


INDICATORS: Final[dict[str, tuple[int, Callable[[Series], float], Callable[[Reference], Reference]]]] = {
    "rsi_14": (RSI_CANDLES, lambda x: relative_strength(x, 14), lambda x: talib.RSI(x, 14)),
    "ema_20": (MEMORY * 20, lambda x: exponential_average(x, 20), lambda x: talib.EMA(x, 20)),
    "ema_21": (MEMORY * 21, lambda x: exponential_average(x, 21), lambda x: talib.EMA(x, 21)),
    "macd_line": (MACD_CANDLES, lambda x: convergence(x, 12, 26, 9)[0], lambda x: talib.MACD(x, 12, 26, 9)[0]),
    "macd_signal": (MACD_CANDLES, lambda x: convergence(x, 12, 26, 9)[1], lambda x: talib.MACD(x, 12, 26, 9)[1]),
    "macd_histogram": (
        MACD_CANDLES,
        lambda x: convergence(x, 12, 26, 9)[0] - convergence(x, 12, 26, 9)[1],
        lambda x: talib.MACD(x, 12, 26, 9)[2],
    ),
    "bb_upper": (BOLLINGER_CANDLES, lambda x: bollinger(x, 2), lambda x: reference_bands(x)[0]),
    "bb_lower": (BOLLINGER_CANDLES, lambda x: bollinger(x, -2), lambda x: reference_bands(x)[2]),
    "bb_width": (
        BOLLINGER_CANDLES,
        bollinger_width,
        lambda x: (reference_bands(x)[0] - reference_bands(x)[2]) / reference_bands(x)[1],
    ),
}
"""By name: the candles that the feature sees, our formula and TA-Lib's."""
FORGOTTEN: Final = {"rsi_14": 1e-7}
"""What the bars before the last K may still weigh: (13/14)^255 of the error of a seed, measured 2.3e-8."""


@pytest.fixture(scope="module")
def closes(recorded_data: Path) -> Series:
    """43,200 closes of DOGEUSDT as mantissas."""
    with gzip.open(recorded_data / "klines" / "DOGEUSDT_1m.csv.gz", "rt") as file:
        return np.array([int(Decimal(kline["close"]) * SCALE) for kline in csv.DictReader(file)], np.int64)


def relative_error(name: str, value: float, reference: float, close: float) -> float:
    """Of a MACD, which is a difference of prices and may be zero, relative to the price."""
    return abs(value - reference) / (close if name.startswith("macd") else abs(reference))


@pytest.mark.parametrize("name", INDICATORS)
def test_an_indicator_agrees_with_ta_lib_over_the_same_candles(closes: Series, name: str) -> None:
    candles, ours, theirs = INDICATORS[name]
    for end in range(candles, len(closes) + 1, 41):
        window = closes[end - candles : end]
        reference = theirs(window.astype(np.float64))[-1]
        assert relative_error(name, ours(window), reference, float(window[-1])) < 1e-9, end


@pytest.mark.parametrize("name", INDICATORS)
def test_an_indicator_agrees_with_ta_lib_over_the_whole_series_once_its_seed_is_forgotten(
    closes: Series, name: str
) -> None:
    candles, ours, theirs = INDICATORS[name]
    reference = theirs(closes.astype(np.float64))
    worst = max(
        relative_error(name, ours(closes[end - candles : end]), reference[end - 1], float(closes[end - 1]))
        for end in range(2 * candles, len(closes) + 1, 7)
    )
    assert worst < FORGOTTEN.get(name, 1e-9)


def test_a_price_that_never_moved_has_a_strength_of_fifty_and_no_spread() -> None:
    still = np.full(RSI_CANDLES, 50_000, np.int64)
    assert relative_strength(still, 14) == 50.0
    assert population_std(still) == 0.0
    assert population_std_of_returns(still) == 0.0
    assert convergence(still, 12, 26, 9) == (0.0, 0.0)
    assert exponential_average(still, 20) == 50_000.0


def test_a_price_that_only_rose_or_fell_has_the_extreme_strength() -> None:
    rising = np.arange(1, RSI_CANDLES + 1, dtype=np.int64)
    assert relative_strength(rising, 14) == 100.0
    assert relative_strength(rising[::-1].copy(), 14) == 0.0


def test_an_unknown_price_makes_the_deviation_unknown() -> None:
    assert math.isnan(population_std_of_returns(np.array([5, 0, 6], np.int64)))


@given(level=st.integers(1, 2**45), steps=st.lists(st.integers(0, 3), min_size=20, max_size=20))
def test_a_deviation_of_neighbouring_prices_loses_no_digits_at_any_level(level: int, steps: list[int]) -> None:
    """A sum of squares of the prices themselves would."""
    high_up = population_std(np.array([level + step for step in steps], np.int64))
    near_zero = population_std(np.array(steps, np.int64))
    assert high_up == near_zero
