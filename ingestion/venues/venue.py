"""A venue: what the service must know of an exchange to read its messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingestion.decoding.batch import Batch
from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.scales import Instruments
from ingestion.decoding.stated import Stated


class MessageDecoder(Protocol):
    """Reads messages; raises RejectedMessage, and returns None for one without market data.

    compiled, typed: how many were read by compiled code, and how many otherwise.
    """

    compiled: int
    typed: int

    def decode(self, body: bytes) -> DecodedMessage | None: ...

    def read_batch(self, bodies: Sequence[bytes]) -> Batch | None:
        """What compiled code reads of many messages in one call, None where there is none; counts nothing."""
        ...


@dataclass(frozen=True, slots=True)
class DatedDecoder:
    """A decoder from a UTC date on. version: higher than that of everything made before it."""

    from_date: str
    version: int
    make: Callable[[Instruments], MessageDecoder]


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """An exchange.

    categories: its markets, in each of which a symbol means one instrument. decoders: by date, the first from the
    beginning of time; each translates the venue's book sequence into that of ``market.book_sequence``. stated: what a
    message says of itself although it may be unusable. may_replace_book: whether one is worth decoding to see whether
    it replaces the order book; a cheap look that may say yes too often, and never no to one that does.
    """

    name: str
    categories: tuple[str, ...]
    decoders: tuple[DatedDecoder, ...]
    stated: Callable[[bytes], Stated | None]
    may_replace_book: Callable[[bytes], bool] = lambda _body: True
