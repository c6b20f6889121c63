"""A lane's memory: what it knows of the messages on its tape beside the engine's state, as a checkpoint keeps it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from ingestion.decoding.decoded import DecodedMessage
from ingestion.pipeline.book_stream import BookStream, StreamState
from ingestion.pipeline.redelivery import SeenEntries, SeenMessages
from market.events import CONTROL, GAP, ORDERBOOK

FORM: Final = 1
"""Another one once any part of a memory means something else: a memory of another form is skipped."""

_log = logging.getLogger(__name__)


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    form: int
    seen: SeenEntries
    book: StreamState
    last_stamp_ns: dict[int, int]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Kept)


class LaneMemory:
    """The identities of messages, the stream of the order book, and the last stamp of each kind, ns."""

    def __init__(self) -> None:
        self.seen = SeenMessages()
        self.book = BookStream()
        self.last_stamp_ns: dict[int, int] = {}

    def stamp_ns(self, kinds: Iterable[int], recv_ns: int, closed_ns: int | None) -> int:
        """``recv_ns``, not before what is closed nor before the last message of any of the kinds."""
        stamp_ns = recv_ns if closed_ns is None or closed_ns < recv_ns else closed_ns
        for kind in kinds:
            last_ns = self.last_stamp_ns.get(kind, stamp_ns)
            stamp_ns = max(stamp_ns, last_ns)
        return stamp_ns

    def note(self, message: DecodedMessage, seq: int, recv_ns: int) -> None:
        """The message is on the tape."""
        kind = message.kind
        self.seen.remember(message, seq, recv_ns)
        self.last_stamp_ns[kind] = max(recv_ns, self.last_stamp_ns.get(kind, recv_ns))
        if kind == ORDERBOOK:
            self.book.note(message, recv_ns)
        elif kind == CONTROL and message.records["field"][0] == GAP:
            is_a_message = message.records["px"][0] == ORDERBOOK  # else the engine has given it up
            self.book.lose(is_a_message=is_a_message)

    def packed(self) -> bytes:
        """What ``unpacked`` makes the same memory of."""
        return _ENCODER.encode(_Kept(FORM, self.seen.entries(), self.book.state(), self.last_stamp_ns))


def unpacked(packed: bytes) -> LaneMemory | None:
    """The memory that was packed; None for one of another form, or of none."""
    memory = LaneMemory()
    try:
        kept = _DECODER.decode(packed)
        memory.seen.restore(kept.seen)
    except (msgspec.DecodeError, ValueError) as error:
        _log.warning("memory of a checkpoint: must be of form %d, was not: %s", FORM, error)
        return None
    memory.book.restore(kept.book)
    memory.last_stamp_ns = dict(kept.last_stamp_ns)
    return memory if kept.form == FORM else None
