"""When it is: features of the row time alone."""

from __future__ import annotations

from market.clock import DAY_NS
from transforms.declaration import NOTHING, feature
from transforms.elementary import cosine_of_turn, sine_of_turn
from transforms.jit import jit

WEEK_NS = 7 * DAY_NS
MONDAY_OFFSET_NS = 3 * DAY_NS  # 1970-01-01 was a Thursday


@jit
def day_ns(row_ns: int) -> int:
    return row_ns % DAY_NS


@jit
def week_ns(row_ns: int) -> int:
    return (row_ns + MONDAY_OFFSET_NS) % WEEK_NS


@feature("time_of_day", reads=NOTHING, unit="1", low=0.0, high=1.0)
def time_of_day(row_ns: int) -> float:
    """Fraction of the UTC day of the row time.

    Formula: seconds since midnight UTC / 86400
    NaN: never.
    """
    return day_ns(row_ns) / DAY_NS


@feature("time_of_day_sin", reads=NOTHING, unit="1", low=-1.0, high=1.0)
def time_of_day_sin(row_ns: int) -> float:
    """Sine of the time of day as an angle.

    Formula: sin(2 pi * time_of_day)
    NaN: never.
    """
    return sine_of_turn(day_ns(row_ns), DAY_NS)


@feature("time_of_day_cos", reads=NOTHING, unit="1", low=-1.0, high=1.0)
def time_of_day_cos(row_ns: int) -> float:
    """Cosine of the time of day as an angle.

    Formula: cos(2 pi * time_of_day)
    NaN: never.
    """
    return cosine_of_turn(day_ns(row_ns), DAY_NS)


@feature("day_of_week_sin", reads=NOTHING, unit="1", low=-1.0, high=1.0)
def day_of_week_sin(row_ns: int) -> float:
    """Sine of the time of the UTC week, which starts on Monday, as an angle.

    Formula: sin(2 pi * seconds since Monday 00:00 UTC / 604800)
    NaN: never.
    """
    return sine_of_turn(week_ns(row_ns), WEEK_NS)


@feature("day_of_week_cos", reads=NOTHING, unit="1", low=-1.0, high=1.0)
def day_of_week_cos(row_ns: int) -> float:
    """Cosine of the time of the UTC week, which starts on Monday, as an angle.

    Formula: cos(2 pi * seconds since Monday 00:00 UTC / 604800)
    NaN: never.
    """
    return cosine_of_turn(week_ns(row_ns), WEEK_NS)
