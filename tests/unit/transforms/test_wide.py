"""Wide sums against Python's integers, across the edges of int64."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from transforms.wide import add_product_to, add_to, difference, rounded, sum_of

LIMB: Final = 2**62
EDGES: Final = [0, 1, 2**31 - 1, 2**31, 2**52, 2**53 - 1]
mantissas = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**53 - 1))
amounts = st.one_of(
    st.sampled_from([sign * (edge + step) for sign in (1, -1) for edge in (2**61, 2**62 - 2) for step in (-1, 0, 1)]),
    st.integers(-(2**62) + 1, 2**62 - 1),
)
near_edges = st.builds(
    lambda sign, power, step: sign * (2**power + step),
    st.sampled_from((1, -1)),
    st.integers(0, 122),
    st.one_of(st.integers(-3, 3), st.integers(-(2**60), 2**60)),
)
sums = st.one_of(near_edges, st.integers(-(2**123), 2**123))


def wide(number: int) -> npt.NDArray[np.int64]:
    return np.array(divmod(number, LIMB), np.int64)


def number(total: npt.NDArray[np.int64]) -> int:
    high, low = total.tolist()
    assert 0 <= low < LIMB
    return int(high) * LIMB + int(low)


@given(st.lists(amounts, max_size=40))
def test_a_sum_of_integers_is_exact(chosen: list[int]) -> None:
    total = wide(0)
    for amount in chosen:
        add_to(total, amount)
    assert number(total) == sum(chosen)


@given(st.lists(st.tuples(mantissas, mantissas), max_size=40))
def test_a_sum_of_products_of_mantissas_is_exact(chosen: list[tuple[int, int]]) -> None:
    total = wide(0)
    for one, other in chosen:
        add_product_to(total, one, other)
    assert number(total) == sum(one * other for one, other in chosen)


@given(sums, sums)
def test_differences_and_sums_of_wide_numbers_are_exact(one: int, other: int) -> None:
    assert number(np.array(list(difference(wide(one), wide(other))))) == one - other
    (high, low), (other_high, other_low) = wide(one).tolist(), wide(other).tolist()
    assert number(np.array(list(sum_of(high, low, other_high, other_low)))) == one + other
    assert number(np.array(list(sum_of(high, low, -other_high, -other_low)))) == one - other


@given(sums)
def test_rounding_is_to_the_nearest_float_ties_to_even(exact: int) -> None:
    assert rounded(*wide(exact).tolist()) == float(Fraction(exact))


@given(st.integers(2**53, 2**68), st.integers(1, 54), st.sampled_from((1, -1)))
def test_rounding_is_right_half_way_between_two_floats(upper: int, shift: int, sign: int) -> None:
    for step in (-1, 0, 1):
        exact = sign * (upper * 2**shift + 2 ** (shift - 1) + step)
        assert rounded(*wide(exact).tolist()) == float(Fraction(exact))
