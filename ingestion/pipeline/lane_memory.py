"""A lane's memory: what it knows of the messages on its tape beside the engine's state, as a checkpoint keeps it."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from ingestion.pipeline.book_stream import BookStream, StreamState
from ingestion.pipeline.redelivery import SeenEntries, SeenMessages

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
