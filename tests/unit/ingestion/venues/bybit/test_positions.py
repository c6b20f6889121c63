"""Positions: what the gateway, the position manager and its REST interface state, and what is rejected."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.own import position_answer
from ingestion.venues.bybit.decode import Decoder
from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import MalformedMessage, RejectedMessage, ScaleExceeded
from market.events import (
    ENTRY_PRICE,
    FIRST,
    LAST,
    POSITION,
    POSITION_SIZE,
    REALIZED_PNL,
    UNREALIZED_PNL,
)
from market.instruments import Instrument, pin_scale

Json = dict[str, Any]
AT: Final = "2026-08-09T21:26:58.130000"
AT_NS: Final = 1_786_310_818_130 * MILLISECOND_NS
NANO: Final = 10**9

PAYLOAD: Final[Json] = {
    "symbol": "BTCUSDT",
    "size": "0.5",
    "side": "Sell",
    "avg_price": "65000.123456789",
    "markPrice": "65114.2",
    "unrealised_pnl": "-57.03",
    "realised_pnl": "1.25",
    "mode": "one-way",
    "timestamp": "1786310818130",
    "topic": "position",
}
UPDATE: Final[Json] = {
    "event_type": "position_updated",
    "position_id": "7a",
    "asset": "BTCUSDT",
    "size": "-0.5",
    "unrealized_pnl": "-57.03",
    "realized_pnl": "1.25",
    "mode": "one-way",
    "unrealized_pnl_pct": "-0.2",
    "time_held_minutes": 3,
    "position_size_norm": None,
    "update_source": "fill",
    "trace_id": "t-1",
    "timestamp": AT,
}
ANSWER: Final[Json] = {
    "asset": "BTCUSDT",
    "mode": "one-way",
    "size": "-0.5",
    "average_entry_price": "65000.123456789",
    "unrealized_pnl": "-57.03",
    "realized_pnl": "1.25",
}


class Pins:
    """Instrument pins in memory."""

    def __init__(self, *known: Instrument) -> None:
        self.known = {instrument.symbol: instrument for instrument in known}

    def get(self, symbol: str) -> Instrument | None:
        return self.known.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        return self.known.setdefault(symbol, pin_scale(symbol, price_text))


def decoded(body: bytes, pins: Pins | None = None) -> DecodedMessage:
    message = Decoder(pins or Pins(Instrument("BTCUSDT", 3, 6))).decode(body)
    assert message is not None
    assert message.kind == POSITION
    return message


def from_gateway(*, pins: Pins | None = None, topic: str = "position", **changes: object) -> DecodedMessage:
    envelope = {
        "event_id": "e",
        "event_type": "position",
        "topic": topic,
        "timestamp": AT,
        "received_at": "2026-08-09T21:26:59",
        "payload": PAYLOAD | changes,
        "trace_id": "t-1",
    }
    return decoded(json.dumps(envelope).encode(), pins)


def from_manager(*, pins: Pins | None = None, **changes: object) -> DecodedMessage:
    return decoded(json.dumps(UPDATE | changes).encode(), pins)


def from_answer(held: Json | None, pins: Pins | None = None) -> DecodedMessage:
    body = position_answer("BTCUSDT", event_ns=AT_NS, answer=json.dumps(held).encode())
    return decoded(body, pins)


def fields(message: DecodedMessage) -> dict[int, int]:
    """Mantissas by field."""
    return dict(zip(message.records["field"].tolist(), message.records["px"].tolist(), strict=True))


SHORT: Final = {
    POSITION_SIZE: -500_000_000,
    UNREALIZED_PNL: -57_030_000_000,
    REALIZED_PNL: 1_250_000_000,
    ENTRY_PRICE: 65_000_123_456_789,
}


def test_a_gateway_position_states_all_four_fields_with_the_sign_of_its_side() -> None:
    message = from_gateway()
    assert fields(message) == SHORT
    assert (message.symbol, message.trace_id) == ("BTCUSDT", "t-1")
    assert message.received_ns == AT_NS + 870 * MILLISECOND_NS
    assert set(message.records["event_ns"].tolist()) == {AT_NS}
    assert message.records["flags"].tolist() == [FIRST, 0, 0, LAST]
    assert fields(from_gateway(side="Buy"))[POSITION_SIZE] == 500_000_000


def test_a_position_without_a_symbol_is_of_the_one_in_its_topic() -> None:
    envelope_symbol = from_gateway(topic="position.ETHUSDT", symbol="BTCUSDT").symbol
    assert envelope_symbol == "BTCUSDT"
    payload = {name: value for name, value in PAYLOAD.items() if name != "symbol"}
    body = {
        "event_id": "e",
        "event_type": "position",
        "topic": "position.BTCUSDT",
        "timestamp": AT,
        "received_at": AT,
        "payload": payload,
        "trace_id": None,
    }
    assert decoded(json.dumps(body).encode()).symbol == "BTCUSDT"


def test_a_managers_message_is_signed_and_states_no_entry_price() -> None:
    message = from_manager()
    assert fields(message) == {field: value for field, value in SHORT.items() if field != ENTRY_PRICE}
    assert (message.symbol, message.trace_id, message.received_ns) == ("BTCUSDT", "t-1", None)
    assert set(message.records["event_ns"].tolist()) == {AT_NS}


def test_a_manager_who_holds_nothing_has_no_entry_price() -> None:
    assert fields(from_manager(size="0.0000000004"))[ENTRY_PRICE] == 0
    assert ENTRY_PRICE not in fields(from_manager(size=None))


def test_an_answer_states_what_is_held() -> None:
    message = from_answer(ANSWER)
    assert fields(message) == SHORT
    assert set(message.records["event_ns"].tolist()) == {AT_NS}


def test_no_position_in_an_answer_states_that_nothing_is_held_and_leaves_what_was_realized() -> None:
    assert fields(from_answer(None)) == {POSITION_SIZE: 0, UNREALIZED_PNL: 0, ENTRY_PRICE: 0}


@pytest.mark.parametrize("nothing", [None, ""], ids=repr)
def test_a_null_or_empty_field_has_not_changed(nothing: str | None) -> None:
    assert fields(from_gateway(avg_price=nothing, unrealised_pnl=nothing)) == {
        POSITION_SIZE: -500_000_000,
        REALIZED_PNL: 1_250_000_000,
    }
    assert fields(from_manager(unrealized_pnl=nothing, size=nothing)) == {REALIZED_PNL: 1_250_000_000}
    held = ANSWER | {"average_entry_price": nothing, "realized_pnl": nothing}
    assert fields(from_answer(held)) == {POSITION_SIZE: -500_000_000, UNREALIZED_PNL: -57_030_000_000}


@pytest.mark.parametrize("nothing", [None, ""], ids=repr)
def test_a_position_that_states_nothing_is_rejected(nothing: str | None) -> None:
    with pytest.raises(MalformedMessage, match="at least one of its numbers"):
        from_gateway(size=nothing, avg_price=nothing, unrealised_pnl=nothing, realised_pnl=nothing)


@pytest.mark.parametrize("side", ["", "None", None], ids=repr)
def test_without_a_side_nothing_is_held(side: str | None) -> None:
    assert fields(from_gateway(side=side, size="0.000"))[POSITION_SIZE] == 0
    with pytest.raises(MalformedMessage, match="position side: must be Buy or Sell"):
        from_gateway(side=side, size="0.5")


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


def test_a_new_symbol_is_pinned_by_the_price_that_comes_with_its_position() -> None:
    pins = Pins()
    from_gateway(pins=pins)
    assert pins.known == {"BTCUSDT": pin_scale("BTCUSDT", "65114.2")}
    pins = Pins()
    from_answer(ANSWER, pins)
    assert pins.known == {"BTCUSDT": pin_scale("BTCUSDT", "65000.123456789")}


def test_a_new_symbol_without_a_price_asks_for_a_look_at_the_scale() -> None:
    pins = Pins()
    with pytest.raises(ScaleExceeded, match="must have a pinned scale"):
        from_manager(pins=pins)
    with pytest.raises(ScaleExceeded, match="must have a pinned scale"):
        from_answer(None, pins)
    assert pins.known == {}


def test_a_rejected_position_pins_no_scale() -> None:
    pins = Pins()
    with pytest.raises(RejectedMessage):
        from_gateway(pins=pins, unrealised_pnl="NaN")
    assert pins.known == {}


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
