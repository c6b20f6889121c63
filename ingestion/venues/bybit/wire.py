"""Bybit's JSON, and the gateway's around it, as msgspec types: what a field must be for its message to be accepted.

Only the fields that are read are declared; any other may come and go. Numbers are texts, so that they stay exact.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from ingestion.decoding.wire import LAST_MILLISECOND, Level, Milliseconds, Number, Topic, UpdateId

BookType = Literal["snapshot", "delta"]


class Head(Struct, kw_only=True, frozen=True, gc=False):
    """The identity of a message."""

    topic: Topic | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET
    op: Raw | UnsetType = UNSET
    success: Raw | UnsetType = UNSET
    position_id: Raw | UnsetType = UNSET
    order_id: Raw | UnsetType = UNSET


class BybitMessage(Struct, kw_only=True, frozen=True, gc=False):
    """A public message as the exchange sends it."""

    ts: Milliseconds
    data: Raw
    cts: Milliseconds | UnsetType = UNSET
    type: BookType | UnsetType = UNSET


class Envelope(Struct, kw_only=True, frozen=True, gc=False):
    """What the gateway makes of one element of an exchange message; naive times mean UTC."""

    event_id: str
    event_type: str
    topic: Topic
    timestamp: datetime
    received_at: datetime
    payload: Raw
    trace_id: str | None


class Named(Struct, kw_only=True, frozen=True, gc=False):
    """An element that may name its symbol."""

    symbol: str | UnsetType = UNSET
    s: str | UnsetType = UNSET


class Book(Named, kw_only=True, frozen=True, gc=False):
    """Levels of an order book; ``type`` is here in an envelope, and next to ``data`` in an exchange message."""

    b: list[Level]
    a: list[Level]
    u: UpdateId
    seq: UpdateId | UnsetType = UNSET
    type: BookType | UnsetType = UNSET


class Trade(Named, kw_only=True, frozen=True, gc=False):
    """One trade; ``S`` is the taker's side, ``i`` its id."""

    T: Milliseconds
    S: Literal["Buy", "Sell"]
    v: Number
    p: Number
    i: Annotated[str, Meta(max_length=100)] | UnsetType = UNSET


class Kline(Named, kw_only=True, frozen=True, gc=False):
    """One candle, open or confirmed."""

    start: Annotated[int, Meta(ge=0, le=LAST_MILLISECOND, multiple_of=60_000)]
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    turnover: Number
    confirm: bool
    timestamp: Milliseconds


class Ticker(Named, kw_only=True, frozen=True, gc=False, rename="camel"):
    """The fields of a ticker that are read; any may be absent, and an empty text means absent too."""

    last_price: Number = ""
    funding_rate: Number = ""
    next_funding_time: Number = ""
    open_interest: Number = ""
    mark_price: Number = ""
    index_price: Number = ""


class GatewayPosition(Named, kw_only=True, frozen=True, gc=False):
    """A position as the gateway passes it on; ``size`` is absolute and ``side`` says which way, "" or null for none."""

    size: Number | None
    side: Literal["Buy", "Sell", "", "None"] | None = None
    avg_price: Number | None = None
    mark_price: Number | None = field(name="markPrice", default=None)
    unrealised_pnl: Number | None = None
    realised_pnl: Number | None = None


class ArchivedLine(Struct, kw_only=True, frozen=True, gc=False):
    """One line of the exchange's order book archive: a message with no clock but its own."""

    ts: Milliseconds
