"""Outliers among trades: prices and sizes far from their robust centre, by median and MAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SIGMA_OF_MAD: Final = 1.4826
"""MAD times this is the standard deviation of normal values."""
LEAST_PRICE_DEVIATION: Final = 0.005
"""A price within half a percent of its reference is none, however quiet the market."""
LEAST_SIZE_RATIO: Final = 1000.0
"""A size is one only from a thousand times the median on: large trades are no errors."""
WINDOW_TRADES: Final = 500
BLOCK_TRADES: Final = 1000
LEAST_TRADES: Final = 20

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outlier:
    """One trade. what: "price" or "size". value and reference in the market's units."""

    time_ns: int
    what: str
    value: float
    reference: float


class OutlierSearch:
    """Takes trades in order and judges them in blocks, each against itself and the WINDOW_TRADES trades before it.

    A price whose reference (mark or index price) is known is judged by its distance from that, other prices by the
    distance from the median price. Medians do not move while less than half of the trades are bad. Nothing is judged
    before there are LEAST_TRADES trades.
    """

    def __init__(self, *, deviations: float) -> None:
        """deviations: an outlier lies more than so many scaled MADs from the median."""
        self._deviations = deviations
        self.judged = 0
        self.found: list[Outlier] = []
        self._prices = self._sizes = np.empty(0)

    def add(self, times_ns: Int64s, prices: Float64s, sizes: Float64s, references: Float64s) -> None:
        """Take trades: ascending times ns, positive prices and sizes, reference prices with NaN where unknown; (n,)."""
        for begin in range(0, len(times_ns), BLOCK_TRADES):
            at = slice(begin, begin + BLOCK_TRADES)
            self._prices = np.concatenate([self._prices[-WINDOW_TRADES:], prices[at]])
            self._sizes = np.concatenate([self._sizes[-WINDOW_TRADES:], sizes[at]])
            if len(self._prices) >= LEAST_TRADES:
                self._judge(times_ns[at], prices[at], sizes[at], references[at])

    def _judge(self, times_ns: Int64s, prices: Float64s, sizes: Float64s, references: Float64s) -> None:
        self.judged += len(times_ns)
        centre = _median(self._prices)
        spread = SIGMA_OF_MAD * _median(np.abs(self._prices / centre - 1.0))
        reference = np.where(np.isnan(references), centre, references)
        is_price = np.abs(prices / reference - 1.0) > max(self._deviations * spread, LEAST_PRICE_DEVIATION)
        logs = np.log(self._sizes)
        middle = _median(logs)
        scale = SIGMA_OF_MAD * _median(np.abs(logs - middle))
        is_size = np.log(sizes) - middle > max(self._deviations * scale, float(np.log(LEAST_SIZE_RATIO)))
        for at in np.flatnonzero(is_price | is_size).tolist():
            if is_price[at]:
                self.found.append(Outlier(int(times_ns[at]), "price", float(prices[at]), float(reference[at])))
            if is_size[at]:
                self.found.append(Outlier(int(times_ns[at]), "size", float(sizes[at]), float(np.exp(middle))))


def _median(values: Float64s) -> float:
    """Of known values, one at least; numpy's own looks for unknown ones and takes three times as long."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    low, high = np.partition(values, [middle - 1, middle])[middle - 1 : middle + 1].tolist()
    return float((low + high) / 2)
