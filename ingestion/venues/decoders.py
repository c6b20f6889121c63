"""Decoders by venue and date: which decoder reads the messages of a market that were received on a UTC day.

1. Where a venue changes a format, it gets a decoder from the first day that has it; the days before are read as they
   always were.
2. Where a decoder read its days wrongly, its entry gets another decoder under a higher version: the next compaction
   rebuilds the parts of those days, and of no others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.scales import Instruments
from ingestion.decoding.stated import Stated
from ingestion.venues.table import VENUES
from ingestion.venues.venue import MessageDecoder, Venue
from market.clock import DAY_NS, parse_iso_ns
from market.errors import InvalidRequest
from market.markets import DEFAULT_MARKET, Market
from storage.tape import tape_market


def venue_of(market: Market) -> Venue:
    """Raises InvalidRequest where no venue has such a market."""
    venue = VENUES.get(market.venue)
    if venue is None:
        raise InvalidRequest(f"venue: must be {' or '.join(VENUES)}, was {market.venue!r}")
    if market.category not in venue.categories:
        raise InvalidRequest(
            f"category of {venue.name}: must be {' or '.join(venue.categories)}, was {market.category!r}"
        )
    return venue


def tape_venue(raw_folder: Path, symbol: str) -> Venue:
    """The venue that a symbol's tape is of. Raises InvalidRequest where the market that it names is not read."""
    return venue_of(tape_market(raw_folder, symbol) or DEFAULT_MARKET)


class Decoders:
    """Decodes each message of a venue as those of its day are read."""

    def __init__(self, venue: Venue, instruments: Instruments) -> None:
        self.venue = venue
        self._from_ns = [parse_iso_ns(each.from_date) for each in venue.decoders]
        assert self._from_ns[:1] == [0], "the first decoder reads from the beginning"
        assert self._from_ns == sorted(set(self._from_ns)), "decoders are in order of date, one per date"
        self._versions = [each.version for each in venue.decoders]
        self._decoders = [each.make(instruments) for each in venue.decoders]

    def decode(self, body: bytes, recv_ns: int) -> DecodedMessage | None:
        """The records of a message received at ``recv_ns``, None where it carries no market data.

        Raises MalformedMessage, UnknownTopic, ScaleExceeded: each asks for something else, as its class says.
        """
        return self.of(recv_ns).decode(body)

    def of(self, recv_ns: int) -> MessageDecoder:
        """The decoder of what was received then."""
        # The last one reads nearly everything.
        at = -1 if recv_ns >= self._from_ns[-1] else bisect_right(self._from_ns, recv_ns) - 1
        return self._decoders[at]

    def of_all(self, recv_ns: Sequence[int]) -> MessageDecoder | None:
        """The decoder of what was received at all of these times; None where it is not one."""
        first, last = self.of(min(recv_ns)), self.of(max(recv_ns))
        return first if first is last else None

    def each(self) -> tuple[MessageDecoder, ...]:
        """The decoder of each period, in order of date."""
        return tuple(self._decoders)

    @property
    def compiled(self) -> int:
        """How many messages compiled code read; all others are ``typed``."""
        return sum(each.compiled for each in self._decoders)

    @property
    def typed(self) -> int:
        """How many messages a typed decoder read, or rejected."""
        return sum(each.typed for each in self._decoders)

    def stated(self, body: bytes) -> Stated | None:
        """What a message says of itself although it may be unusable; None where it says nothing."""
        return self.venue.stated(body)

    def may_replace_book(self, body: bytes) -> bool:
        """Whether a message is worth decoding to see if it replaces the order book."""
        return self.venue.may_replace_book(body)

    def segment_version(self, day: int) -> int:
        """The version of what reads a tape's segment of a UTC day: it may hold messages of the day before too."""
        dated = [bisect_right(self._from_ns, at_ns) - 1 for at_ns in ((day - 1) * DAY_NS, day * DAY_NS)]
        return max(self._versions[max(at, 0)] for at in dated)
