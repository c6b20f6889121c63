"""Logarithm, sine and cosine against decimal arithmetic of forty digits."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.elementary import cosine_of_turn, log_ratio, sine_of_turn

DIGITS: Final = 45
PI: Final = Decimal("3.14159265358979323846264338327950288419716939937510")
DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
CIRCLE_ERROR: Final = Decimal("1.5e-15")
LOG_ULPS: Final = 4

wholes = st.sampled_from((DAY_S, WEEK_S))


def exact_circle(part: int, whole: int) -> tuple[Decimal, Decimal]:
    """Sine and cosine of the turn, by their power series without reduction."""
    with localcontext() as context:
        context.prec = DIGITS
        angle = 2 * PI * part / whole
        sine = cosine = Decimal(0)
        term = Decimal(1)
        for power in range(80):
            if power % 2:
                sine += term if power % 4 == 1 else -term
            else:
                cosine += term if power % 4 == 0 else -term
            term *= angle / (power + 1)
        return sine, cosine


def assert_on_the_circle(part: int, whole: int) -> None:
    sine, cosine = exact_circle(part, whole)
    assert abs(Decimal(sine_of_turn(part, whole)) - sine) <= CIRCLE_ERROR
    assert abs(Decimal(cosine_of_turn(part, whole)) - cosine) <= CIRCLE_ERROR


@settings(max_examples=200)
@given(turn=wholes.flatmap(lambda whole: st.tuples(st.integers(0, whole - 1), st.just(whole))))
def test_sine_and_cosine_are_right_to_a_few_units_in_the_sixteenth_digit(turn: tuple[int, int]) -> None:
    assert_on_the_circle(*turn)


@pytest.mark.parametrize("whole", [DAY_S, WEEK_S])
@pytest.mark.parametrize("eighth", range(8))
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_the_seams_between_eighths_of_a_turn_are_right(whole: int, eighth: int, off: int) -> None:
    assert_on_the_circle((eighth * whole // 8 + off) % whole, whole)


def test_the_quarter_turns_are_exact_and_no_zero_is_negative() -> None:
    quarters = [(sine_of_turn(i * DAY_S // 4, DAY_S), cosine_of_turn(i * DAY_S // 4, DAY_S)) for i in range(4)]
    assert quarters == [(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)]
    assert all(math.copysign(1.0, value) > 0 for pair in quarters for value in pair if value == 0)


@given(part=st.integers(1, DAY_S // 2 - 1))
def test_sine_is_odd_and_cosine_even_to_the_bit(part: int) -> None:
    assert sine_of_turn(DAY_S - part, DAY_S) == -sine_of_turn(part, DAY_S)
    assert cosine_of_turn(DAY_S - part, DAY_S) == cosine_of_turn(part, DAY_S)


mids = st.integers(1, 2**53)


def assert_logarithm(numerator: int, denominator: int) -> None:
    with localcontext() as context:
        context.prec = DIGITS
        exact = (Decimal(numerator) / Decimal(denominator)).ln()
        value = log_ratio(float(numerator), float(denominator))
        assert abs(Decimal(value) - exact) <= LOG_ULPS * Decimal(math.ulp(float(exact)))


@settings(max_examples=300)
@given(numerator=mids, denominator=mids)
def test_a_logarithm_of_any_two_mids_is_right_to_four_units_in_the_last_place(numerator: int, denominator: int) -> None:
    assert_logarithm(numerator, denominator)


@settings(max_examples=300)
@given(mid=st.integers(1_000, 2**52), change=st.integers(-100, 100))
def test_a_logarithm_of_neighbouring_mids_loses_no_digits(mid: int, change: int) -> None:
    assert_logarithm(mid + change, mid)


@pytest.mark.parametrize("numerator", [14_142, 14_143, 7_071, 7_072, 13_999, 12_000, 8_000])
def test_a_logarithm_at_the_edges_of_the_series_is_right(numerator: int) -> None:
    assert_logarithm(numerator, 10_000)


@given(mid=mids)
def test_a_mid_that_did_not_move_has_logarithm_zero(mid: int) -> None:
    assert math.copysign(1.0, log_ratio(float(mid), float(mid))) == 1.0
    assert log_ratio(float(mid), float(mid)) == 0.0


@given(numerator=mids, denominator=mids)
def test_the_logarithm_of_the_inverse_is_its_negative_to_the_bit(numerator: int, denominator: int) -> None:
    assert log_ratio(float(numerator), float(denominator)) == -log_ratio(float(denominator), float(numerator))
