"""A venue that there is not: two channels, and an order book sequence that is not Bybit's.

1. ``depth``: a message brings the updates ``from`` to ``to``, numbered from 0; the next one begins one above. One with
   ``reset`` replaces the book, wherever it stands. There is no number that rises over resets, and one depth.
2. ``deals``: one message, one deal.

It stands in one file as a new venue would stand in its room, knows nothing of any other and is read by nothing but
tests: ``tests/integration/test_adding_a_venue.py`` puts it into a copy of the tree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.books import book_records
from ingestion.decoding.decoded import DecodedMessage, checked_symbol
from ingestion.decoding.elements import Element, Scale
from ingestion.decoding.own import OWN, OwnMessages, own_stated
from ingestion.decoding.scales import Instruments, Scales
from ingestion.decoding.stated import Stated
from ingestion.decoding.wire import UNDECODABLE, Level, Number, Topic, read_json
from ingestion.venues.venue import DatedDecoder, Venue
from market.book_sequence import BookPlace
from market.errors import MalformedMessage, UnknownTopic
from market.events import BUY, ORDERBOOK, SELL, TRADE, Events, empty_events, mark_message

FIRST_ID: Final = 2
"""Of the records' numbering, in which 1 begins anew; the venue's begins with 0."""
DEPTH: Final = 1000
CHANNELS: Final = {"depth": ORDERBOOK, "deals": TRADE}

UpdateNumber = Annotated[int, Meta(ge=0, le=2**62)]
Microseconds = Annotated[int, Meta(ge=1, le=2**53)]


class Head(Struct, kw_only=True, frozen=True, gc=False):
    """What tells one message from another; the service's own have a topic."""

    topic: Topic = ""
    channel: str = ""
    instrument: str = ""


class Depth(Struct, kw_only=True, frozen=True, gc=False):
    """Levels of an order book."""

    time_us: Microseconds
    bids: list[Level]
    asks: list[Level]
    first: UpdateNumber = field(name="from")
    last: UpdateNumber = field(name="to")
    reset: bool = False


class Deal(Struct, kw_only=True, frozen=True, gc=False):
    """One trade."""

    time_us: Microseconds
    id: Annotated[str, Meta(max_length=100)]
    price: Number
    size: Number
    taker: Literal["buys", "sells"]


_HEAD: Final = JsonDecoder(Head)
_DEPTH: Final = JsonDecoder(Depth)
_DEAL: Final = JsonDecoder(Deal)
_BEGIN: Final = re.compile(rb'"channel": ?"(\w+)", ?"instrument": ?"([^"]{1,40})"')


class ToyDecoder:
    """Decodes messages of every symbol."""

    def __init__(self, instruments: Instruments) -> None:
        self.compiled = self.typed = 0
        self._scales = Scales(instruments)
        self._own = OwnMessages(self._scales, self.decode)

    def read_batch(self, bodies: Sequence[bytes]) -> None:
        """Nothing is compiled."""

    def decode(self, body: bytes) -> DecodedMessage | None:
        """The records of a message. Raises MalformedMessage, UnknownTopic, ScaleExceeded."""
        self.typed += 1
        head = read_json(_HEAD, body, "message")
        if head.topic.startswith(OWN):
            return self._own.decode(body, head.topic)
        kind = CHANNELS.get(head.channel)
        if kind is None:
            raise UnknownTopic(f"channel: must be {' or '.join(CHANNELS)}, was {head.channel!r}")
        element = _open_depth(body) if kind == ORDERBOOK else _open_deal(body)
        symbol = checked_symbol(head.instrument)
        records = mark_message(self._scales.to_records(symbol, element))
        return DecodedMessage(
            symbol, kind, head.channel, None, None, records, trade_ids=element.trade_ids, book=element.book
        )


def _open_depth(body: bytes) -> Element:
    depth = read_json(_DEPTH, body, "depth")
    if depth.last < depth.first:
        raise MalformedMessage(f"depth: must not end before it begins, was {depth.first} to {depth.last}")
    last_id = depth.last + FIRST_ID
    place = BookPlace(last_id if depth.reset else depth.first + FIRST_ID, last_id, DEPTH, depth.reset)
    levels = depth.bids or depth.asks
    return Element(
        None,
        levels[0][0] if levels else None,
        partial(book_records, depth.bids, depth.asks, place, event_ns=depth.time_us * 1000, is_snapshot=depth.reset),
        book=place,
        has_numbers=len(levels) > 0,
    )


def _open_deal(body: bytes) -> Element:
    deal = read_json(_DEAL, body, "deal")
    return Element(None, deal.price, partial(_deal_records, deal), (deal.id,))


def _deal_records(deal: Deal, scale: Scale) -> Events:
    records = empty_events(1)
    records["event_ns"] = deal.time_us * 1000
    records["px"] = scale.price(deal.price)
    records["qty"] = scale.quantity(deal.size)
    records["kind"] = TRADE
    records["field"] = BUY if deal.taker == "buys" else SELL
    return records


def stated(body: bytes) -> Stated | None:
    """What a message says of itself although it may be unusable."""
    try:
        head = _HEAD.decode(body)
    except UNDECODABLE:
        # Where it is cut off, what it begins with may still be there.
        found = _BEGIN.search(body)
        if found is None:
            return None
        head = Head(channel=found[1].decode(), instrument=found[2].decode(errors="replace"))
    if head.topic.startswith(OWN):
        return own_stated(head.topic)
    return Stated(head.instrument, head.channel, CHANNELS.get(head.channel)) if head.instrument else None


TOY: Final = Venue(
    name="toy",
    categories=("spot", "futures"),
    decoders=(DatedDecoder("1970-01-01", 1, ToyDecoder),),
    stated=stated,
)
