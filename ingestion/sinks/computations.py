"""What computing cost, by the minute: rows of each interval, and how long each took from its time until it was stored.

1. Every row at a whole second is counted when it closes, in the thread that computes; in there nothing is waited for.
2. Those that the online store took are timed, in the thread that writes them. A newer row replaces one that waits, so
   there are fewer of these.
3. Rows of a symbol that is catching up, as after a silence, are not timed: they are late by how long it was away.
4. A minute is over with the first row after it, and is reported SETTLE_NS later, when its last row was stored.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.publishing import INTERVALS
from ingestion.sinks.recent_mean import RecentMean
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, floor_to, to_datetime
from transforms.rows import FeatureSet

SLOW_MS: Final = 70.0
"""From a row's time until it is stored; the promise of the service at the 95th percentile."""
SETTLE_NS: Final = 5 * SECOND_NS
_IN_TIME_MS: Final = 1_000.0
"""Within this a row is the newest that there can be: seconds are a second apart."""
_AWAY_MS: Final = 30_000.0
"""Rows this late are old, which the alert ``row_old`` says of those that stay so."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Interval:
    """The rows of one interval in one minute; times in ms."""

    computations: int = 0
    stored: int = 0
    total_ms: float = 0.0
    most_ms: float = 0.0
    trace_id: str | None = None

    def add(self, ms: float, trace_id: str | None) -> None:
        self.stored += 1
        self.total_ms += ms
        if ms >= self.most_ms:
            self.most_ms, self.trace_id = ms, trace_id


@dataclass(slots=True)
class _Minute:
    """feature_set: of its last row, where it changed within the minute."""

    begin_ns: int
    feature_set: FeatureSet
    intervals: dict[str, _Interval] = field(default_factory=lambda: {name: _Interval() for name in INTERVALS})
    counts: tuple[int, int] | None = None
    """Messages and rejected ones of the symbol when the minute was over."""


class ComputationTally:
    """A sink that counts; ``note_stored`` times what it counted.

    tell: takes each row of ``feature_computation_metrics``; must not wait. counts_of: messages taken and rejected of a
    symbol since the start. on_close: called when the last row was told.
    """

    def __init__(
        self,
        *,
        tell: Callable[[Mapping[str, Any]], object],
        counts_of: Callable[[str], tuple[int, int]] = lambda _symbol: (0, 0),
        on_close: Callable[[], object] = lambda: None,
    ) -> None:
        self.counts_of = counts_of
        self.slow = 0
        """Rows that took longer than ``SLOW_MS``."""
        self.recent = RecentMean()
        """Milliseconds from a row's time until it was stored."""
        self._tell = tell
        self._on_close = on_close
        self._lock = threading.Lock()
        self._minutes: dict[str, list[_Minute]] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._slow: list[tuple[float, str, int]] = []
        """Of rows at whole seconds that no line of the log has named yet: milliseconds, symbol and row time."""
        self._behind_ms: dict[str, float] = {}
        """How late the last row of a symbol was that has not caught up; 0 once it has."""

    def write(self, served: Sequence[ServedRows]) -> None:
        """Count the rows at whole seconds."""
        with self._lock:
            for each in served:
                for row_ns in each.rows.row_ns.tolist():
                    if row_ns % SECOND_NS == 0:
                        self._count(each.rows.symbol, row_ns, each.rows.feature_set)

    def note_stored(self, served: Sequence[ServedRows], now_ns: int) -> None:
        """The newest of the rows were stored by now.

        Not timed: rows of a symbol from its first on, until one is in time or, below 30 s, as late as the one before.
        """
        with self._lock:
            for each in served:
                row_ns = int(each.rows.row_ns[-1])
                ms = (now_ns - row_ns) / MILLISECOND_NS
                if self._is_catching_up(each.rows.symbol, ms):
                    continue
                self.recent.add(ms, now_ns)
                if ms > SLOW_MS:
                    self.slow += 1
                    if row_ns % SECOND_NS == 0:
                        self._slow.append((ms, each.rows.symbol, row_ns))
                minute = self._minute_of(each.rows.symbol, row_ns)
                if minute is not None:
                    for name, step_ns in INTERVALS.items():
                        if row_ns % step_ns == 0:
                            minute.intervals[name].add(ms, each.trace_id)

    def note_whole(self) -> None:
        """All rows of a time were stored: of those at whole seconds, the slow ones are a line of the log."""
        with self._lock:
            slow, self._slow = self._slow, []
        if slow:
            _warn(slow)

    def close(self) -> None:
        """Tell of what is left, the last minute as far as it came."""
        self.note_whole()
        with self._lock:
            for symbol, minutes in self._minutes.items():
                for minute in minutes:
                    self._tell_of(symbol, minute)
            self._minutes.clear()
        self._on_close()

    def _count(self, symbol: str, row_ns: int, feature_set: FeatureSet) -> None:
        minutes = self._minutes.setdefault(symbol, [])
        # A row closes the second that ends with it: the row of 12:01:00 is of the minute from 12:00.
        begin_ns = floor_to(row_ns - 1, MINUTE_NS)
        if not minutes or minutes[-1].begin_ns < begin_ns:
            if minutes:
                minutes[-1].counts = self.counts_of(symbol)
            minutes.append(_Minute(begin_ns, feature_set))
        minutes[-1].feature_set = feature_set
        for name, step_ns in INTERVALS.items():
            minutes[-1].intervals[name].computations += row_ns % step_ns == 0
        while minutes[0].begin_ns + MINUTE_NS + SETTLE_NS < row_ns:
            self._tell_of(symbol, minutes.pop(0))

    def _is_catching_up(self, symbol: str, ms: float) -> bool:
        """Whether this row is one of catching up; the next is compared with it."""
        before_ms = self._behind_ms.get(symbol, math.inf)
        if before_ms == 0:
            return False
        # One that gains no more has not been away: it is slow, and counts.
        has_caught_up = ms <= _IN_TIME_MS or before_ms <= ms < _AWAY_MS
        self._behind_ms[symbol] = 0.0 if has_caught_up else ms
        return not has_caught_up

    def _minute_of(self, symbol: str, row_ns: int) -> _Minute | None:
        begin_ns = floor_to(row_ns - 1, MINUTE_NS)
        return next((each for each in self._minutes.get(symbol, ()) if each.begin_ns == begin_ns), None)

    def _tell_of(self, symbol: str, minute: _Minute) -> None:
        messages, rejected = minute.counts or self.counts_of(symbol)
        before = self._told.get(symbol, (0, 0))
        self._told[symbol] = messages, rejected
        for name, each in minute.intervals.items():
            if each.computations:
                self._tell(
                    {
                        "symbol": symbol,
                        "computation_timestamp": to_datetime(minute.begin_ns),
                        "latency_ms": each.total_ms / each.stored if each.stored else None,
                        "latency_max_ms": each.most_ms if each.stored else None,
                        "feature_registry_version": minute.feature_set.version,
                        "computation_interval": name,
                        "features_count": len(minute.feature_set.columns),
                        "computations": each.computations,
                        "stored": each.stored,
                        "events_count": messages - before[0] if name == "1s" else 0,
                        "error_count": rejected - before[1] if name == "1s" else 0,
                        "trace_id": each.trace_id,
                    }
                )


def _warn(slow: Sequence[tuple[float, str, int]]) -> None:
    """One line of the rows of one time, however many symbols it has: a slow machine is slow with all of them."""
    ms, symbol, row_ns = max(slow)
    _log.warning(
        "slow computation: row of %s must be stored within %.0f ms, was after %.0f: %s%s",
        to_datetime(row_ns).isoformat(timespec="milliseconds"),
        SLOW_MS,
        ms,
        symbol,
        f" and {len(slow) - 1} others" if len(slow) > 1 else "",
    )
