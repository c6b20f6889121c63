"""Canonical messages of many topics, read in one call of compiled code without the GIL.

1. The bytes of all messages are one text. Each topic is looked up by a hash of its bytes, and compared.
2. A message is read as ``read_canonical`` reads one. One that is declined costs itself alone: it is for whoever reads
   single messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ingestion.decoding import plain_json
from ingestion.decoding.batch import (
    COLUMNS,
    COUNT,
    EVENT_ID,
    EVENT_ID_END,
    EVENT_NS,
    FIRST,
    REPLACES,
    SEQ,
    TOPIC,
    TRACE_ID,
    TRACE_ID_END,
    UPDATE_ID,
    Batch,
    Topic,
)
from ingestion.decoding.plain_json import iso_ns, packed, word
from ingestion.venues.bybit import canonical_elements, canonical_records, canonical_shapes
from ingestion.venues.bybit.canonical_records import is_snapshot_type, read_one
from ingestion.venues.bybit.canonical_shapes import COUNT as COUNT_SLOT
from ingestion.venues.bybit.canonical_shapes import EVENT_ID as EVENT_ID_SLOT
from ingestion.venues.bybit.canonical_shapes import EVENT_NS as EVENT_NS_WORD
from ingestion.venues.bybit.canonical_shapes import PAYLOAD, RECEIVED_AT, SLOTS, U
from ingestion.venues.bybit.canonical_shapes import SEQ as SEQ_SLOT
from ingestion.venues.bybit.canonical_shapes import TRACE_ID as TRACE_ID_SLOT
from market.book_sequence import RESTART_ID
from market.events import EVENT, ORDERBOOK
from transforms.jit import jit_inside, jit_over

_FEWEST_RECORDS: Final = 4096
_SHORTEST_LEVEL: Final = len('["1","1"],')
_LATEST_TOPIC: Final = 300
_TOPIC_KEY: Final = word('"topic"')
_KEY_BYTES: Final = 7
_KIND, _SYMBOL_LENGTH, _BEGIN, _END, _SCALE = range(5)
_TOPIC_WORDS: Final = _SCALE + 3
_HASH_BITS: Final = (1 << 31) - 1


class CanonicalBatches:
    """Reads batches of the topics that are known; of one thread."""

    def __init__(self) -> None:
        self._topics: list[Topic] | None = None
        self._slots = np.zeros((SLOTS + 1, 3), np.int64)
        self._hold(_FEWEST_RECORDS)

    def read(self, bodies: Sequence[bytes], topics: Mapping[bytes, tuple[Topic, npt.NDArray[np.int64]]]) -> Batch:
        """The messages. topics: by their bytes, with the exponents of a scale; those known before come first."""
        known = self._topics
        if known is None or len(topics) != len(known):
            known = self._know(topics)
        text = b"".join(bodies)
        ends = np.array(list(accumulate(map(len, bodies), initial=0)), np.int64)
        if len(text) // _SHORTEST_LEVEL >= len(self._words):
            self._hold(len(text) // _SHORTEST_LEVEL + 1)
        rows = np.empty((len(bodies), COLUMNS), np.int64)
        read_batch(
            np.frombuffer(text, np.uint8),
            ends,
            self._table,
            self._known,
            self._texts,
            self._words,
            self._slots,
            self._ids,
            rows,
        )
        return Batch(text, ends, rows, known, self._words, self._ids)

    def _hold(self, records: int) -> None:
        # What is not written of it is no memory.
        self._words = np.empty((records, EVENT.itemsize // 8), np.int64)
        self._ids = np.empty((records, 2), np.int64)

    def _know(self, topics: Mapping[bytes, tuple[Topic, npt.NDArray[np.int64]]]) -> list[Topic]:
        known = self._topics = [topic for topic, _ in topics.values()]
        ends = np.cumsum([len(text) for text in topics], dtype=np.int64)
        self._known = np.array(
            [
                (topic.kind, len(topic.symbol), end - len(text), end, *exponents)
                for (text, (topic, exponents)), end in zip(topics.items(), ends.tolist(), strict=True)
            ],
            np.int64,
        ).reshape(-1, _TOPIC_WORDS)
        self._texts = np.frombuffer(b"".join(topics), np.uint8)
        self._table = np.full(1 << (2 * len(topics)).bit_length(), -1, np.int64)
        enter_topics(self._texts, self._known, self._table)
        return known


@jit_inside
def _hash(text: Any, begin: int, end: int) -> int:
    found = end - begin
    while begin < end:
        part = packed(text, begin, end)
        found = ((found ^ (part & _HASH_BITS)) * 0x5BD1E995) & _HASH_BITS
        found = ((found ^ (part >> 31 & _HASH_BITS)) * 0x2C1B3C6D) & _HASH_BITS
        found ^= found >> 15 ^ (part >> 62 & 3)
        begin += 8
    return found


@jit_over(plain_json)
def enter_topics(texts: Any, known: Any, table: Any) -> None:
    """Let the table know of every topic."""
    mask = len(table) - 1
    for topic in range(len(known)):
        at = _hash(texts, known[topic, _BEGIN], known[topic, _END]) & mask
        while table[at] >= 0:
            at = (at + 1) & mask
        table[at] = topic


@jit_inside
def _same_text(text: Any, begin: int, end: int, texts: Any, known_begin: int, known_end: int) -> bool:
    if end - begin != known_end - known_begin:
        return False
    for place in range(end - begin):
        if text[begin + place] != texts[known_begin + place]:
            return False
    return True


@jit_inside
def _topic_at(text: Any, begin: int) -> int:
    """Where the topic begins of the message that begins here; -1 for none."""
    at, last = begin, min(begin + _LATEST_TOPIC, len(text)) - _KEY_BYTES
    while at < last and not (text[at] == 34 and packed(text, at, at + _KEY_BYTES) == _TOPIC_KEY):
        at += 1
    if at >= last:
        return -1
    at += _KEY_BYTES
    while at < len(text) and text[at] != 34:
        at += 1
    return at + 1


@jit_over(plain_json, canonical_shapes, canonical_elements, canonical_records)
def read_batch(
    text: Any, ends: Any, table: Any, known: Any, texts: Any, words: Any, slots: Any, ids: Any, rows: Any
) -> None:
    """Read each message into its row and its records.

    text, ends, words, ids, rows: of a Batch; there is nothing in the last three before. table: at the hash of a topic
    or behind it, its place in ``known``, -1 for none. known (k, 7): kind, length of the symbol, where its text is in
    ``texts``, exponents of prices, quantities and turnovers. slots (SLOTS + 1, 3): room.
    """
    used = 0
    mask = len(table) - 1
    for message in range(len(rows)):
        begin, end = ends[message], ends[message + 1]
        body = text[:end]  # no message is read on in the next one
        rows[message, TOPIC] = -1
        topic_at = _topic_at(body, begin)
        topic_end = topic_at
        while topic_at >= 0 and topic_end < end and body[topic_end] != 34:
            topic_end += 1
        if topic_at < 0 or topic_end == end:
            continue
        at = _hash(body, topic_at, topic_end) & mask
        topic = table[at]
        while topic >= 0 and not _same_text(body, topic_at, topic_end, texts, known[topic, _BEGIN], known[topic, _END]):
            at = (at + 1) & mask
            topic = table[at]
        if topic < 0:
            continue
        kind = known[topic, _KIND]
        symbol_at = topic_end - known[topic, _SYMBOL_LENGTH]
        scale = known[topic, _SCALE:]
        records = words[used:]
        if read_one(body, begin, kind, topic_at, topic_end, symbol_at, records, slots, scale, ids[used:]) != end:
            continue
        is_envelope = slots[PAYLOAD, 0] != 0
        if is_envelope and iso_ns(body, slots[RECEIVED_AT, 1], slots[RECEIVED_AT, 2]) <= 0:
            continue
        is_book = kind == ORDERBOOK
        rows[message, TOPIC] = topic
        rows[message, FIRST] = used
        rows[message, COUNT] = slots[COUNT_SLOT, 1]
        rows[message, EVENT_NS] = records[0, EVENT_NS_WORD]
        rows[message, UPDATE_ID] = slots[U, 1] if is_book else 0
        rows[message, SEQ] = slots[SEQ_SLOT, 1] if is_book and slots[SEQ_SLOT, 0] != 0 else -1
        rows[message, REPLACES] = is_book and (is_snapshot_type(body, kind, slots) or slots[U, 1] == RESTART_ID)
        rows[message, EVENT_ID] = slots[EVENT_ID_SLOT, 1] if is_envelope else -1
        rows[message, EVENT_ID_END] = slots[EVENT_ID_SLOT, 2] if is_envelope else -1
        rows[message, TRACE_ID] = slots[TRACE_ID_SLOT, 1] if is_envelope else -1
        rows[message, TRACE_ID_END] = slots[TRACE_ID_SLOT, 2] if is_envelope else -1
        used += slots[COUNT_SLOT, 1]
