"""Sessions: the days on which an exchange trades, and the clock that counts them instead of hours.

A dataset over sessions has a sample a session, and every length of its request, ``5d`` of a horizon, is so many
sessions. The request holds when each session closed, so that the same request is the same dataset whatever a later
release of the calendar says.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, HOUR_NS, to_datetime
from market.errors import InvalidRequest
from training_sets.request.folds import covered
from training_sets.request.targets import DEFAULT_VOLATILITY_WINDOW_NS, Target

if TYPE_CHECKING:
    from training_sets.request.request import DatasetRequest

DEFAULT_OFFSET_NS: Final = 4 * HOUR_NS
"""After a close. A table may know the bar of a short session no earlier than that of a whole one."""
DEFAULT_WINDOW: Final = 20
"""Sessions whose returns volatility is of, where a target leaves that out."""
_SPARE: Final = 30
"""Days beyond those that as many sessions take at five a week: holidays."""

Int64s = npt.NDArray[np.int64]


class TradingSessions(msgspec.Struct, frozen=True, dict=True):
    """calendar: its name, such as XNYS. closes_ns: when each session closed, ascending.

    They reach as far around the periods as labels and their volatility look.
    """

    calendar: str
    closes_ns: tuple[int, ...]

    @cached_property
    def _closes(self) -> Int64s:
        return np.array(self.closes_ns, np.int64)

    def steps_ns(self, times_ns: Int64s) -> Int64s:
        """The newest session that had closed by each time, as a time of its own clock: a day for every session."""
        return (np.searchsorted(self._closes, times_ns, side="right") - 1) * DAY_NS

    def closed_ns(self, steps_ns: Int64s) -> Int64s:
        """When the session of each step closed; the last one known where it is later."""
        return self._closes[np.clip(steps_ns // DAY_NS, 0, len(self.closes_ns) - 1)]

    def later_ns(self, times_ns: Int64s, span_ns: int) -> Int64s:
        """When so many sessions more had closed than by each time."""
        return self.closed_ns(self.steps_ns(times_ns) + span_ns)

    def of_days(self, event_ns: Int64s) -> Int64s:
        """The number of the session that a day's bar is of, dated by any moment of the day until its close; else -1."""
        at = np.searchsorted(self._closes, event_ns)
        found = np.minimum(at, len(self.closes_ns) - 1)
        is_near = (at < len(self.closes_ns)) & (self._closes[found] - event_ns < DAY_NS)
        return np.where(is_near, found, -1)


def over_sessions(request: DatasetRequest, calendar: str, offset_ns: int | None = None) -> DatasetRequest:
    """The request with a sample at every session of the calendar, so long after its close.

    Raises InvalidRequest for a calendar that there is not, or that does not reach as far.
    """
    spans = covered(request.folds())
    request = replace(request, targets=tuple(_over_sessions(target) for target in request.targets))
    before, after = request.price_back_ns // DAY_NS + 2, (request.label_reach_ns + request.embargo_ns) // DAY_NS + 2
    closes_ns = _closes(calendar, spans[0][0], spans[-1][1], (before, after))
    offset_ns = DEFAULT_OFFSET_NS if offset_ns is None else offset_ns
    times_ns = [
        close_ns + offset_ns
        for close_ns in closes_ns
        if any(start_ns <= close_ns + offset_ns < end_ns for start_ns, end_ns in spans)
    ]
    if not times_ns:
        raise InvalidRequest(f"calendar: must have a session in the periods, was {calendar}")
    return replace(
        request,
        sample_kind="at_time",
        sample_interval_ns=DAY_NS,
        sample_offset_ns=0,
        sample_times_ns=tuple(times_ns),
        sessions=TradingSessions(calendar, tuple(closes_ns)),
    )


def _over_sessions(target: Target) -> Target:
    if getattr(target, "volatility_window_ns", None) != DEFAULT_VOLATILITY_WINDOW_NS:
        return target
    return msgspec.structs.replace(target, volatility_window_ns=DEFAULT_WINDOW * DAY_NS)


def _closes(calendar: str, from_ns: int, to_ns: int, around: tuple[int, int]) -> list[int]:
    """Of the sessions in [from, to], and so many before and after."""
    import exchange_calendars as xc
    import pandas as pd

    before, after = (timedelta(days=count * 7 / 5 + _SPARE) for count in around)
    begin, end = to_datetime(from_ns) - before, to_datetime(to_ns) + after
    try:
        found = xc.get_calendar(calendar, start=begin.date().isoformat(), end=end.date().isoformat())
    except xc.errors.InvalidCalendarName as error:
        raise InvalidRequest(f"calendar: must be an exchange such as XNYS, was {calendar!r}") from error
    except (xc.errors.CalendarError, ValueError) as error:
        raise InvalidRequest(f"calendar: {calendar} must reach from {begin.date()} to {end.date()}, {error}") from error
    closes = pd.DatetimeIndex(found.closes).tz_convert(UTC).as_unit("ns")
    return [int(each) for each in closes.asi8]
