"""A position as the gateway, the position manager and its REST interface state it, changed and decoded."""

from __future__ import annotations

import json
from typing import Any, Final

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.own import position_answer
from ingestion.venues.bybit.decode import Decoder
from market.clock import MILLISECOND_NS
from market.events import POSITION
from market.instruments import Instrument, pin_scale

Json = dict[str, Any]
AT: Final = "2026-08-09T21:26:58.130000"
AT_NS: Final = 1_786_310_818_130 * MILLISECOND_NS

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
