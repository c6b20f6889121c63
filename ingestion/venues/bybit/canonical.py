"""Bybit's canonical messages, decoded by compiled code, in a third of the time of the typed decoder.

A topic is looked up once; its symbol must have a pinned scale by then. What is declined is for the typed decoder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingestion.decoding.batch import Batch, Topic
from ingestion.decoding.decoded import SYMBOL, DecodedMessage
from ingestion.decoding.scales import Instruments
from ingestion.venues.bybit.canonical_batch import CanonicalBatches
from ingestion.venues.bybit.canonical_records import read_canonical
from ingestion.venues.bybit.canonical_shapes import SLOTS
from ingestion.venues.bybit.sequence import book_place
from ingestion.venues.bybit.topics import depth_of, routed_topic
from market.events import EVENT, KLINE, ORDERBOOK, TICKER, TRADE
from transforms.jit import is_compiled

MOST_RECORDS: Final = 4096
"""Of a message that is read here."""
_KINDS: Final = (ORDERBOOK, TRADE, KLINE, TICKER)
_TOPIC: Final = b'"topic"'
_LATEST_TOPIC: Final = 300
"""Where it must have begun; in an envelope an id and a type come first."""


class _Plan(NamedTuple):
    """What is known of a topic's messages. scale: the exponents of prices, quantities and turnovers."""

    topic: Topic
    scale: npt.NDArray[np.int64]


class _Room(NamedTuple):
    """Memory that one message at a time is read into. bytes: of the words."""

    bytes: memoryview
    words: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]


class CanonicalDecoder:
    """Decodes canonical messages of every symbol; may be used from several threads."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._plans: dict[bytes, _Plan] = {}
        self._rooms: deque[_Room] = deque()
        self._batches = CanonicalBatches()
        self._is_compiled = _is_compiled_now()

    def decode(self, body: bytes) -> DecodedMessage | None:
        """The message, None where it is declined."""
        at = body.find(_TOPIC, 0, _LATEST_TOPIC)
        begin = body.find(b'"', at + len(_TOPIC)) + 1
        end = body.find(b'"', begin)
        if at < 0 or begin == 0 or end < 0 or not self._is_compiled:
            return None
        topic = body[begin:end]
        plan = self._plans.get(topic) or self._plan(topic)
        return None if plan is None else self._read(body, plan, begin, end)

    def read_batch(self, bodies: Sequence[bytes]) -> Batch | None:
        """Messages of topics that single ones were decoded of before; of one thread. None where nothing is compiled."""
        return self._batches.read(bodies, self._plans) if self._is_compiled else None

    def _plan(self, topic: bytes) -> _Plan | None:
        """What is known of a topic; None while a message of it is not for us."""
        if not topic.isascii() or len(topic) > 100:
            return None
        text = topic.decode()
        routed = routed_topic(text)
        if routed is None or routed[0] not in _KINDS or SYMBOL.fullmatch(routed[1]) is None:
            return None
        kind, symbol = routed
        instrument = self._instruments.get(symbol)
        if instrument is None:
            return None
        exponents = instrument.price_exponent, instrument.quantity_exponent, instrument.turnover_exponent
        scale = np.array(exponents, np.int64)
        depth = depth_of(text) if kind == ORDERBOOK else 0
        plan = self._plans[topic] = _Plan(Topic(text, symbol, kind, depth), scale)
        return plan

    def _read(self, body: bytes, plan: _Plan, begin: int, end: int) -> DecodedMessage | None:
        topic, scale = plan
        room = self._rooms.pop() if self._rooms else _room()
        try:
            found = read_canonical(
                body, topic.kind, begin, end, end - len(topic.symbol), room.words, room.slots, scale, room.ids
            )
            count, u, seq, is_snapshot, received_ns, id_at, id_end, trace_at, trace_end = found
            if count == 0:
                return None
            # Copied as bytes: field by field, as numpy does it, takes four times as long.
            records = np.frombuffer(bytearray(room.bytes[: count * EVENT.itemsize]), EVENT)
            trade_ids: tuple[str | None, ...] = ()
            if topic.kind == TRADE:
                trade_ids = tuple([None if at < 0 else body[at:to].decode() for at, to in room.ids[:count].tolist()])
        finally:
            self._rooms.append(room)
        book = None
        if topic.kind == ORDERBOOK:
            book_type = "snapshot" if is_snapshot else "delta"
            book = book_place(book_type, u, seq=None if seq < 0 else seq, depth=topic.depth)
        is_envelope = received_ns > 0
        return DecodedMessage(
            topic.symbol,
            topic.kind,
            topic.text,
            received_ns if is_envelope else None,
            body[trace_at:trace_end].decode() if is_envelope and trace_at >= 0 else None,
            records,
            body[id_at:id_end].decode() if is_envelope else None,
            trade_ids,
            book,
        )


@cache
def _is_compiled_now() -> bool:
    """Compile what reads messages, or load what was compiled, before the first of them; False without the JIT.

    Without it a message would take a hundred times as long as in the typed decoder.
    """
    if not is_compiled(read_canonical):
        return False
    room = _room()
    read_canonical(b"", ORDERBOOK, 0, 0, 0, room.words, room.slots, np.zeros(3, np.int64), room.ids)
    return True


def _room() -> _Room:
    words = np.zeros((MOST_RECORDS, EVENT.itemsize // 8), np.int64)
    return _Room(
        words.data.cast("B"),
        words,
        np.zeros((SLOTS + 1, 3), np.int64),
        np.zeros((MOST_RECORDS, 2), np.int64),
    )
