"""Streams: live records and each kind of backfilled ones, which stand apart by seq, read side by side in time.

1. A live message has a positive seq. A backfilled one has a negative seq, made of its data type, day and place: so it
   never takes one that the tape will give, and the same day fetched again has the same.
2. Within a slot of the tape order backfilled records come before live ones, by data type, whatever is read at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from market.errors import InvalidRequest
from market.events import Events
from transforms.state import ORDER_NS
from transforms.tape_order import earliest_ns

BACKFILL_STREAMS: Final = ("orderbook", "trades", "klines", "ticker", "funding")
"""Data types in the order in which their records of one slot stand."""
_LEAST: Final = -(1 << 62)
_STREAM_BITS: Final = 56
_DAY_BITS: Final = 40
LIVE_STREAM: Final = len(BACKFILL_STREAMS)

Piece = tuple[Events, int]
"""Events, and what no later event precedes."""


def backfill_seq(data_type: str, day: int) -> int:
    """The seq of the first message of a data type's UTC day, counted from 1970; those after it follow by one.

    Raises InvalidRequest for an unknown data type.
    """
    if data_type not in BACKFILL_STREAMS:
        raise InvalidRequest(f"data type: must be one of {', '.join(BACKFILL_STREAMS)}, was {data_type!r}")
    return _LEAST + (BACKFILL_STREAMS.index(data_type) << _STREAM_BITS) + (day << _DAY_BITS)


def stream_of(seq: int) -> int:
    """Index into BACKFILL_STREAMS of a message, LIVE_STREAM for one that the tape gave."""
    return LIVE_STREAM if seq >= 0 else (seq - _LEAST) >> _STREAM_BITS


class _Head:
    """The piece of a stream that is next, and the least time of all that are left."""

    def __init__(self, pieces: Iterator[Piece], to_ns: int) -> None:
        self._pieces = pieces
        self._to_ns = to_ns
        self.piece: Events | None = None
        self.least_ns = to_ns
        self._advance()

    def take(self) -> Events:
        taken = self.piece
        assert taken is not None, "asked of heads that have a piece"
        self._advance()
        return taken

    def _advance(self) -> None:
        self.piece, following_ns = next(self._pieces, (None, self._to_ns))
        self.least_ns = following_ns if self.piece is None else min(following_ns, earliest_ns(self.piece))


def in_time(streams: Iterable[Iterator[Piece]], to_ns: int) -> Iterator[Piece]:
    """The pieces of several streams, that of the least time next, each behind all that goes before it in its slots.

    streams: in the order in which records of one slot stand. Memory holds a piece of each.
    """
    heads = [_Head(stream, to_ns) for stream in streams]

    def taken(at: int) -> Iterator[Events]:
        piece = heads[at].piece
        assert piece is not None, "asked of heads that have a piece"
        slot_end_ns = (int(piece["recv_ns"].max()) // ORDER_NS + 1) * ORDER_NS
        for before in range(at):
            while heads[before].piece is not None and heads[before].least_ns < slot_end_ns:
                yield from taken(before)
        yield heads[at].take()

    while waiting := [at for at, head in enumerate(heads) if head.piece is not None]:
        for piece in taken(min(waiting, key=lambda at: heads[at].least_ns)):
            yield piece, min(head.least_ns for head in heads)
