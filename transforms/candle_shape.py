"""Shapes of candles: bodies, shadows and how they compare, for the patterns of the last three.

``c`` holds three candles, 0 the oldest, as arrays of mantissas. What compares one candle with itself is compared in
integers, with a quotient where a product would wrap for mantissas below 2**53.
"""

from __future__ import annotations

from typing import Any

from transforms.jit import jit_inside
from transforms.wide import multiplied, product, rounded, sum_of

SHARES_IN_ONE = 10_000  # of the least threshold, 1e-4
ROUNDING = 1e-15  # more than the relative error of a sum of three shares
VOLUME_FLOOR = 1e-8


@jit_inside
def truth(holds: bool) -> float:  # noqa: FBT001  # a kernel's arguments are positional
    return 1.0 if holds else 0.0


@jit_inside
def is_green(c: Any, i: int) -> bool:
    return c.close[i] > c.open[i]


@jit_inside
def is_red(c: Any, i: int) -> bool:
    return c.close[i] < c.open[i]


@jit_inside
def body_px(c: Any, i: int) -> int:
    return abs(c.close[i] - c.open[i])


@jit_inside
def range_px(c: Any, i: int) -> int:
    return c.high[i] - c.low[i]


@jit_inside
def upper_px(c: Any, i: int) -> int:
    return c.high[i] - max(c.open[i], c.close[i])


@jit_inside
def lower_px(c: Any, i: int) -> int:
    return min(c.open[i], c.close[i]) - c.low[i]


@jit_inside
def body(c: Any, i: int) -> float:
    return body_px(c, i) / c.open[i]


@jit_inside
def upper(c: Any, i: int) -> float:
    return upper_px(c, i) / c.open[i]


@jit_inside
def lower(c: Any, i: int) -> float:
    return lower_px(c, i) / c.open[i]


@jit_inside
def bodies_px(c: Any) -> tuple[int, int, int]:
    return body_px(c, 0), body_px(c, 1), body_px(c, 2)


@jit_inside
def uppers_px(c: Any) -> tuple[int, int, int]:
    return upper_px(c, 0), upper_px(c, 1), upper_px(c, 2)


@jit_inside
def lowers_px(c: Any) -> tuple[int, int, int]:
    return lower_px(c, 0), lower_px(c, 1), lower_px(c, 2)


@jit_inside
def excess(c: Any, parts_px: tuple[int, int, int], i: int, times: int) -> float:
    """A number with the sign of ``times`` × share(i) − (share(0) + share(1) + share(2)), where share = part / open.

    Equal shares are common in a quiet market, and a rounded mean may miss them. Where floats cannot tell, the
    difference over the common denominator decides: of mantissas below 2**53 it is below 2**113 there, hence right
    modulo 2**126 though its terms wrap around.
    """
    part0, part1, part2 = int(parts_px[0]), int(parts_px[1]), int(parts_px[2])
    open0, open1, open2 = int(c.open[0]), int(c.open[1]), int(c.open[2])
    total = part0 / open0 + part1 / open1 + part2 / open2
    difference = times * (parts_px[i] / c.open[i]) - total
    if abs(difference) > ROUNDING * total:
        return difference
    first = part0 * (times - 1 if i == 0 else -1)
    second = part1 * (times - 1 if i == 1 else -1)
    third = part2 * (times - 1 if i == 2 else -1)
    return sign_of_shares(first, second, third, open0, open1, open2)


@jit_inside
def sign_of_shares(first: int, second: int, third: int, open0: int, open1: int, open2: int) -> float:
    """A number with the sign of first / open0 + second / open1 + third / open2, modulo 2**126 times the opens."""
    high0, low0 = product(open1, open2)
    high1, low1 = product(open0, open2)
    high2, low2 = product(open0, open1)
    high0, low0 = multiplied(high0, low0, first)
    high1, low1 = multiplied(high1, low1, second)
    high2, low2 = multiplied(high2, low2, third)
    high, low = sum_of(high0, low0, high1, low1)
    high, low = sum_of(high, low, high2, low2)
    return rounded(high, low)


@jit_inside
def is_large(c: Any, parts_px: tuple[int, int, int], i: int) -> bool:
    """Whether a share is above the threshold max(mean share, 1e-4)."""
    return parts_px[i] > c.open[i] // SHARES_IN_ONE and excess(c, parts_px, i, 3) > 0.0


@jit_inside
def is_below_half(c: Any, parts_px: tuple[int, int, int], i: int) -> bool:
    """Whether a share is below half of the threshold max(mean share, 1e-4)."""
    return parts_px[i] < -(-c.open[i] // (2 * SHARES_IN_ONE)) or excess(c, parts_px, i, 6) < 0.0


@jit_inside
def has_large_volume(c: Any, i: int, scale: Any) -> bool:
    total = c.volume[0] + c.volume[1] + c.volume[2]
    return 3 * c.volume[i] > total and c.volume[i] / scale.qty > VOLUME_FLOOR


@jit_inside
def is_doji(c: Any, i: int) -> bool:
    return body_px(c, i) < -(-range_px(c, i) // 2000)


@jit_inside
def is_hammer(c: Any, i: int) -> bool:
    tall = body_px(c, i)
    return lower_px(c, i) > 2 * tall and 10 * upper_px(c, i) < 3 * tall and tall > 0


@jit_inside
def is_inverted_hammer(c: Any, i: int) -> bool:
    tall = body_px(c, i)
    return upper_px(c, i) > 2 * tall and 10 * lower_px(c, i) < 3 * tall and tall > 0


@jit_inside
def is_pin(shadow_px: int, whole_px: int, tall_px: int) -> bool:
    return 3 * shadow_px > 2 * whole_px and shadow_px > 2 * tall_px


@jit_inside
def are_near(first_px: int, second_px: int) -> bool:
    return 1000 * abs(first_px - second_px) < max(first_px, second_px)


@jit_inside
def is_small_between_large(c: Any) -> bool:
    bodies = bodies_px(c)
    return is_large(c, bodies, 0) and is_below_half(c, bodies, 1) and is_large(c, bodies, 2)


@jit_inside
def is_rest_of_three_methods(c: Any) -> bool:
    bodies = bodies_px(c)
    return (
        is_large(c, bodies, 0)
        and is_below_half(c, bodies, 1)
        and is_below_half(c, bodies, 2)
        and 1000 * min(c.low[1], c.low[2]) >= 999 * c.low[0]
        and 1000 * max(c.high[1], c.high[2]) <= 1001 * c.high[0]
    )


@jit_inside
def is_inside(c: Any) -> bool:
    return c.high[2] < c.high[1] and c.low[2] > c.low[1]
