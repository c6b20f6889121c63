"""The splice: which messages of overlapping connections to one exchange stream make it whole, none of them twice.

A connection is renewed by opening its successor first; for a while both bring the same messages, one a little ahead.

1. Order books are distinguished by their ``u``, which is the stream's and not the connection's. A ``u`` that was
   passed on already is left out. So is a snapshot of the successor that is not ahead: it would set the book back.
2. Trades are all passed on: the worker recognises one it has by its ``i``.
3. Tickers and candles have no number. Each such topic belongs to one connection at a time, and passes to another with
   the first message of that one that is newer (``ts``) than what was passed on; an older one would turn a value back.
4. What a connection brings alone is all passed on, whatever its numbers: a gap, a restart, a snapshot that
   was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.wire import UNDECODABLE
from ingestion.venues.bybit.sequence import is_restart
from ingestion.venues.bybit.topics import BOOK, TRADES


class Head(Struct, kw_only=True, frozen=True, gc=False):
    """What the source must know of a message: data has a ``topic``, an answer has ``success``."""

    topic: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    ts: int = 0
    data: Raw | UnsetType = UNSET
    success: bool | UnsetType = UNSET
    ret_msg: str = ""
    req_id: str = ""


class _BookHead(Struct, kw_only=True, frozen=True, gc=False):
    u: int


_HEAD = JsonDecoder(Head)
_BOOK_HEAD = JsonDecoder(_BookHead)


def read_head(body: bytes) -> Head | None:
    """The head of a message; None when it is not what the exchange sends."""
    try:
        return _HEAD.decode(body)
    except UNDECODABLE:
        return None


@dataclass(slots=True)
class _Topic:
    """owner: the connection whose messages are passed on. last: the ``u``, or the ``ts``, passed on last."""

    owner: int
    last: int


class Splice:
    """What was passed on of each topic, and by which connection, numbered upwards."""

    def __init__(self) -> None:
        self.repeated = 0
        """Messages left out because another connection had brought them."""
        self._topics: dict[str, _Topic] = {}

    def passes(self, connection: int, head: Head, *, is_alone: bool) -> bool:
        """Whether to pass a message on; from then on it counts as passed on.

        is_alone: whether no other connection brings this topic at the moment; or it is a snapshot that was asked for,
            which is worth more than the place where the book stands.
        """
        assert head.topic is not UNSET
        kind = head.topic.partition(".")[0]
        if kind == TRADES:
            return True
        number = _update_id(head) if kind == BOOK else head.ts
        if number is None:
            return True  # broken: the decoder says how
        known = self._topics.get(head.topic)
        if known is not None and not is_alone and not _is_next(known, connection, head, number, is_book=kind == BOOK):
            self.repeated += 1
            return False
        if known is None:
            self._topics[head.topic] = _Topic(connection, number)
        else:
            known.owner, known.last = connection, number
        return True


def _is_next(known: _Topic, connection: int, head: Head, number: int, *, is_book: bool) -> bool:
    if not is_book:
        return connection == known.owner or (connection > known.owner and number > known.last)
    if is_restart(number):
        return not is_restart(known.last)
    if head.type == "snapshot":
        # The owner's own snapshot was asked for, and may stand where the book stood.
        return number > known.last or (connection == known.owner and number == known.last)
    # A delta further ahead is a gap where its own connection is the owner; from the other one it is not yet its turn.
    return number == known.last + 1 or (connection == known.owner and number > known.last)


def _update_id(head: Head) -> int | None:
    if head.data is UNSET:
        return None
    try:
        return _BOOK_HEAD.decode(head.data).u
    except UNDECODABLE:
        return None
