"""The shapes of Bybit's canonical messages: their keys by slot, and how a value is read into its slot.

Keys come in any order, once each, and others may stand among those of an element with a plain value. A slot is three
words: whether its key came, then where its text begins and ends, or its number.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingestion.decoding.plain_json import (
    DECLINED,
    MOST_DIGITS,
    POWERS,
    byte,
    integer,
    mantissa,
    number_end,
    packed,
    skipped,
    spaces,
    text_end,
    word,
)
from market.events import ASK, BID, KLINE, ORDERBOOK, TICKER, TRADE
from market.instruments import LARGEST_MANTISSA, LARGEST_PRICE_MANTISSA
from transforms.jit import jit_inside

# What a value must be; an element is read by the caller.
_TEXT, _OR_NULL, _INTEGER, _BOOL, _LEVELS, ELEMENT = range(6)
_SHAPES: Final = {
    0: "topic type ts:2 cts:2 cs:2 data:5 event_id event_type timestamp received_at payload:5 trace_id:1",
    ORDERBOOK: "s symbol b:4 a:4 u:2 seq:2 type",
    TRADE: "s symbol T:2 S v p i",
    KLINE: "s symbol start:2 open high low close volume turnover confirm:3 timestamp:2",
    TICKER: "s symbol lastPrice fundingRate nextFundingTime openInterest markPrice indexPrice",
}
"""Keys of a message and of the element of each kind, in the order of their slots, with what their values must be."""
TOPIC, TYPE, TS, CTS, CS, DATA, EVENT_ID, EVENT_TYPE, TIMESTAMP, RECEIVED_AT, PAYLOAD, TRACE_ID = range(12)
FIRST_OF_ELEMENT: Final = 12
"""The slots of a message's element follow its own."""
S, SYMBOL, BIDS, ASKS, U, SEQ, BOOK_TYPE = range(12, 19)
TIME, SIDE, SIZE, PRICE, ID = range(14, 19)
START, OPEN_PX, HIGH_PX, LOW_PX, CLOSE_PX, VOLUME_QTY, TURNOVER_SUM, CONFIRM, CLOSED_AT = range(14, 23)
LAST_PX, RATE, NEXT, INTEREST, MARK, INDEX = range(14, 20)
SLOTS: Final = 24
COUNT: Final = SLOTS
"""The slot, one more, whose number is that of the records written so far."""

PRICE_EXPONENT, QUANTITY_EXPONENT, TURNOVER_EXPONENT = range(3)
"""Of a scale."""
RECV_NS, EVENT_NS, PLACE, UPDATE_ID, PX, QTY, TAIL = range(7)
"""The words of a record as EVENT lies in memory; the last holds kind, field and flags, a byte each."""

_KEYS: Final = np.zeros((TICKER + 1, FIRST_OF_ELEMENT, 3), np.int64)
"""By kind and slot: the first eight bytes of the key, the eight that follow, and what its value must be."""
for _kind, _shape in _SHAPES.items():
    for _at, _said in enumerate(_shape.split()):
        _key, _, _want = _said.partition(":")
        _KEYS[_kind, _at] = word(_key[:8]), word(_key[8:]), int(_want or _TEXT)
_TRUE, _FALSE, _NULL = (word(text) for text in ("true", "false", "null"))


@jit_inside
def _slot(body: Any, begin: int, end: int, kind: int) -> int:
    """Which key of the kind's shape this is; -1 for another."""
    low, high = packed(body, begin, end), packed(body, begin + 8, end)
    if end - begin > 16:
        return -1
    for slot in range(FIRST_OF_ELEMENT):
        if _KEYS[kind, slot, 0] == low and _KEYS[kind, slot, 1] == high:
            return slot if low != 0 else -1
    return -1


