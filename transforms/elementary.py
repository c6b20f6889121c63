"""Logarithm, sine and cosine made of additions, multiplications and divisions alone.

The C library's versions differ in their last bit between processors and releases; a row must not.
"""

from __future__ import annotations

import math
from typing import Final

from transforms.jit import jit

_SQRT_2: Final = math.sqrt(2.0)
_LN_2: Final = 0.6931471805599453
_HALF_PI: Final = 1.5707963267948966
_LOG_TERMS: Final = 11  # the first term left out is below 2**-57 of the sum
_CIRCLE_TERMS: Final = 9  # likewise, on [-pi/4, pi/4]


@jit
def log_ratio(numerator: float, denominator: float) -> float:
    """ln(numerator / denominator) of two positive numbers, without rounding their quotient first.

    ln(a/b) = 2 artanh((a - b)/(a + b)), summed as a power series after scaling a/b into [1/sqrt(2), sqrt(2)].
    """
    twos = 0
    while numerator > _SQRT_2 * denominator:
        denominator *= 2.0
        twos += 1
    while denominator > _SQRT_2 * numerator:
        numerator *= 2.0
        twos -= 1
    ratio = (numerator - denominator) / (numerator + denominator)
    square = ratio * ratio
    series = 0.0
    for term in range(_LOG_TERMS, -1, -1):
        series = series * square + 1.0 / (2 * term + 1)
    return twos * _LN_2 + 2.0 * ratio * series


@jit
def sine_of_turn(part: int, whole: int) -> float:
    """sin(2π part/whole) for 0 <= part < whole, exact at the quarter turns."""
    quarter = (4 * part + whole // 2) // whole
    angle = (4 * part - quarter * whole) / whole * _HALF_PI
    quarter &= 3
    if quarter == 0:
        return _small_sine(angle)
    if quarter == 1:
        return _small_cosine(angle)
    if quarter == 2:
        return -_small_sine(angle) + 0.0
    return -_small_cosine(angle)


@jit
def cosine_of_turn(part: int, whole: int) -> float:
    """cos(2π part/whole) for 0 <= part < whole, exact at the quarter turns."""
    quarter = (4 * part + whole // 2) // whole
    angle = (4 * part - quarter * whole) / whole * _HALF_PI
    quarter &= 3
    if quarter == 0:
        return _small_cosine(angle)
    if quarter == 1:
        return -_small_sine(angle) + 0.0
    if quarter == 2:
        return -_small_cosine(angle)
    return _small_sine(angle)


@jit
def _small_sine(angle: float) -> float:
    square = angle * angle
    series = 1.0
    for term in range(_CIRCLE_TERMS, 0, -1):
        series = 1.0 - series * square / (2 * term * (2 * term + 1))
    return angle * series


@jit
def _small_cosine(angle: float) -> float:
    square = angle * angle
    series = 1.0
    for term in range(_CIRCLE_TERMS, 0, -1):
        series = 1.0 - series * square / ((2 * term - 1) * 2 * term)
    return series
