"""Decimal texts become integers exactly, or are refused; decimal.Decimal is the reference."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from market.errors import ScaleExceeded
from market.instruments import (
    LARGEST_MANTISSA,
    LARGEST_PRICE_MANTISSA,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    Instrument,
    decimal_text,
    mantissa,
    pin_scale,
)

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


@given(value=st.integers(-(2**62), 2**62), exponent=exponents)
def test_a_mantissa_is_told_as_the_number_it_stands_for(value: int, exponent: int) -> None:
    assert mantissa(decimal_text(value, exponent), exponent, "price", limit=2**63) == value


@given(price=prices)
def test_a_pinned_scale_has_room_for_prices_and_sizes_whatever_the_price(price: Decimal) -> None:
    assume(price > 0)
    instrument = pin_scale("X", f"{price:f}")
    assert price * 10**instrument.price_exponent < LARGEST_PRICE_MANTISSA / 10_000, "a price may grow ten thousandfold"
    # Eight digits of the price, unless the decimals end first.
    assert price.adjusted() + 1 + instrument.price_exponent >= 7 or instrument.price_exponent == PRICE_DECIMALS
    largest_size = Decimal(LARGEST_MANTISSA) / 10**instrument.quantity_exponent
    assert largest_size * price > 10**9 or largest_size > 9 * 10**12, "no order and no open interest is larger"


@pytest.mark.parametrize(
    ("price", "tick", "lot"),
    [
        # As the exchange lists them: spot, linear and inverse, from the dearest to the cheapest.
        ("118000", "0.01", "0.000001"),
        ("65114.2", "0.1", "0.001"),
        ("61800", "0.5", "1"),
        ("3500", "0.01", "0.00001"),
        ("1922.5", "0.01", "0.00001"),
        ("620.3", "0.1", "0.0001"),
        ("98.1", "0.01", "0.00001"),
        ("12.345", "0.001", "0.001"),
        ("2.3456", "0.0001", "0.01"),
        ("1.0001", "0.0001", "0.01"),
        ("0.9999", "0.0001", "0.01"),
        ("0.0731", "0.0001", "0.01"),
        ("0.034567", "0.000001", "0.0001"),
        ("0.0123456", "0.0000001", "0.1"),
        ("0.00001234", "0.00000001", "0.01"),
        ("0.0000000731", "0.0000000001", "0.01"),
    ],
)
def test_ticks_and_lots_of_every_real_market_fit_the_scale_of_any_price_near(price: str, tick: str, lot: str) -> None:
    for factor in ("0.5", "0.7", "1", "1.5", "2"):
        instrument = pin_scale("X", f"{Decimal(price) * Decimal(factor):f}")
        assert instrument.price(tick) > 0
        assert instrument.quantity(f"{900_000 + Decimal(lot):f}") > 0


def test_the_first_price_does_not_decide_what_a_market_at_a_peg_may_say() -> None:
    assert pin_scale("X", "0.9999") == pin_scale("X", "1.0001")
    assert pin_scale("X", "99999.9") == pin_scale("X", "100000.1")


@pytest.mark.parametrize(
    ("text", "price_exponent", "quantity_exponent"),
    [
        ("64000.10", 3, 6),
        ("3500", 4, 6),
        ("1922.5", 4, 5),
        ("0.5", 8, 5),
        ("1", 8, 5),
        ("0.00001234", 12, 2),
        ("123456789", 0, 9),
        ("007.5", 7, 6),
    ],
)
def test_the_scale_of_a_known_price(text: str, price_exponent: int, quantity_exponent: int) -> None:
    assert pin_scale("X", text) == Instrument("X", price_exponent, quantity_exponent)


@pytest.mark.parametrize("text", ["", "0", "0.000", "-1", "1e3", "abc", "1.5.2", "٣", "+5"])
def test_no_scale_is_pinned_from_what_is_no_positive_price(text: str) -> None:
    with pytest.raises(ValueError, match="X price: must be a positive decimal number, was "):
        pin_scale("X", text)


@pytest.mark.parametrize(
    ("price_exponent", "quantity_exponent"), [(-1, 0), (0, -1), (PRICE_DECIMALS + 1, 0), (0, QUANTITY_DECIMALS + 1)]
)
def test_a_scale_finer_than_any_market_needs_is_refused(price_exponent: int, quantity_exponent: int) -> None:
    with pytest.raises(ScaleExceeded, match="X"):
        Instrument("X", price_exponent, quantity_exponent)


def test_the_largest_price_leaves_room_for_the_products_of_prices() -> None:
    assert 2 * LARGEST_PRICE_MANTISSA * 10_000 < 2**63
    with pytest.raises(ScaleExceeded, match="must be below"):
        Instrument("X", 0, 0).price(str(LARGEST_PRICE_MANTISSA))
