"""Labels: what happened after a row, from prices the row could not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class RegressionTarget:
    """The simple return of the mid price from ``delay_ns`` after the row over the horizon."""

    horizon_ns: int
    delay_ns: int = 0

    @property
    def name(self) -> str:
        return "target"

    @property
    def reach_ns(self) -> int:
        """How far after its row a label looks."""
        return self.delay_ns + self.horizon_ns


def regression_labels(
    times_ns: npt.NDArray[np.int64],
    price_ns: npt.NDArray[np.int64],
    prices: npt.NDArray[np.float64],
    target: RegressionTarget,
) -> npt.NDArray[np.float64]:
    """p(t + delay + horizon) / p(t + delay) - 1 for each time t.

    times_ns: int64 (n,). price_ns: int64 (m,), ascending row times of ``prices`` (m,).
    Returns float64 (n,); NaN where either price is unknown or has no row.
    """
    entry = _prices_at(times_ns + target.delay_ns, price_ns, prices)
    leaving = _prices_at(times_ns + target.reach_ns, price_ns, prices)
    return leaving / entry - 1.0


def _prices_at(
    times_ns: npt.NDArray[np.int64], price_ns: npt.NDArray[np.int64], prices: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    if len(price_ns) == 0:
        return np.full(len(times_ns), np.nan)
    at = np.minimum(np.searchsorted(price_ns, times_ns), len(price_ns) - 1)
    return np.where(price_ns[at] == times_ns, prices[at], np.nan)
