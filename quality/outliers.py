"""Outliers among trades: prices and sizes far from their robust centre, by median and MAD."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

DEVIATIONS: Final = 10.0
"""An outlier lies more than this many scaled MADs from the median."""
SIGMA_OF_MAD: Final = 1.4826
"""MAD times this is the standard deviation of normal values."""
LEAST_PRICE_DEVIATION: Final = 0.005
"""A price within half a percent of its reference is none, however quiet the market."""
LEAST_SIZE_RATIO: Final = 1000.0
"""A size is one only from a thousand times the median on: large trades are no errors."""
WINDOW_TRADES: Final = 500
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
    """Takes trades in order; each is judged against the WINDOW_TRADES trades before it.

    A price whose reference (mark or index price) is known is judged by its distance from that, other prices by the
    distance from the median price of the window. Nothing is judged before LEAST_TRADES trades.
    """

    def __init__(self) -> None:
        self.judged = 0
        self.found: list[Outlier] = []
        self._prices: deque[float] = deque(maxlen=WINDOW_TRADES)
        self._sizes: deque[float] = deque(maxlen=WINDOW_TRADES)

    def add(self, times_ns: Int64s, prices: Float64s, sizes: Float64s, references: Float64s) -> None:
        """Take trades: ascending times ns, positive prices and sizes, reference prices with NaN where unknown; (n,)."""
        for begin in range(0, len(times_ns), WINDOW_TRADES // 5):
            at = slice(begin, begin + WINDOW_TRADES // 5)
            self._judge(times_ns[at], prices[at], sizes[at], references[at])
            # What was found is no part of the window: a burst of bad prices must not make itself the centre.
            is_bad = np.isin(times_ns[at], [outlier.time_ns for outlier in self.found[-len(times_ns[at]) * 2 :]])
            self._prices.extend(prices[at][~is_bad].tolist())
            self._sizes.extend(sizes[at][~is_bad].tolist())

    def _judge(self, times_ns: Int64s, prices: Float64s, sizes: Float64s, references: Float64s) -> None:
        if len(self._prices) < LEAST_TRADES:
            return
        self.judged += len(times_ns)
        window = np.array(self._prices)
        centre = float(np.median(window))
        spread = SIGMA_OF_MAD * float(np.median(np.abs(window / centre - 1.0)))
        reference = np.where(np.isnan(references), centre, references)
        is_price = np.abs(prices / reference - 1.0) > max(DEVIATIONS * spread, LEAST_PRICE_DEVIATION)
        logs = np.log(np.array(self._sizes))
        middle = float(np.median(logs))
        scale = SIGMA_OF_MAD * float(np.median(np.abs(logs - middle)))
        is_size = np.log(sizes) - middle > max(DEVIATIONS * scale, float(np.log(LEAST_SIZE_RATIO)))
        for at in np.flatnonzero(is_price | is_size).tolist():
            if is_price[at]:
                self.found.append(Outlier(int(times_ns[at]), "price", float(prices[at]), float(reference[at])))
            if is_size[at]:
                self.found.append(Outlier(int(times_ns[at]), "size", float(sizes[at]), float(np.exp(middle))))
