"""History lags: how long after its time a row could be read, by the hour of the UTC day, as measured live.

1. Rows that were served say themselves when they could be read. A row of history, that was replayed, rebuilt or
   backfilled, counts as readable AVAILABILITY_DELAY_NS after its time, which no service that is busy at noon keeps to.
2. Measured are the rows that were served: a quantile of their lags in each hour. An hour of which nothing was served
   has the greatest lag of the others, so that no row of history arrives earlier than a live one.
3. A log with these lags, see ``storage.features.history_lags``, is that of a service that was so slow: everything
   that asks when a row could be read gets the same answer of it. A row's values stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS
from market.errors import InvalidRequest
from storage.features.history_lags import AVAILABILITY_DELAY_NS
from storage.features.log import FeatureLog
from storage.features.row_times import read_row_times
from training_sets.request.request import HOURS
from transforms.rows import FeatureSet

Int64s = npt.NDArray[np.int64]

MOST_LAG_NS: Final = HOUR_NS
"""A row that came later was caught up on, and says nothing of how long rows take."""


@dataclass(frozen=True, slots=True)
class MeasuredLags:
    """By hour of the UTC day: lag_ms, whole and rounded up, and the rows that were served in it."""

    lag_ms: tuple[int, ...]
    rows: tuple[int, ...]


def measured_lags(
    log: FeatureLog, chosen: FeatureSet, symbol: str, *, from_ns: int, to_ns: int, quantile: float
) -> MeasuredLags:
    """The lags of the rows of [from_ns, to_ns) that were served. Memory holds a day's times, and a lag of each row.

    Raises InvalidRequest when none was, CorruptStore.
    """
    lags: list[list[Int64s]] = [[] for _ in range(HOURS)]
    for day_ns in range(from_ns // DAY_NS * DAY_NS, to_ns, DAY_NS):
        begin_ns, end_ns = max(day_ns, from_ns), min(day_ns + DAY_NS, to_ns) - 1
        times = read_row_times(log, symbol, chosen, from_ns=begin_ns, to_ns=end_ns)
        lag_ns = times.first_ns - times.row_ns
        is_lived = (lag_ns != AVAILABILITY_DELAY_NS) & (lag_ns <= MOST_LAG_NS)
        hours = times.row_ns[is_lived] // HOUR_NS % HOURS
        for hour in np.unique(hours).tolist():
            lags[hour].append(lag_ns[is_lived][hours == hour])
    known = {hour: np.concatenate(each) for hour, each in enumerate(lags) if each}
    if not known:
        raise InvalidRequest(f"{symbol}: must have rows of registry {chosen.version} that were served, had none")
    of_hour = {
        hour: -int(-np.quantile(each, quantile, method="higher") // MILLISECOND_NS) for hour, each in known.items()
    }
    greatest = max(of_hour.values())
    return MeasuredLags(
        tuple(of_hour.get(hour, greatest) for hour in range(HOURS)),
        tuple(len(known.get(hour, ())) for hour in range(HOURS)),
    )
