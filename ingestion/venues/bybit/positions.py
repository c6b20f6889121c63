"""Positions as the gateway passes them on, as event records."""

from __future__ import annotations

from typing import Final

from msgspec import Raw
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.positions import position_records, rounded
from ingestion.decoding.wire import read_json
from ingestion.venues.bybit.wire import GatewayPosition
from market.errors import MalformedMessage
from market.events import ENTRY_PRICE, POSITION_SIZE, REALIZED_PNL, UNREALIZED_PNL, Events

_GATEWAY: Final = JsonDecoder(GatewayPosition)


def read_gateway_position(payload: Raw, topic: str) -> GatewayPosition:
    """The payload of a gateway envelope. Raises MalformedMessage."""
    return read_json(_GATEWAY, payload, topic)


def gateway_position_records(position: GatewayPosition, event_ns: int) -> Events:
    """Records of a gateway position; its absolute size gets the sign of its side.

    Raises MalformedMessage when something is held and no side says which way.
    """
    size = position.size
    if size and position.side == "Sell" and not size.startswith("-"):
        size = f"-{size}"
    if size and position.side not in ("Buy", "Sell") and rounded(size) != 0:
        raise MalformedMessage(f"position side: must be Buy or Sell where something is held, was {position.side!r}")
    return position_records(
        event_ns,
        {
            POSITION_SIZE: size,
            UNREALIZED_PNL: position.unrealised_pnl,
            REALIZED_PNL: position.realised_pnl,
            ENTRY_PRICE: position.avg_price,
        },
    )
