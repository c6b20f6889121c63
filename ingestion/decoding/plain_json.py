"""Plain JSON, read by compiled code: texts of ASCII without escapes, short numbers, and spaces alone between tokens.

It is for messages that come by the thousand. What it cannot read is not wrong: it is for the typed decoder.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from market.clock import MICROSECOND_NS, SECOND_NS
from transforms.jit import jit_inside

DECLINED: Final = -(2**63)
"""In the place of a number that could not be read."""
LONGEST_NUMBER: Final = 64
_NEAR_OVERFLOW: Final = 2**59
"""A number from here on is above every limit once it has another digit."""
MOST_DIGITS: Final = 18
"""As many fit int64 whatever they are."""
_MASKS: Final = np.array([*(2 ** (8 * length) - 1 for length in range(8)), -1], np.int64)
"""By length: the bits of so many bytes."""
POWERS: Final = 10 ** np.arange(MOST_DIGITS + 1, dtype=np.int64)


def word(text: str) -> int:
    """Up to eight characters of ASCII as ``packed`` makes of them."""
    return int.from_bytes(text.encode("ascii"), "little")


_TRUE, _FALSE, _NULL = (word(text) for text in ("true", "false", "null"))


@jit_inside
def byte(body: Any, at: int) -> int:
    """The byte there, 0 behind the end."""
    # Of a place with a sign the compiler asks each time whether it counts from the end.
    place = np.uint64(at)
    return int(body[place]) if place < np.uint64(len(body)) else 0


@jit_inside
def spaces(body: Any, at: int) -> int:
    while byte(body, at) == 32:
        at += 1
    return at


@jit_inside
def packed(body: Any, begin: int, end: int) -> int:
    """Up to eight bytes as a number; they are ASCII, so that no two texts are the same."""
    if end <= begin:
        return 0
    found = 0
    if begin + 8 <= len(body):
        # One after the other like this the compiler makes one load of them.
        found |= int(body[begin])
        found |= int(body[begin + 1]) << 8
        found |= int(body[begin + 2]) << 16
        found |= int(body[begin + 3]) << 24
        found |= int(body[begin + 4]) << 32
        found |= int(body[begin + 5]) << 40
        found |= int(body[begin + 6]) << 48
        found |= int(body[begin + 7]) << 56
        return int(found & _MASKS[min(end - begin, 8)])
    for at in range(begin, min(end, begin + 8, len(body))):
        found |= int(body[at]) << (8 * (at - begin))
    return found


@jit_inside
def text_end(body: Any, at: int) -> int:
    """Where the text that begins at a quote ends, at its closing quote; -1 for none, or one that is not plain."""
    if byte(body, at) != 34:
        return -1
    at += 1
    found = byte(body, at)
    while found != 34:
        if not 32 <= found < 127 or found == 92:
            return -1
        at += 1
        found = byte(body, at)
    return at


@jit_inside
def _digits_end(body: Any, at: int) -> int:
    while 48 <= byte(body, at) <= 57:
        at += 1
    return at


@jit_inside
def number_end(body: Any, at: int) -> int:
    """Where a number of JSON ends, one without an exponent; -1 for none."""
    begin = at + 1 if byte(body, at) == 45 else at
    end = _digits_end(body, begin)
    if end == begin or (body[begin] == 48 and end > begin + 1):
        return -1
    if byte(body, end) == 46:
        fraction = end + 1
        end = _digits_end(body, fraction)
        if end == fraction:
            return -1
    return end if end - at <= 18 else -1


@jit_inside
def skipped(body: Any, at: int) -> int:
    """Where a text, a number, true, false or null ends; -1 for anything else."""
    first = byte(body, at)
    if first == 34:
        end = text_end(body, at)
        return -1 if end < 0 else end + 1
    if packed(body, at, at + 4) in (_TRUE, _NULL):
        return at + 4
    return at + 5 if packed(body, at, at + 5) == _FALSE else number_end(body, at)


@jit_inside
def mantissa(body: Any, begin: int, end: int, exponent: int) -> int:
    """The plain decimal number in these bytes at an exponent; DECLINED where it is none or does not fit."""
    at = begin + 1 if byte(body, begin) == 45 else begin
    if at == end or end - begin > LONGEST_NUMBER or body[at] == 46:
        return DECLINED
    value, left = 0, -1  # decimals left, once there was a point
    while at < end or left > 0:
        digit = 0
        if at < end:
            if body[at] == 46 and left < 0:
                left = exponent
                at += 1
                continue
            if not 48 <= body[at] <= 57:
                return DECLINED
            digit = int(body[at]) - 48
        at += 1
        if left == 0:
            if digit != 0:
                return DECLINED
            continue
        if value >= _NEAR_OVERFLOW:
            return DECLINED
        value = value * 10 + digit
        if left > 0:
            left -= 1
    if left < 0:
        for _ in range(exponent):
            if value >= _NEAR_OVERFLOW:
                return DECLINED
            value *= 10
    return -value if body[begin] == 45 else value


@jit_inside
def integer(body: Any, at: int, end: int) -> int:
    """The number in these bytes, which ``number_end`` found; DECLINED where it has a sign or a fraction."""
    value = 0
    for place in range(at, end):
        if not 48 <= body[place] <= 57:
            return DECLINED
        value = value * 10 + int(body[place]) - 48
    return value


@jit_inside
def same(body: Any, begin: int, end: int, other: int, other_end: int) -> bool:
    """Whether two pieces have the same bytes."""
    if end - begin != other_end - other:
        return False
    for place in range(end - begin):
        if body[begin + place] != body[other + place]:
            return False
    return True


@jit_inside
def _digits(body: Any, begin: int, count: int) -> int:
    end = begin + count
    return integer(body, begin, end) if end <= len(body) else DECLINED


@jit_inside
def iso_ns(body: Any, begin: int, end: int) -> int:
    """A time like 2026-08-09T21:26:58.130000, UTC and without a zone, in ns; DECLINED for any other."""
    if end - begin < 19 or end - begin == 20 or end - begin > 26:
        return DECLINED
    marks = body[begin + 4] == 45 and body[begin + 7] == 45 and body[begin + 10] == 84
    if not (marks and body[begin + 13] == 58 and body[begin + 16] == 58):
        return DECLINED
    year, month, day = _digits(body, begin, 4), _digits(body, begin + 5, 2), _digits(body, begin + 8, 2)
    hour, minute, second = _digits(body, begin + 11, 2), _digits(body, begin + 14, 2), _digits(body, begin + 17, 2)
    if not (1971 <= year <= 2200 and 1 <= month <= 12 and 1 <= day <= _days_of(year, month)):
        return DECLINED
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return DECLINED
    micros = 0
    if end - begin > 19:
        count = end - begin - 20
        micros = _digits(body, begin + 20, count)
        if body[begin + 19] != 46 or micros < 0:
            return DECLINED
        for _ in range(6 - count):
            micros *= 10
    # Days since 1970 of a year that begins in March.
    shifted = year - 1 if month <= 2 else year
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + of_year - 719_468
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * SECOND_NS + micros * MICROSECOND_NS


@jit_inside
def _days_of(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
