"""Decimal texts become integers exactly, or are refused; decimal.Decimal is the reference."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from market.errors import ScaleExceeded
from market.instruments import LARGEST_MANTISSA, NOTIONAL_DECIMALS, PRICE_DIGITS, Instrument, mantissa, pin_scale

exponents = st.integers(0, 12)
plain_decimals = st.from_regex(r"\A-?[0-9]{1,9}(\.[0-9]{0,12})?\Z")
prices = st.decimals(Decimal("1e-9"), Decimal("9e8"), allow_nan=False, allow_infinity=False, places=9)


def exactly(text: str, exponent: int) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        return Decimal(text).scaleb(exponent)


@given(text=plain_decimals, exponent=exponents)
def test_a_mantissa_is_the_exact_integer_or_the_text_is_refused(text: str, exponent: int) -> None:
    exact = exactly(text, exponent)
    if exact != exact.to_integral_value() or abs(exact) >= LARGEST_MANTISSA:
        with pytest.raises(ScaleExceeded, match=r"^BTCUSDT price: must "):
            mantissa(text, exponent, "BTCUSDT price")
    else:
        assert mantissa(text, exponent, "BTCUSDT price") == int(exact)


@given(cents=st.integers(0, 10**11))
def test_two_decimals_never_suffer_from_binary_fractions(cents: int) -> None:
    assert mantissa(f"{cents // 100}.{cents % 100:02}", 2, "price") == cents


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", ".5", "1e5", "+1", " 1", "1 ", "1_000", "1,5", "nan", "inf", "--1", "1.2.3", "\uff11", "0x1", "²"],
)
def test_a_text_that_is_no_plain_decimal_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^price: must be a plain decimal number, was "):
        mantissa(text, 2, "price")


def test_decimals_beyond_the_scale_are_refused_unless_they_are_zero() -> None:
    assert mantissa("1.2300", 2, "price") == 123
    with pytest.raises(ScaleExceeded, match=r"at most 2 decimals, was '1\.2301'"):
        mantissa("1.2301", 2, "price")


def test_a_mantissa_that_float64_cannot_hold_is_refused() -> None:
    assert mantissa(str(LARGEST_MANTISSA - 1), 0, "price") == LARGEST_MANTISSA - 1
    with pytest.raises(ScaleExceeded, match="must be below"):
        mantissa(str(LARGEST_MANTISSA), 0, "price")


def test_a_price_must_be_positive_and_a_quantity_not_negative() -> None:
    instrument = Instrument("BTCUSDT", 2, 3)
    assert instrument.price("64000.1") == 6_400_010
    assert instrument.quantity("0") == 0
    for text in ("0", "0.00", "-1"):
        with pytest.raises(ValueError, match="BTCUSDT price: must be positive"):
            instrument.price(text)
    with pytest.raises(ValueError, match="BTCUSDT size: must not be negative"):
        instrument.quantity("-0.001")


@given(price=prices)
def test_a_pinned_scale_holds_eight_digits_of_the_price_within_the_notional_decimals(price: Decimal) -> None:
    text = f"{price:f}"
    assume(price > 0)
    instrument = pin_scale("X", text)
    assert instrument.notional_exponent == NOTIONAL_DECIMALS
    # Digits that the scale keeps of this price: at least eight, unless the decimals end first.
    digits = price.adjusted() + 1 + instrument.price_exponent
    assert digits >= PRICE_DIGITS or instrument.price_exponent == NOTIONAL_DECIMALS
    assert digits == PRICE_DIGITS or instrument.price_exponent in {0, NOTIONAL_DECIMALS}


@pytest.mark.parametrize(
    ("text", "price_exponent"),
    [("64000.10", 3), ("3500", 4), ("0.5", 8), ("1", 7), ("0.00001234", 9), ("123456789", 0), ("007.5", 7)],
)
def test_the_scale_of_a_known_price(text: str, price_exponent: int) -> None:
    assert pin_scale("X", text) == Instrument("X", price_exponent, NOTIONAL_DECIMALS - price_exponent)


@pytest.mark.parametrize("text", ["", "0", "0.000", "-1", "1e3", "abc", "1.5.2", "٣", "+5"])
def test_no_scale_is_pinned_from_what_is_no_positive_price(text: str) -> None:
    with pytest.raises(ValueError, match="X price: must be a positive decimal number, was "):
        pin_scale("X", text)


@pytest.mark.parametrize(("price_exponent", "quantity_exponent"), [(-1, 0), (0, 10), (5, 5), (10, 0)])
def test_a_scale_without_headroom_for_window_sums_is_refused(price_exponent: int, quantity_exponent: int) -> None:
    with pytest.raises(ScaleExceeded, match="X"):
        Instrument("X", price_exponent, quantity_exponent)
