"""Unknown values of samples: kept, dropped with their row, or filled from the symbol's past.

On rows, the past is what was served: every row of the feature log that the model could have read when it acted, sampled
or not. At times, it is what the model was given at the sample times before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import HOUR_NS
from market.errors import NotFound
from storage.features.log import FeatureLog
from training_sets.request.request import LONGEST_LAG_NS
from transforms.rows import FeatureSet

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_NEVER: Final = int(np.iinfo(np.int64).min // 2)
_STRETCH_NS: Final = 6 * HOUR_NS
MOST_DROPPED: Final = 0.05
"""Of the rows with features and labels; a column for which more are dropped is warned of."""
_MOST_NAMED: Final = 5


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


@dataclass(slots=True)
class _Carried:
    """Of one symbol: the newest known value of each column among the rows before ``until_ns``, and their times."""

    until_ns: int
    values: Float64s
    known_ns: Int64s


class ServedFill:
    """Fills an unknown value with the newest known one of the served rows that is not older than a limit.

    limit_ns: the greatest age, inclusive. A row counts that could be read when the model acts, and that was readable
    within the time to live of the views.
    """

    def __init__(self, log: FeatureLog, chosen: FeatureSet, symbols: Sequence[str], limit_ns: int) -> None:
        self._log = log
        self._chosen = chosen
        self._limit_ns = limit_ns
        count = len(chosen.columns)
        self._carried = {symbol: _Carried(_NEVER, np.full(count, np.nan), np.full(count, _NEVER)) for symbol in symbols}

    def fill(self, times_ns: Int64s, had_ns: Int64s, values: Float64s) -> int:
        """Fill in place; returns how many values were filled.

        times_ns: int64 (n,), ascending, after those of the call before. had_ns: int64 (n, symbols), when the model has
        the sample. values: float64 (n, symbols, columns).
        """
        filled = 0
        for at, symbol in enumerate(self._carried):
            begin = 0
            while begin < len(times_ns):
                end = int(np.searchsorted(times_ns, times_ns[begin] + _STRETCH_NS))
                filled += self._fill(symbol, times_ns[begin:end], had_ns[begin:end, at], values[begin:end, at])
                begin = end
        return filled

    def _fill(self, symbol: str, times_ns: Int64s, had_ns: Int64s, values: Float64s) -> int:
        carried = self._carried[symbol]
        first_ns, last_ns = int(times_ns[0]), int(times_ns[-1])
        from_ns = max(carried.until_ns, first_ns - self._limit_ns)
        row_ns, available_ns, served = self._served(symbol, from_ns, last_ns)
        newest = np.maximum.accumulate(np.where(np.isnan(served), -1, np.arange(len(row_ns))[:, None]), axis=0)
        source = _sources(row_ns, available_ns, newest, times_ns, had_ns) if len(row_ns) else None
        found, found_ns = np.tile(carried.values, (len(times_ns), 1)), np.tile(carried.known_ns, (len(times_ns), 1))
        if source is not None:
            is_served = source >= 0
            columns = np.broadcast_to(np.arange(values.shape[1]), source.shape)
            found[is_served] = served[source[is_served], columns[is_served]]
            found_ns[is_served] = row_ns[source[is_served]]
        is_filled = np.isnan(values) & (found_ns >= times_ns[:, None] - self._limit_ns)
        values[is_filled] = found[is_filled]
        # Later rows may still have been on their way.
        until_ns = last_ns - LONGEST_LAG_NS
        if (end := int(np.searchsorted(row_ns, until_ns))) > 0:
            is_known = newest[end - 1] >= 0
            sources = newest[end - 1][is_known]
            carried.values[is_known] = served[sources, np.flatnonzero(is_known)]
            carried.known_ns[is_known] = row_ns[sources]
        carried.until_ns = max(carried.until_ns, until_ns)
        return int(np.count_nonzero(is_filled))

    def _served(self, symbol: str, from_ns: int, last_ns: int) -> tuple[Int64s, Int64s, Float64s]:
        """Rows of [from_ns, last_ns] that were readable in time: their times, availabilities and values."""
        try:
            rows, available_ns = self._log.read(symbol, self._chosen, from_ns=from_ns, to_ns=last_ns + 1)
        except NotFound:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, len(self._chosen.columns)))
        in_time = available_ns <= rows.row_ns + LONGEST_LAG_NS
        return rows.row_ns[in_time], available_ns[in_time], rows.values[in_time]


def _sources(row_ns: Int64s, available_ns: Int64s, newest: Int64s, times_ns: Int64s, had_ns: Int64s) -> Int64s:
    """Which row knows each column last, of those up to a time that had come: int64 (n, columns), -1 for none.

    row_ns, available_ns: int64 (rows,), one at least, ascending by row. newest: int64 (rows, columns), the row up to
    each that knows a column last. times_ns, had_ns: int64 (n,).
    """
    end = np.searchsorted(row_ns, times_ns, side="right")
    # Most rows come in their order. One that is on its way keeps none back: those after it are looked at one by one.
    at = np.minimum(np.searchsorted(np.maximum.accumulate(available_ns), had_ns, side="right"), end)
    found = np.where((at > 0)[:, None], newest[np.maximum(at - 1, 0)], -1)
    left = np.flatnonzero(at < end)
    while len(left) > 0:
        came = left[available_ns[at[left]] <= had_ns[left]]
        is_own = newest[at[came]] == at[came, None]
        found[came] = np.where(is_own, at[came, None], found[came])
        at[left] += 1
        left = left[at[left] < end[left]]
    return found


def dropped_warnings(counts: Mapping[str, int], unknown: Mapping[str, int]) -> list[str]:
    """One line that names the columns for each of which more than MOST_DROPPED of the rows were dropped.

    counts: of the sampler. unknown: by column, the dropped rows in which it is unknown.
    """
    rows = counts["sampled"] - counts["without_features"] - counts["without_label"]
    most_first = sorted(unknown.items(), key=lambda each: -each[1])
    shares = [(name, count / rows) for name, count in most_first if count > MOST_DROPPED * rows]
    if not shares:
        return []
    named = ", ".join(f"{name} ({share:.1%})" for name, share in shares[:_MOST_NAMED])
    others = f" and {len(shares) - _MOST_NAMED} more" if len(shares) > _MOST_NAMED else ""
    return [
        f"missing: drop removes more than {MOST_DROPPED:.0%} of the rows where one column is unknown: {named}{others}"
    ]
