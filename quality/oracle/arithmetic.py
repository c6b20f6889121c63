"""Exact fractions, and fifty-digit decimals where a formula has a root or a logarithm: the oracle's numbers.

Decimal operators round to the context in force; ``fifty_digits`` is entered around a whole row.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from typing import Final

PI: Final = Decimal("3.14159265358979323846264338327950288419716939937510")
Number = Fraction | Decimal


def fifty_digits() -> AbstractContextManager[Context]:
    """The context of the oracle's decimals."""
    return localcontext(Context(prec=50))


def exact_decimals() -> AbstractContextManager[Context]:
    """A context in which decimals are added and multiplied exactly: what would have to be rounded raises."""
    return localcontext(Context(prec=1000, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow]))


def rounded(value: Fraction) -> Decimal:
    """A fraction as a decimal."""
    return Decimal(value.numerator) / Decimal(value.denominator)


def square_root(value: Fraction) -> Decimal:
    return rounded(value).sqrt()


def logarithm(value: Fraction) -> Decimal:
    return rounded(value).ln()


def mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def decimal_mean(values: Sequence[Decimal]) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


def population_std(values: Sequence[Fraction]) -> Decimal:
    """Root of the mean of the squares less the square of the mean, which is sound in exact arithmetic alone."""
    return square_root(mean([value * value for value in values]) - mean(values) ** 2)


def population_std_of_decimals(values: Sequence[Decimal]) -> Decimal:
    """For long series of quotients, whose common denominator would have thousands of digits."""
    centre = decimal_mean(values)
    return decimal_mean([(value - centre) ** 2 for value in values]).sqrt()


def sine(part: Fraction) -> Decimal:
    """Sine of a part of a turn, by its power series."""
    angle = 2 * PI * rounded(part)
    total = term = angle
    for power in range(3, 120, 2):
        term = -term * angle * angle / (power * (power - 1))
        total += term
    return total
