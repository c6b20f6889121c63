"""Time: int64 nanoseconds since 1970 UTC inside, ISO text and aware datetimes at the edges."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

MICROSECOND_NS = 1_000
MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"(\d+)(s|m|h|d)")
_BELOW_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})0*(\d*)(?=Z|[+-]|$)")
_UNIT_NS = {"s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS}


class Clock(Protocol):
    """Where the present time comes from; always an argument, never read from the air."""

    def now_ns(self) -> int: ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()


class ManualClock:
    """A clock that is told the time: for tests and benchmarks."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def set(self, now_ns: int) -> None:
        """Move to ``now_ns``, also back, as a machine's clock may step."""
        self._now_ns = now_ns


def parse_duration_ns(text: str) -> int:
    """Nanoseconds of ``<int><s|m|h|d>``, e.g. "3s", "15m".

    Raises ValueError when the text has another form or is zero.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"duration: must be a positive <int><s|m|h|d>, was {text!r}")
    return int(match[1]) * _UNIT_NS[match[2]]


def floor_to(time_ns: int, step_ns: int) -> int:
    """The latest multiple of ``step_ns`` that is not after ``time_ns``."""
    return time_ns - time_ns % step_ns


def ceil_to(time_ns: int, step_ns: int) -> int:
    """The earliest multiple of ``step_ns`` that is not before ``time_ns``."""
    return -floor_to(-time_ns, step_ns)


def to_ns(moment: datetime) -> int:
    """Nanoseconds of a datetime; a naive one means UTC. Exact to the microsecond it holds."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * MICROSECOND_NS


def to_datetime(time_ns: int) -> datetime:
    """The aware UTC datetime of ``time_ns``, cut to whole microseconds."""
    return _EPOCH + timedelta(microseconds=time_ns // MICROSECOND_NS)


def parse_iso_ns(text: str) -> int:
    """Nanoseconds of an ISO 8601 text, exactly; without an offset it means UTC.

    Raises ValueError when the text is not a date and time, or finer than nanoseconds.
    """
    time_ns = to_ns(datetime.fromisoformat(text))  # which drops what is below a microsecond
    below = _BELOW_MICROSECONDS.search(text)
    if below is None:
        return time_ns
    if below[2]:
        raise ValueError(f"time: must be of whole nanoseconds, was {text!r}")
    return time_ns + int(below[1].ljust(3, "0"))


def format_iso(time_ns: int) -> str:
    """ISO 8601 with a Z, with microseconds only where there are any."""
    return to_datetime(time_ns).isoformat().replace("+00:00", "Z")


def format_period(begin_ns: int | None, end_ns: int | None) -> str:
    """``begin to end`` for a message; None is no bound."""
    begin, end = ("any time" if each is None else format_iso(each) for each in (begin_ns, end_ns))
    return f"{begin} to {end}"


def utc_date(time_ns: int) -> str:
    """The UTC calendar day of ``time_ns`` as YYYY-MM-DD."""
    return to_datetime(time_ns).date().isoformat()