@jit_inside
def read_fields(body: Any, at: int, kind: int, slots: Any, words: Any, scale: Any) -> tuple[int, bool]:
    """Read keys and values into their slots from a key on, up to what follows the last. kind: 0 for the message itself.

    Returns where that is, and False; or where the element begins, and True, when one is met, which is not read. -1
    where it is declined. Called once an object, not once a field: to hand over an array takes longer than to read one.
    """
    of_kind = 0 if kind == 0 else FIRST_OF_ELEMENT
    while True:
        key_end = text_end(body, at)
        if key_end < 0:
            return -1, False
        slot = _slot(body, at + 1, key_end, kind)
        at = spaces(body, key_end + 1)
        if byte(body, at) != 58:
            return -1, False
        at = spaces(body, at + 1)
        if slot < 0:
            if kind == 0:
                return -1, False  # another key of a message may make it one of another kind
            at = skipped(body, at)
        else:
            want = _KEYS[kind, slot, 2]
            slot += of_kind
            if slots[slot, 0] != 0:
                return -1, False  # which of them counts is for the typed decoder
            slots[slot, 0] = 1
            if want == _TEXT or (want == _OR_NULL and byte(body, at) == 34):
                end = text_end(body, at)
                slots[slot, 1], slots[slot, 2] = at + 1, end
                at = -1 if end < 0 else end + 1
            elif want == ELEMENT:
                return at, True
            elif want == _LEVELS:
                if slot == ASKS and slots[BIDS, 0] == 0:
                    return -1, False  # records stand bids first
                at = read_levels(body, at, slots, words, scale, BID if slot == BIDS else ASK)
            elif want == _INTEGER:
                end = number_end(body, at)
                if end >= 0:
                    slots[slot, 1] = integer(body, at, end)
                    if slots[slot, 1] == DECLINED:
                        return -1, False
                at = end
            else:
                at, slots[slot, 1] = _word_value(body, at, want)
        if at < 0:
            return -1, False
        at = spaces(body, at)
        if byte(body, at) != 44:
            return at, False
        at = spaces(body, at + 1)


@jit_inside
def _word_value(body: Any, at: int, want: int) -> tuple[int, int]:
    """Read null, true or false; where it ends, -1 where it is declined, and what it is: -1, 1 or 0."""
    if want == _OR_NULL:
        return (at + 4 if packed(body, at, at + 4) == _NULL else -1), -1
    if packed(body, at, at + 4) == _TRUE:
        return at + 4, 1
    return (at + 5 if packed(body, at, at + 5) == _FALSE else -1), 0


@jit_inside
def read_levels(body: Any, at: int, slots: Any, words: Any, scale: Any, side: int) -> int:
    """Write the records of a list of levels, without what they share; returns where it ends, -1 where it is declined.

    It reads most of an order book's bytes, so what it calls with an array for each level is one line long, or rare: the
    uses of an array are counted, and to hand one over takes longer than to read a number.
    """
    if byte(body, at) != 91:
        return -1
    at = spaces(body, at + 1)
    if byte(body, at) == 93:
        return at + 1
    count = slots[COUNT, 1]
    px = 0
    while True:
        if byte(body, at) != 91:
            return -1
        for is_size in (False, True):
            begin = spaces(body, at + 1) + 1
            if byte(body, begin - 1) != 34:
                return -1
            at, value = begin, 0
            left = scale[QUANTITY_EXPONENT] if is_size else scale[PRICE_EXPONENT]
            digit = byte(body, at) - 48
            while 0 <= digit <= 9:
                value = value * 10 + digit
                at += 1
                digit = byte(body, at) - 48
            if at > begin and digit == 46 - 48:
                point = at
                at += 1
                digit = byte(body, at) - 48
                while 0 <= digit <= 9:
                    value = value * 10 + digit
                    at += 1
                    digit = byte(body, at) - 48
                left -= at - point - 1
            if at > begin and digit == 34 - 48 and 0 <= left <= MOST_DIGITS - (at - begin):
                value *= POWERS[left]
            else:
                at = text_end(body, begin - 1)
                if at < 0:
                    return -1
                value = mantissa(body, begin, at, scale[QUANTITY_EXPONENT] if is_size else scale[PRICE_EXPONENT])
            at = spaces(body, at + 1)
            if is_size:
                if not 0 <= value < LARGEST_MANTISSA or byte(body, at) != 93 or count == len(words):
                    return -1
                words[count, PX], words[count, QTY], words[count, TAIL] = px, value, ORDERBOOK | side << 8
                count += 1
            elif not 0 < value < LARGEST_PRICE_MANTISSA or byte(body, at) != 44:
                return -1
            else:
                px = value
        at = spaces(body, at + 1)
        if byte(body, at) == 93:
            slots[COUNT, 1] = count
            return at + 1
        if byte(body, at) != 44:
            return -1
        at = spaces(body, at + 1)


@jit_inside
def write_record(words: Any, slots: Any, px: int, qty: int, tail: int) -> bool:
    """Another record, without its times; False where there is no room."""
    count = slots[COUNT, 1]
    if count == len(words):
        return False
    words[count, RECV_NS] = words[count, EVENT_NS] = words[count, PLACE] = words[count, UPDATE_ID] = 0
    words[count, PX], words[count, QTY], words[count, TAIL] = px, qty, tail
    slots[COUNT, 1] = count + 1
    return True
