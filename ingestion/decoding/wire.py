"""The JSON that is the same at every venue: bounded numbers and texts, the service's own messages, positions.

Numbers are texts, so that they stay exact.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar

from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType
from msgspec.json import Decoder as JsonDecoder

from market.errors import MalformedMessage

T = TypeVar("T")

# What msgspec raises on bytes that are not the JSON asked for: its own error, invalid UTF-8, too deep a nesting.
UNDECODABLE: Final = (DecodeError, UnicodeDecodeError, RecursionError)

LAST_MILLISECOND: Final = 9_223_372_036_854
"""Later times do not fit int64 nanoseconds."""
Milliseconds = Annotated[int, Meta(ge=1, le=LAST_MILLISECOND)]
Nanoseconds = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
UpdateId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# The lengths bound what an error message can repeat and what an integer conversion can cost.
Topic = Annotated[str, Meta(max_length=100)]
Number = Annotated[str, Meta(max_length=64)]
Level = tuple[Number, Number]


class ControlMessage(Struct, kw_only=True, frozen=True, gc=False):
    """What the service itself writes on a tape of messages that it missed; ``kind`` absent means every kind."""

    topic: Topic
    ts: Milliseconds
    reason: str
    kind: Literal["orderbook", "trade", "kline", "ticker", "position"] | UnsetType = UNSET


class HistoryMessage(Struct, kw_only=True, frozen=True, gc=False):
    """What the service writes on a tape once it has asked for what came before: all from ``since`` on is known."""

    topic: Topic
    ts: Milliseconds
    reason: str
    kind: Literal["kline"]
    since: Milliseconds


CountedKind = Literal["orderbook", "trade", "kline", "ticker", "position", "execution", "funding", "candle"]


class KindArrivals(Struct, kw_only=True, frozen=True, gc=False):
    """Messages of a kind that came late, by how much at most, and such as came again."""

    kind: CountedKind
    late: Count
    most_late_ns: Count
    repeated: Count


class ArrivalsMessage(Struct, kw_only=True, frozen=True, gc=False):
    """What the service counted of a minute, which begins at ``ts``, and the tape does not show."""

    topic: Topic
    ts: Milliseconds
    kinds: Annotated[list[KindArrivals], Meta(min_length=1)]


class PartMessage(Struct, kw_only=True, frozen=True, gc=False):
    """A message of which the service took only a part; ``left_out`` are the places of elements that it left out."""

    topic: Topic
    left_out: list[Annotated[int, Meta(ge=0)]]
    message: Raw


class RestatedFields(Struct, kw_only=True, frozen=True, gc=False, rename="camel"):
    """The known fields of a merged ticker; an absent one is unknown."""

    funding_rate: Number = ""
    next_funding_time: Number = ""
    open_interest: Number = ""
    mark_price: Number = ""
    index_price: Number = ""


class RestatedTicker(Struct, kw_only=True, frozen=True, gc=False):
    """The merged ticker as the service restates it on a tape."""

    topic: Topic
    ts: Milliseconds
    data: RestatedFields


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


def read_json(decoder: JsonDecoder[T], body: bytes | Raw, thing: str) -> T:
    """The value in ``body``. Raises MalformedMessage, naming ``thing``, when it is not the JSON asked for."""
    try:
        return decoder.decode(body)
    except UNDECODABLE as error:
        raise MalformedMessage(f"{thing}: must be JSON that keeps its schema, was not: {error}") from error
