"""Positions: what the gateway, the position manager and its REST interface state, and what is rejected."""

from __future__ import annotations

import json
from typing import Final

import pytest

from market.clock import MILLISECOND_NS
from market.errors import MalformedMessage, RejectedMessage, ScaleExceeded
from market.events import ENTRY_PRICE, FIRST, LAST, POSITION_SIZE, REALIZED_PNL, UNREALIZED_PNL
from market.instruments import pin_scale
from tests.position_messages import (
    ANSWER,
    AT,
    AT_NS,
    PAYLOAD,
    Pins,
    decoded,
    fields,
    from_answer,
    from_gateway,
    from_manager,
)

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
