"""Funding of the gateway's own channel and own orders, which no feature reads, and candles of other intervals."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Annotated, Final, Literal

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.elements import Element, Scale
from ingestion.decoding.positions import rounded
from ingestion.decoding.wire import Number, read_json
from ingestion.venues.bybit.elements import Source, open_klines
from ingestion.venues.bybit.tickers import open_ticker
from ingestion.venues.bybit.wire import Named
from market.errors import MalformedMessage
from market.events import (
    CANDLE,
    EXECUTION,
    FILLED_PRICE,
    FILLED_QUANTITY,
    FUNDING,
    FUNDING_RATE,
    NEXT_FUNDING,
    ORDER_FEE,
    ORDER_PRICE,
    ORDER_QUANTITY,
    ORDER_STATUSES,
    Events,
    empty_events,
)

INTERVAL_MINUTES: Final = {
    **{str(minutes): minutes for minutes in (3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": 1440,
    "W": 10_080,
    "M": 43_200,
}
"""Of a kline's topic; a month counts as thirty days."""

OrderId = Annotated[str, Meta(min_length=1, max_length=100)]
_STATUSES: Final = {
    "new": "new",
    "created": "new",
    "untriggered": "new",
    "partiallyfilled": "partly_filled",
    "filled": "filled",
    "executed": "filled",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "partiallyfilledcanceled": "cancelled",
    "deactivated": "cancelled",
    "rejected": "rejected",
}
"""Ours by the words of the exchange and of the order manager, in small letters without separators."""


class GatewayOrder(Named, kw_only=True, frozen=True, gc=False, rename="camel"):
    """An order as the exchange states it and the gateway passes it on; ``symbol`` and ``s`` are ``Named``'s."""

    order_id: OrderId
    side: Literal["Buy", "Sell"]
    order_status: Annotated[str, Meta(max_length=40)]
    price: Number | None = None
    qty: Number | None = None
    avg_price: Number | None = None
    cum_exec_qty: Number | None = None
    cum_exec_fee: Number | None = None


class ManagerOrder(Struct, kw_only=True, frozen=True, gc=False):
    """An order as the order manager announces it: flat, without an envelope."""

    order_id: OrderId
    asset: str
    side: Annotated[str, Meta(max_length=10)]
    status: Annotated[str, Meta(max_length=40)]
    price: Number | None = None
    quantity: Number | None = None
    average_price: Number | None = None
    filled_quantity: Number | None = None
    fees: Number | None = None
    trace_id: str | None = None
    event_id: str | None = None
    timestamp: Annotated[str, Meta(max_length=40)]


_GATEWAY_ORDER: Final = JsonDecoder(GatewayOrder)
_MANAGER_ORDER: Final = JsonDecoder(ManagerOrder)


def open_funding(source: Source) -> Element:
    """Funding as a message of its own, with a ticker's words. Raises MalformedMessage."""
    element = open_ticker(source)

    def to_records(scale: Scale) -> Events:
        stated = element.to_records(scale)
        records: Events = stated[(stated["field"] == FUNDING_RATE) | (stated["field"] == NEXT_FUNDING)]
        if len(records) == 0:
            raise MalformedMessage(f"{source.topic}: must state fundingRate or nextFundingTime, was neither")
        records["kind"] = FUNDING
        return records

    return replace(element, to_records=to_records)


def open_candles(source: Source) -> Element:
    """Candles of an interval other than a minute; ``qty`` of their records is its minutes. Raises MalformedMessage."""
    element = open_klines(source)
    minutes = INTERVAL_MINUTES[source.topic.split(".")[1]]

    def to_records(scale: Scale) -> Events:
        records = element.to_records(scale)
        records["kind"] = CANDLE
        records["qty"] = minutes
        return records

    return replace(element, to_records=to_records)


def read_gateway_order(payload: Raw, topic: str) -> GatewayOrder:
    """The payload of a gateway envelope. Raises MalformedMessage."""
    return read_json(_GATEWAY_ORDER, payload, topic)


def read_manager_order(body: bytes) -> ManagerOrder:
    """A message of the order manager. Raises MalformedMessage."""
    return read_json(_MANAGER_ORDER, body, "order event")


def gateway_order_records(order: GatewayOrder, event_ns: int) -> Events:
    """Raises MalformedMessage, ScaleExceeded."""
    stated = {
        ORDER_PRICE: order.price,
        ORDER_QUANTITY: order.qty,
        FILLED_PRICE: order.avg_price,
        FILLED_QUANTITY: order.cum_exec_qty,
        ORDER_FEE: order.cum_exec_fee,
    }
    return _order_records(order.order_id, order.side, order.order_status, event_ns, stated)


def manager_order_records(order: ManagerOrder, event_ns: int) -> Events:
    """Raises MalformedMessage, ScaleExceeded."""
    stated = {
        ORDER_PRICE: order.price,
        ORDER_QUANTITY: order.quantity,
        FILLED_PRICE: order.average_price,
        FILLED_QUANTITY: order.filled_quantity,
        ORDER_FEE: order.fees,
    }
    return _order_records(order.order_id, order.side, order.status, event_ns, stated)


def order_digest(order_id: str) -> int:
    """The id of an order in a record: 63 bits of BLAKE2b over its text."""
    return int.from_bytes(blake2b(order_id.encode(), digest_size=8).digest(), "little") >> 1


def _order_records(order_id: str, side: str, status: str, event_ns: int, stated: dict[int, str | None]) -> Events:
    """One record a number; quantities of a sale are negative."""
    word = _STATUSES.get(status.replace("_", "").replace(" ", "").lower(), "other")
    if side.lower() not in ("buy", "sell"):
        raise MalformedMessage(f"order side: must be Buy or Sell, was {side!r}")
    values = {of: rounded(text) for of, text in stated.items() if text}
    if not values:
        raise MalformedMessage("order: must state at least one of its numbers, was none")
    if side.lower() == "sell":
        values |= {of: -values[of] for of in (ORDER_QUANTITY, FILLED_QUANTITY) if of in values}
    records = empty_events(len(values))
    records["event_ns"] = event_ns
    records["kind"] = EXECUTION
    records["field"] = list(values)
    records["px"] = list(values.values())
    records["qty"] = ORDER_STATUSES.index(word)
    records["update_id"] = order_digest(order_id)
    return records
