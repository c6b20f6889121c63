"""Wide sums: exact integers of up to 124 bits in two int64 limbs, and their one rounding to float64.

A wide number is ``high * 2**62 + low`` with 0 <= low < 2**62; its sign is that of ``high``. No step leaves int64, so
that the compiler off gives the same numbers. A product of two mantissas below 2**53 is below 2**106: a sum holds
2**18 of the largest before it could pass 2**124.
"""

from __future__ import annotations

from typing import Any, Final

from transforms.jit import jit

HIGH: Final = 0
LOW: Final = 1
_LIMB_BITS: Final = 62
_LIMB_MASK: Final = (1 << _LIMB_BITS) - 1
_HALF_BITS: Final = 31
_HALF_MASK: Final = (1 << _HALF_BITS) - 1


@jit
def add_to(total: Any, amount: int) -> None:
    """Add an integer of less than 62 bits, of either sign; total: int64 (2,)."""
    low = total[LOW] + amount
    total[HIGH] += low >> _LIMB_BITS
    total[LOW] = low & _LIMB_MASK


@jit
def add_product_to(total: Any, one: int, other: int) -> None:
    """Add the product of two integers of less than 54 bits each; total: int64 (2,)."""
    high, low = product(one, other)
    low += total[LOW]
    total[HIGH] += high + (low >> _LIMB_BITS)
    total[LOW] = low & _LIMB_MASK


@jit
def product(one: int, other: int) -> tuple[int, int]:
    """The product of two integers of less than 54 bits each, as (high, low)."""
    return multiplied(0, one, other)


@jit
def multiplied(high: int, low: int, factor: int) -> tuple[int, int]:
    """A wide number times an integer of less than 61 bits, of either sign, modulo 2**126."""
    low_high = low >> _HALF_BITS
    low_low = low & _HALF_MASK
    factor_high = factor >> _HALF_BITS
    factor_low = factor & _HALF_MASK
    middle = low_high * factor_low + low_low * factor_high
    lower = low_low * factor_low + ((middle & _HALF_MASK) << _HALF_BITS)
    upper = high * factor + low_high * factor_high + (middle >> _HALF_BITS) + (lower >> _LIMB_BITS)
    return upper, lower & _LIMB_MASK


@jit
def difference(later: Any, earlier: Any) -> tuple[int, int]:
    """``later - earlier`` as (high, low); each int64 (2,)."""
    low = later[LOW] - earlier[LOW]
    return later[HIGH] - earlier[HIGH] + (low >> _LIMB_BITS), low & _LIMB_MASK


@jit
def sum_of(high: int, low: int, other_high: int, other_low: int) -> tuple[int, int]:
    """The sum of two wide numbers; the limbs of the other may both be negated, which subtracts it."""
    low += other_low
    return high + other_high + (low >> _LIMB_BITS), low & _LIMB_MASK


@jit
def rounded(high: int, low: int) -> float:
    """The float64 nearest to a wide number, ties to even."""
    if high == 0:
        return float(low)
    if high < 0:
        # Its negative, a limb at a time: only a low limb of 0 borrows nothing.
        if low == 0:
            return -_rounded_positive(-high, 0)
        return -_rounded_positive(-high - 1, _LIMB_MASK + 1 - low)
    return _rounded_positive(high, low)


@jit
def _rounded_positive(high: int, low: int) -> float:
    if high == 0:
        return float(low)
    dropped = 0
    while high >> dropped != 0:
        dropped += 1
    # The upper 62 bits decide, and whether anything at all lies below them.
    upper = (high << (_LIMB_BITS - dropped)) | (low >> dropped)
    if low & ((1 << dropped) - 1) != 0:
        upper |= 1
    power = 1.0
    for _ in range(dropped):
        power *= 2.0
    return float(upper) * power
