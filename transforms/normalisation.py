"""Normalised columns: any feature standardised over its own last rows.

A row's value is compared with those of its window: the values at the whole seconds in (b - W, b], and between seconds
the row's own besides. The kernel keeps the values at whole seconds alone, so that no row depends on which rows between
seconds were computed; through them a normalised value depends on the feature's own horizon.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from market.clock import SECOND_NS
from transforms.jit import jit
from transforms.state import SECONDS_KEPT


@dataclass(frozen=True, slots=True)
class Normalisation:
    """One normalised column: a feature, how it is standardised, and over how many one-second rows."""

    feature: str
    method: str
    window_s: int

    @property
    def name(self) -> str:
        """Column name: z_score of x over 5 m is ``x_z_5m``, min_max is ``x_mm_5m``."""
        window = f"{self.window_s // 60}m" if self.window_s % 60 == 0 else f"{self.window_s}s"
        return f"{self.feature}_{SHORT_NAMES[self.method]}_{window}"

    @property
    def window_ns(self) -> int:
        return self.window_s * SECOND_NS


@jit
def remember(history: Any, row_ns: int, value: float) -> None:
    """Keep a column's value of a row at a whole second; history: float64 (SECONDS_KEPT,)."""
    if row_ns % SECOND_NS == 0:
        history[row_ns // SECOND_NS & (SECONDS_KEPT - 1)] = value


@jit
def others_before(row_ns: int, seconds: int) -> int:
    """How many whole seconds before the row its window of ``seconds`` seconds holds."""
    return seconds - 1 if row_ns % SECOND_NS == 0 else seconds


@jit
def value_before(history: Any, row_ns: int, back: int) -> float:
    """The value at the ``back``-th whole second before the row, 1 the nearest."""
    return history[((row_ns - 1) // SECOND_NS + 1 - back) & (SECONDS_KEPT - 1)]


@jit
def z_score(history: Any, row_ns: int, value: float, seconds: int) -> float:
    """Distance of the row's value from the mean of the window's, in their population standard deviations.

    NaN when any of the values is, or when they are all equal.
    """
    # Distances from the row's own value are exactly zero where nothing moved; those from a mean need not be.
    others = others_before(row_ns, seconds)
    total = value - value
    for back in range(1, others + 1):
        total += value_before(history, row_ns, back) - value
    mean = total / (others + 1)
    squares = mean * mean
    for back in range(1, others + 1):
        deviation = value_before(history, row_ns, back) - value - mean
        squares += deviation * deviation
    spread = math.sqrt(squares / (others + 1))
    return -mean / spread if spread > 0.0 else math.nan


@jit
def min_max(history: Any, row_ns: int, value: float, seconds: int) -> float:
    """Where the row's value lies between the least (0) and the greatest (1) of the window's.

    NaN when any of the values is, or when they are all equal.
    """
    if math.isnan(value):
        return math.nan
    least = value
    greatest = value
    for back in range(1, others_before(row_ns, seconds) + 1):
        other = value_before(history, row_ns, back)
        if not other >= least:
            if math.isnan(other):
                return math.nan
            least = other
        greatest = max(greatest, other)
    return (value - least) / (greatest - least) if greatest > least else math.nan


METHODS: Final[dict[str, Callable[..., float]]] = {"z_score": z_score, "min_max": min_max}
SHORT_NAMES: Final = {"z_score": "z", "min_max": "mm"}
