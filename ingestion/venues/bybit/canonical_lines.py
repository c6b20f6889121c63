"""Lines of an archive, a canonical order book message each, as event records: many in one call of compiled code.

Lines of one topic are read one after the other, until one is declined: that one is for whoever reads single messages.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingestion.decoding import plain_json
from ingestion.decoding.plain_json import DECLINED, byte, integer, number_end, packed
from ingestion.venues.bybit import canonical_elements, canonical_records, canonical_shapes
from ingestion.venues.bybit.canonical_elements import DELTA_WORD, SNAPSHOT_WORD, book_records, is_time
from ingestion.venues.bybit.canonical_records import finish_book, read_one
from ingestion.venues.bybit.canonical_shapes import (
    ASKS,
    BIDS,
    COUNT,
    CTS,
    EVENT_NS,
    PAYLOAD,
    PLACE,
    RECV_NS,
    SEQ,
    SLOTS,
    TS,
    U,
    read_levels,
)
from market.clock import MILLISECOND_NS
from market.events import ASK, BID, EVENT, ORDERBOOK, Events, empty_events
from market.instruments import Instrument
from transforms.jit import is_compiled, jit_inside, jit_over

_USUAL: Final = (
    '{{"topic":"{topic}","type":"',
    '","ts":',
    ',"data":{{"s":"{symbol}","b":',
    ',"a":',
    ',"u":',
    ',"seq":',
    '}},"cts":',
    "}}",
)
"""What stands between the values of a line as the exchange writes it; where it is otherwise, keys are looked up."""
_SHORTEST_LEVEL: Final = len('["1","1"],')
_NO_IDS: Final = np.zeros((0, 2), np.int64)


class BookLines:
    """Order book messages of one topic, as they stand in an archive: each line has the topic at the same place.

    delay_ns: how long after its ``ts`` a message counts as received. from_ms, to_ms: a line that was sent
    (``ts``) or happened (``cts``) earlier or later is declined.
    """

    def __init__(
        self, instrument: Instrument, topic: str, topic_offset: int, *, delay_ns: int, from_ms: int, to_ms: int
    ) -> None:
        self.topic = topic
        self._bytes = np.frombuffer(topic.encode(), np.uint8)
        self._offset = topic_offset
        self._symbol_length = len(instrument.symbol)
        parts = [part.format(topic=topic, symbol=instrument.symbol).encode() for part in _USUAL]
        self._usual = np.frombuffer(b"".join(parts), np.uint8)
        self._ends = np.cumsum([len(part) for part in parts])
        exponents = instrument.price_exponent, instrument.quantity_exponent, instrument.turnover_exponent
        self._scale = np.array(exponents, np.int64)
        self._slots = np.zeros((SLOTS + 1, 3), np.int64)
        self._delay_ns = delay_ns
        self._period_ms = from_ms, to_ms

    def read(self, text: bytes, at: int, *, seq: int) -> tuple[Events, int, int]:
        """Lines from ``at`` on, which end in a newline each, as records that are stamped; the first of them is ``seq``.

        Returns the records, the number of lines, and where the first line begins that was declined, or the text's end.
        """
        if not is_compiled(read_book_lines):
            return empty_events(0), 0, at  # it would take a hundred times as long as the typed decoder
        # What is not written of it is no memory.
        words = np.empty(((len(text) - at) // _SHORTEST_LEVEL + 1, EVENT.itemsize // 8), np.int64)
        at, lines, count = read_book_lines(
            np.frombuffer(text, np.uint8),
            at,
            self._usual,
            self._ends,
            self._bytes,
            self._offset,
            self._symbol_length,
            words,
            self._slots,
            self._scale,
            _NO_IDS,
            self._delay_ns,
            self._period_ms,
            seq,
        )
        return words[:count].reshape(-1).view(EVENT), lines, at


@jit_inside
def _after(text: Any, at: int, usual: Any, ends: Any, part: int) -> int:
    """Where the part ends that begins here; -1 where something else stands here."""
    if at < 0:
        return -1
    for place in range(ends[part - 1] if part > 0 else 0, ends[part]):
        if byte(text, at) != usual[place]:
            return -1
        at += 1
    return at


@jit_inside
def _number(text: Any, at: int, slots: Any, slot: int) -> int:
    """Read a number into its slot; returns where it ends, -1 where it is declined."""
    end = -1 if at < 0 else number_end(text, at)
    if end >= 0:
        slots[slot, 0], slots[slot, 1] = 1, integer(text, at, end)
    return end if end >= 0 and slots[slot, 1] != DECLINED else -1


@jit_inside
def _read_usual(
    text: Any, at: int, usual: Any, ends: Any, words: Any, slots: Any, scale: Any, delay_ns: int, place: int
) -> int:
    """``read_one`` of a line that has the usual texts between its values: no key is looked up; its records stamped."""
    slots[COUNT, 1] = 0
    slots[:, 0] = 0
    at = _after(text, at, usual, ends, 0)
    if at < 0:
        return -1
    is_snapshot = packed(text, at, at + 8) == SNAPSHOT_WORD
    if not is_snapshot and packed(text, at, at + 5) != DELTA_WORD:
        return -1
    at = _number(text, _after(text, at + (8 if is_snapshot else 5), usual, ends, 1), slots, TS)
    at = _after(text, at, usual, ends, 2)
    if at >= 0:
        at = _after(text, read_levels(text, at, slots, words, scale, BID), usual, ends, 3)
    if at >= 0:
        at = _after(text, read_levels(text, at, slots, words, scale, ASK), usual, ends, 4)
    at = _after(text, _number(text, at, slots, U), usual, ends, 5)
    at = _after(text, _number(text, at, slots, SEQ), usual, ends, 6)
    at = _after(text, _number(text, at, slots, CTS), usual, ends, 7)
    if at < 0 or not (is_time(slots, TS) and is_time(slots, CTS)):
        return -1
    slots[BIDS, 0] = slots[ASKS, 0] = 1
    if not book_records(text, words, slots):
        return -1
    recv_ns = slots[TS, 1] * MILLISECOND_NS + delay_ns
    finish_book(slots[CTS, 1] * MILLISECOND_NS, is_snapshot, words, slots, recv_ns, place)
    return at


@jit_over(plain_json, canonical_shapes, canonical_elements, canonical_records)
def read_book_lines(
    text: Any,
    at: int,
    usual: Any,
    ends: Any,
    topic: Any,
    topic_offset: int,
    symbol_length: int,
    words: Any,
    slots: Any,
    scale: Any,
    ids: Any,
    delay_ns: int,
    period_ms: tuple[int, int],
    seq: int,
) -> tuple[int, int, int]:
    """Read order book messages of a topic, a line each, into their records, until one is declined.

    usual, ends: the texts of a usual line, and where each ends. topic: its bytes, which stand at ``topic_offset`` in
    each line and end with the symbol. words (n, 7): room for as many levels as the text could hold. slots, scale, ids:
    as of ``read_canonical``. period_ms: of the first time and of the last that are read.

    Returns where the first line begins that was not read; the number of lines that were; the number of records.
    """
    lines = count = 0
    while at < len(text):
        records = words[count:]
        end = _read_usual(text, at, usual, ends, records, slots, scale, delay_ns, seq + lines)
        topic_at = at + topic_offset
        topic_end = topic_at + len(topic)
        if end < 0 and topic_end <= len(text):
            is_same = True
            for place in range(len(topic)):
                is_same &= text[topic_at + place] == topic[place]
            if is_same:
                symbol_at = topic_end - symbol_length
                end = read_one(text, at, ORDERBOOK, topic_at, topic_end, symbol_at, records, slots, scale, ids)
                for record in range(slots[COUNT, 1]):
                    records[record, RECV_NS] = slots[TS, 1] * MILLISECOND_NS + delay_ns
                    records[record, PLACE] = seq + lines
        if end >= 0 and byte(text, end) == 13:
            end += 1
        if end < 0 or byte(text, end) != 10 or slots[PAYLOAD, 0] != 0:
            break
        if not period_ms[0] <= slots[TS, 1] <= period_ms[1]:
            break
        if not period_ms[0] * MILLISECOND_NS <= records[0, EVENT_NS] <= period_ms[1] * MILLISECOND_NS:
            break
        count += slots[COUNT, 1]
        lines += 1
        at = end + 1
    return at, lines, count
