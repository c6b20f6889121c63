"""Times and durations over the wire, as nanoseconds."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

from market.clock import DAY_NS, SECOND_NS, format_iso, parse_duration_ns, parse_iso_ns
from market.errors import InvalidRequest

_EARLIEST_NS: Final = 0
_LATEST_NS: Final = 4_102_444_800 * SECOND_NS
"""The year 2100: sums of later times with a horizon would come near the end of int64."""
_A_TIME: Final = "must be an ISO 8601 time, as 2026-01-05T12:05:00Z"
_LONGEST_S: Final = 366 * 86_400
MOST_DAYS: Final = 31
"""Of the period that a report on messages may be of."""


def _duration_ns(value: object) -> int:
    """Whole seconds as a number, or text such as "1m"; zero is allowed."""
    if isinstance(value, str):
        seconds = 0 if value in {"0s", "0m", "0h", "0d"} else parse_duration_ns(value) // SECOND_NS
    elif isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    else:
        raise ValueError("must be whole seconds or <int><s|m|h|d>")  # noqa: TRY004  # pydantic reports ValueError alone
    if not 0 <= seconds <= _LONGEST_S:
        raise ValueError(f"must be 0 to {_LONGEST_S} seconds")
    return seconds * SECOND_NS


def _moment_ns(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError(_A_TIME)  # noqa: TRY004  # pydantic reports ValueError alone
    try:
        time_ns = parse_iso_ns(value)
    except ValueError as error:
        raise ValueError(_A_TIME) from error
    if not _EARLIEST_NS <= time_ns <= _LATEST_NS:
        raise ValueError(f"must be from {format_iso(_EARLIEST_NS)} to {format_iso(_LATEST_NS)}")
    return time_ns


Duration = Annotated[
    int,
    BeforeValidator(_duration_ns),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+[smhd]$"}]}),
]
"""Nanoseconds."""
Moment = Annotated[int, BeforeValidator(_moment_ns), WithJsonSchema({"type": "string", "format": "date-time"})]
"""Nanoseconds since 1970 UTC; a time without an offset means UTC."""


def check_days(begin_ns: int, end_ns: int) -> None:
    """Raises InvalidRequest for a period that is longer than MOST_DAYS."""
    if end_ns - begin_ns > MOST_DAYS * DAY_NS:
        raise InvalidRequest(f"period: must be at most {MOST_DAYS} days, was {(end_ns - begin_ns) / DAY_NS:.1f}")
