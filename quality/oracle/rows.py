"""A row of the oracle: its exact values, the status of a source, and what follows from the row time or from rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from quality.oracle.arithmetic import Number, decimal_mean, population_std_of_decimals, rounded, sine
from quality.oracle.book import BROKEN, VALID

CLOSE: Final = Fraction(1, 10**12)
LEAST: Final = Fraction(1, 10**18)
"""Below this a deviation of equal numbers is nothing but rounding."""
GREATEST: Final = Fraction(10**300)
"""A value with a neighbouring float, whatever follows the point."""


@dataclass(frozen=True)
class Value:
    """A feature's exact value, None where it has none; ``size`` is that of the terms whose difference it is."""

    number: Number | None
    size: Number = Fraction(0)

    def agrees(self, value: float, *, exactly: bool = False) -> bool:
        """Whether a float is the value but for rounding, NaN where there is none; exactly: without rounding."""
        if self.number is None or math.isnan(value):
            return self.number is None and math.isnan(value)
        if math.isinf(value):
            return False
        if not exactly and -GREATEST < self.number < GREATEST and value == float(self.number):
            return True  # as near as a float can be, and told without a fraction
        allowed = 0 if exactly else max(CLOSE * max(abs(Fraction(self.number)), Fraction(self.size)), LEAST)
        return abs(Fraction(value) - Fraction(self.number)) <= allowed

    def __str__(self) -> str:
        return "unknown" if self.number is None else repr(float(self.number))


UNKNOWN: Final = Value(None)


@dataclass(frozen=True)
class OracleRow:
    """What is exactly true at a row."""

    row_ns: int
    began_ns: Mapping[str, int]
    """When the history that it may use began, by source."""
    values: Mapping[str, Value]
    book_state: str
    seen_ns: Mapping[str, int]
    """When each source was heard last, of bars each interval."""
    is_ticker_known: bool
    """Whether every field of the ticker is, the next funding time as a time to come."""

    def is_warm(self, source: str, warm_up_ns: int) -> bool:
        """Whether the source's history is as long as a feature of it needs; a source of nothing always is."""
        return self.row_ns - self.began_ns.get(source, 0) >= warm_up_ns

    def status(self, source: str, *, horizon_ns: int, warm_up_ns: int, stale_after_ns: int, minutes: int = 0) -> str:
        """The status of a group that reads the source; minutes: of the interval of bars."""
        seen_ns = self.seen_ns.get(f"{source} {minutes}" if source == "BARS" else source)
        if source == "BOOK" and self.book_state != VALID:
            return "GAP" if self.book_state == BROKEN else "NO_DATA"
        if source == "BOOK" and self.values.get("mid_price", UNKNOWN).number is None:
            return "NO_DATA"
        if seen_ns is None or (source != "BOOK" and self.row_ns - seen_ns > horizon_ns):
            return "NO_DATA"
        if self.row_ns - seen_ns > stale_after_ns:
            return "STALE"
        if not self.is_warm(source, warm_up_ns):
            return "WARMUP"
        return "NO_DATA" if source == "TICKERS" and not self.is_ticker_known else "OK"


def temporal(row_ns: int) -> dict[str, Number | None]:
    """The features of the row time alone, by the calendar."""
    second, below_ns = divmod(row_ns, 10**9)
    moment = datetime.fromtimestamp(second, UTC)
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + Fraction(below_ns, 10**9)
    day = seconds / 86_400
    week = (moment.weekday() + day) / 7
    quarter = Fraction(1, 4)
    return {
        "time_of_day": day,
        "time_of_day_sin": sine(day),
        "time_of_day_cos": sine(day + quarter),
        "day_of_week_sin": sine(week),
        "day_of_week_cos": sine(week + quarter),
    }


def normalised(history: list[float | None], method: str) -> Number | None:
    """The last of a window of a column's own values, standardised; None when one is unknown or all are equal."""
    if any(value is None for value in history):
        return None
    numbers = [Fraction(value) for value in history if value is not None]
    if len(set(numbers)) == 1:
        return None
    if method == "min_max":
        return (numbers[-1] - min(numbers)) / (max(numbers) - min(numbers))
    decimals = [rounded(number) for number in numbers]
    return (decimals[-1] - decimal_mean(decimals)) / population_std_of_decimals(decimals)
