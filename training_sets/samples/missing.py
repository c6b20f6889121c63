"""Unknown values of samples: kept, dropped with their row, or filled from the symbol's past."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_NEVER: int = np.iinfo(np.int64).min // 2


class ForwardFill:
    """Fills an unknown value with the last known one of its series, if that is not older than a limit.

    Pieces are given in time order; what one ends with carries into the next. limit_ns: the greatest age, inclusive.
    """

    def __init__(self, series: int, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self._value = np.full(series, np.nan)
        self._known_ns = np.full(series, _NEVER, np.int64)

    def fill(self, times_ns: Int64s, values: Float64s) -> int:
        """Fill in place; returns how many values were filled.

        times_ns: int64 (n,), ascending. values: float64 (n, series).
        """
        filled = 0
        for time_ns, row in zip(times_ns.tolist(), values, strict=True):
            is_unknown = np.isnan(row)
            is_filled = is_unknown & (self._known_ns >= time_ns - self._limit_ns)
            self._value[~is_unknown] = row[~is_unknown]
            self._known_ns[~is_unknown] = time_ns
            row[is_filled] = self._value[is_filled]
            filled += int(np.count_nonzero(is_filled))
        return filled
