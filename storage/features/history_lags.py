"""History lags: when rows of history are taken to have been readable, by the hour of the UTC day of their row time.

A row that was served says itself when it could be read. One that was replayed, rebuilt or backfilled is stored with
AVAILABILITY_DELAY_NS, which no busy service keeps to. A log with lags gives such a row the lag of its hour in place of
that delay, for every reader and before anything else is decided: which version of a row is the newest, which row was
known when, which came too late. It reads as the log of a service that was so slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from market.clock import HOUR_NS, MILLISECOND_NS
from storage.features.part_times import Int64s

AVAILABILITY_DELAY_NS: Final = 10 * MILLISECOND_NS
"""How long after its time a row of history is stored to have been readable: the grace after which a live row closes."""


@dataclass(frozen=True, slots=True)
class HistoryLags:
    """lag_ms: by hour of the UTC day, 24."""

    lag_ms: tuple[int, ...]

    def readable_ns(self, row_ns: Int64s, stored_ns: Int64s) -> Int64s:
        """When rows are taken to have been readable, int64 (n,), of their times and of when they are stored to be."""
        lags_ns = np.array(self.lag_ms, np.int64) * MILLISECOND_NS
        of_hour = lags_ns[row_ns // HOUR_NS % len(self.lag_ms)]
        return np.where(stored_ns == row_ns + AVAILABILITY_DELAY_NS, row_ns + of_hour, stored_ns)
