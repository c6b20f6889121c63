"""Normalised columns: any feature standardised over its own last rows.

The kernel keeps each such column's past values by the tile of their row, so a normalised value depends on the rows of
its window alone, and through them on the feature's own horizon.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from market.clock import SECOND_NS
from transforms.jit import jit
from transforms.tiles import tile_before


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
    """Keep a column's value of this row; history: float64 (TILE_COUNT,)."""
    history[tile_before(row_ns, 1)] = value


@jit
def z_score(history: Any, row_ns: int, seconds: int) -> float:
    """Distance of the row's value from the mean of the window's rows, in their population standard deviations.

    NaN when any of the values is, or when they are all equal.
    """
    # Distances from the row's own value are exactly zero where nothing moved; those from a mean need not be.
    value = history[tile_before(row_ns, 1)]
    total = 0.0
    for back in range(1, seconds + 1):
        total += history[tile_before(row_ns, back)] - value
    mean = total / seconds
    squares = 0.0
    for back in range(1, seconds + 1):
        deviation = history[tile_before(row_ns, back)] - value - mean
        squares += deviation * deviation
    spread = math.sqrt(squares / seconds)
    return -mean / spread if spread > 0.0 else math.nan


@jit
def min_max(history: Any, row_ns: int, seconds: int) -> float:
    """Where the row's value lies between the least (0) and the greatest (1) of the window's rows.

    NaN when any of the values is, or when they are all equal.
    """
    value = history[tile_before(row_ns, 1)]
    least = value
    greatest = value
    for back in range(1, seconds + 1):
        other = history[tile_before(row_ns, back)]
        if not other >= least:
            if math.isnan(other):
                return math.nan
            least = other
        greatest = max(greatest, other)
    return (value - least) / (greatest - least) if greatest > least else math.nan


METHODS: Final[dict[str, Callable[..., float]]] = {"z_score": z_score, "min_max": min_max}
SHORT_NAMES: Final = {"z_score": "z", "min_max": "mm"}
