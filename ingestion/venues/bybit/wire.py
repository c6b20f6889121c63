"""The JSON that arrives, as msgspec types: what a field must be for its message to be accepted.

Only the fields that are read are declared; any other may come and go. Numbers are texts, so that they stay exact.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar

from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType, field
from msgspec.json import Decoder as JsonDecoder

from market.errors import MalformedMessage

T = TypeVar("T")

# What msgspec raises on bytes that are not the JSON asked for: its own error, invalid UTF-8, too deep a nesting.
UNDECODABLE: Final = (DecodeError, UnicodeDecodeError, RecursionError)

LAST_MILLISECOND: Final = 9_223_372_036_854
"""Later times do not fit int64 nanoseconds."""
Milliseconds = Annotated[int, Meta(ge=1, le=LAST_MILLISECOND)]
Nanoseconds = Annotated[int, Meta(ge=1, le=2**63 - 1)]
UpdateId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# The lengths bound what an error message can repeat and what an integer conversion can cost.
Topic = Annotated[str, Meta(max_length=100)]
Number = Annotated[str, Meta(max_length=64)]
Level = tuple[Number, Number]
BookType = Literal["snapshot", "delta"]


class Head(Struct, kw_only=True, frozen=True, gc=False):
    """What tells one message from another."""

    topic: Topic | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET
    op: Raw | UnsetType = UNSET
    success: Raw | UnsetType = UNSET
    position_id: Raw | UnsetType = UNSET


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


class ControlMessage(Struct, kw_only=True, frozen=True, gc=False):
    """What the service itself writes on a tape of messages that it missed; ``kind`` absent means every kind."""

    topic: Topic
    ts: Milliseconds
    reason: str
    kind: Literal["orderbook", "trade", "kline", "ticker", "position"] | UnsetType = UNSET


class PartMessage(Struct, kw_only=True, frozen=True, gc=False):
    """A message of which the service took only a part; ``left_out`` are the places of elements that it left out."""

    topic: Topic
    left_out: list[Annotated[int, Meta(ge=0)]]
    message: Raw


class RestatedTicker(Struct, kw_only=True, frozen=True, gc=False):
    """The merged ticker as the service restates it on a tape, in the exchange's own words."""

    topic: Topic
    ts: Milliseconds
    data: Raw


class Named(Struct, kw_only=True, frozen=True, gc=False):
    """An element that may name its symbol."""

    symbol: str | UnsetType = UNSET
    s: str | UnsetType = UNSET


class Book(Named, kw_only=True, frozen=True, gc=False):
    """Levels of an order book; ``type`` stands here in an envelope and beside ``data`` in an exchange message."""

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
    """One candle of a minute, open or confirmed."""

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


class PositionUpdate(Struct, kw_only=True, frozen=True, gc=False):
    """A position as the position manager announces it: ``size`` is signed, and there is no entry price."""

    event_type: Literal["position_updated"]
    asset: str
    size: Number | None
    timestamp: datetime
    unrealized_pnl: Number | None = None
    realized_pnl: Number | None = None
    trace_id: str | None = None


class HeldPosition(Struct, kw_only=True, frozen=True, gc=False):
    """A position in an answer of the position manager's REST interface."""

    size: Number | None
    average_entry_price: Number | None = None
    unrealized_pnl: Number | None = None
    realized_pnl: Number | None = None


class PositionAnswer(Struct, kw_only=True, frozen=True, gc=False):
    """An answer of the position manager as the service writes it on a tape; null is its 404, no position."""

    topic: Topic
    ts: Milliseconds
    position: HeldPosition | None


class RecordedLine(Struct, kw_only=True, frozen=True, gc=False):
    """One line of a recording; holds either ``msg`` or ``envelope``."""

    recv_ns: Nanoseconds
    msg: Raw | UnsetType = UNSET
    envelope: Raw | UnsetType = UNSET


class ArchivedLine(Struct, kw_only=True, frozen=True, gc=False):
    """One line of the exchange's order book archive: a message with no clock but its own."""

    ts: Milliseconds


def read_json(decoder: JsonDecoder[T], body: bytes | Raw, thing: str) -> T:
    """The value in ``body``. Raises MalformedMessage, naming ``thing``, when it is not the JSON asked for."""
    try:
        return decoder.decode(body)
    except UNDECODABLE as error:
        raise MalformedMessage(f"{thing}: must be JSON that keeps its schema, was not: {error}") from error
