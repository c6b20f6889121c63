"""Numbers of positions: rounded half to even at nine decimals, and rejected when they are none or do not fit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.errors import MalformedMessage, RejectedMessage, ScaleExceeded
from market.events import POSITION_SIZE, UNREALIZED_PNL
from market.instruments import Instrument
from tests.position_messages import ANSWER, PAYLOAD, UPDATE, Json, Pins, fields, from_answer, from_gateway, from_manager

NANO: Final = 10**9


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("-0.0000000025", -2),
        ("0.00000000050000000000000000000000000000000000000001", 1),
        ("1e-9", 1),
        ("7E-10", 1),
        ("0E-18", 0),
        ("-0", 0),
        ("+3", 3 * NANO),
        ("1.2E+3", 1_200 * NANO),
        ("4611686017.9999999999", 4_611_686_018 * NANO),
    ],
)
def test_a_number_is_rounded_half_to_even_at_nine_decimals(text: str, nanos: int) -> None:
    assert fields(from_manager(unrealized_pnl=text))[UNREALIZED_PNL] == nanos


@given(number=st.decimals(-4_611_686_017, 4_611_686_017, allow_nan=False, places=14))
def test_rounding_is_that_of_exact_arithmetic(number: Decimal) -> None:
    assert fields(from_manager(size=f"{number:f}"))[POSITION_SIZE] == round(Fraction(number) * NANO)


@pytest.mark.parametrize("text", ["4611686018", "-4611686018", "1e10", "1e999", "9" * 64])
def test_a_number_that_does_not_fit_is_rejected(text: str) -> None:
    with pytest.raises(ScaleExceeded, match="must be below 4611686018"):
        from_manager(unrealized_pnl=text)


@pytest.mark.parametrize(
    "text",
    [
        *("NaN", "nan", "sNaN", "inf", "-Infinity", "1e9999999", "1e999999999999999999", "-1E+1000"),
        *("1_000", "\u0663", " 5", "5\n", "0x1p3", "--1", "1,5", ".", "-", "e5", "1e", "true"),
    ],
)
def test_what_is_no_decimal_number_is_rejected(text: str) -> None:
    with pytest.raises(MalformedMessage):
        from_manager(unrealized_pnl=text)
    with pytest.raises(MalformedMessage):
        from_gateway(size=text)
    with pytest.raises(MalformedMessage):
        from_answer(ANSWER | {"average_entry_price": text})


hostile_texts = st.one_of(
    st.text(max_size=70),
    st.from_regex(r"[+-]?[0-9]{0,12}\.?[0-9]{0,12}([eE][+-]?[0-9]{0,8})?", fullmatch=True),
    st.sampled_from(("NaN", "inf", "1e9999999", "-1e-9999999", "9" * 64, "0", "")),
)
hostile_values = st.one_of(
    hostile_texts, st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.integers(), max_size=2)
)
shapes = st.sampled_from(("gateway", "manager", "answer"))


@given(shape=shapes, drawn=st.data())
@example(shape="manager", drawn=None)
def test_whatever_a_position_says_it_is_decoded_or_rejected(shape: str, drawn: st.DataObject | None) -> None:
    whole = {"gateway": PAYLOAD, "manager": UPDATE, "answer": ANSWER}[shape]
    changes: Json = {"size": "1e9999999"}
    if drawn is not None:
        names = st.sampled_from([*whole, "s", "surprise"])
        changes = drawn.draw(st.dictionaries(names, hostile_values, min_size=1, max_size=4))
    try:
        if shape == "gateway":
            message = from_gateway(pins=Pins(), **changes)
        elif shape == "manager":
            message = from_manager(pins=Pins(Instrument("BTCUSDT", 3, 6)), **changes)
        else:
            message = from_answer(whole | changes, Pins())
    except RejectedMessage:
        return
    assert 1 <= len(message.records) <= 4
    assert abs(message.records["px"]).max() < 2**62
    assert message.records["event_ns"].max() < 2**62 + SECOND_NS
