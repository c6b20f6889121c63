"""Canonical messages as event records, made by compiled code: a message is read whole, or declined.

Declined is whatever the typed decoder rejects, and what it makes UNKNOWN: that one says why. The records are the same
from both.
"""

from __future__ import annotations

from typing import Any, Final

from ingestion.decoding import plain_json
from ingestion.decoding.plain_json import byte, iso_ns, packed, same, spaces
from ingestion.venues.bybit import canonical_elements, canonical_shapes
from ingestion.venues.bybit.canonical_elements import (
    DELTA_WORD,
    SNAPSHOT_WORD,
    book_records,
    is_time,
    kline_records,
    ticker_records,
    trade_records,
)
from ingestion.venues.bybit.canonical_shapes import (
    BOOK_TYPE,
    COUNT,
    CTS,
    DATA,
    EVENT_ID,
    EVENT_NS,
    FIRST_OF_ELEMENT,
    NEXT,
    PAYLOAD,
    PLACE,
    PX,
    RECEIVED_AT,
    RECV_NS,
    SEQ,
    SYMBOL,
    TAIL,
    TIMESTAMP,
    TOPIC,
    TRACE_ID,
    TS,
    TYPE,
    UPDATE_ID,
    S,
    U,
    read_fields,
)
from ingestion.venues.bybit.tickers import FURTHEST_FUNDING_NS
from market.clock import MILLISECOND_NS
from market.events import (
    FIRST,
    KLINE,
    LAST,
    NEXT_FUNDING,
    ORDERBOOK,
    SNAPSHOT,
    TICKER,
    TRADE,
)
from transforms.jit import jit_inside, jit_over

_NOTHING: Final = (0, 0, 0, False, 0, 0, 0, 0, 0)


@jit_over(plain_json, canonical_shapes, canonical_elements)
def read_canonical(
    body: Any, kind: int, topic_at: int, topic_end: int, symbol_at: int, words: Any, slots: Any, scale: Any, ids: Any
) -> tuple[int, int, int, bool, int, int, int, int, int]:
    """Read a message of a known topic into its records.

    topic_at, topic_end, symbol_at: the position of the topic in the body, and in it the symbol, which it ends with.
    words (n, 7), slots (SLOTS + 1, 3), ids (m, 2): room for records, values and trades' ids. scale: the exponents of
    prices, quantities and turnovers.

    Returns the number of records, 0 where it is declined; ``u``; ``seq``, -1 for none; whether the book's type is
    snapshot; the gateway's ``received_at`` in ns, 0 for none; where its event id and its trace id begin and end, -1 for
    a trace id of null. Of trades ``ids`` has where each id begins and ends, -1 for none.
    """
    if read_one(body, 0, kind, topic_at, topic_end, symbol_at, words, slots, scale, ids) != len(body):
        return _NOTHING
    received_ns = 0
    if slots[PAYLOAD, 0] != 0:
        received_ns = iso_ns(body, slots[RECEIVED_AT, 1], slots[RECEIVED_AT, 2])
        if received_ns < 0:
            return _NOTHING
    is_book = kind == ORDERBOOK
    return (
        slots[COUNT, 1],
        slots[U, 1] if is_book else 0,
        slots[SEQ, 1] if is_book and slots[SEQ, 0] != 0 else -1,
        is_snapshot_type(body, kind, slots),
        received_ns,
        slots[EVENT_ID, 1],
        slots[EVENT_ID, 2],
        slots[TRACE_ID, 1],
        slots[TRACE_ID, 2],
    )


@jit_inside
def read_one(
    body: Any,
    begin: int,
    kind: int,
    topic_at: int,
    topic_end: int,
    symbol_at: int,
    words: Any,
    slots: Any,
    scale: Any,
    ids: Any,
) -> int:
    """Read a message that begins at ``begin`` into its records; returns where it ends, -1 where it is declined."""
    slots[COUNT, 1] = 0
    slots[:, 0] = 0
    end = _read_message(body, begin, kind, symbol_at, topic_end, words, slots, scale, ids)
    if end < 0 or not same(body, slots[TOPIC, 1], slots[TOPIC, 2], topic_at, topic_end):
        return -1
    is_envelope = slots[PAYLOAD, 0] != 0
    if is_envelope:
        # An envelope has all of its keys and none of a message's.
        for slot in range(FIRST_OF_ELEMENT):
            if slots[slot, 0] != (slot in (TOPIC, PAYLOAD) or slot >= EVENT_ID):
                return -1
        event_ns = iso_ns(body, slots[TIMESTAMP, 1], slots[TIMESTAMP, 2])
        if event_ns < 0:
            return -1
    else:
        for slot in range(EVENT_ID, FIRST_OF_ELEMENT):
            if slots[slot, 0]:
                return -1
        if not (slots[DATA, 0] and slots[TS, 0] and is_time(slots, TS) and (not slots[CTS, 0] or is_time(slots, CTS))):
            return -1
        event_ns = slots[CTS if kind == ORDERBOOK and slots[CTS, 0] else TS, 1] * MILLISECOND_NS
    is_snapshot = is_snapshot_type(body, kind, slots)
    type_slot = _type_slot(kind, slots)
    if slots[type_slot, 0]:
        if not is_snapshot and packed(body, slots[type_slot, 1], slots[type_slot, 2]) != DELTA_WORD:
            return -1
    elif kind == ORDERBOOK:
        return -1
    return end if finish(kind, event_ns, is_snapshot and kind == ORDERBOOK, words, slots) else -1


@jit_inside
def _type_slot(kind: int, slots: Any) -> int:
    return BOOK_TYPE if kind == ORDERBOOK and slots[PAYLOAD, 0] != 0 else TYPE


@jit_inside
def is_snapshot_type(body: Any, kind: int, slots: Any) -> bool:
    slot = _type_slot(kind, slots)
    begin, end = slots[slot, 1], slots[slot, 2]
    return bool(slots[slot, 0] != 0 and end - begin == 8 and packed(body, begin, end) == SNAPSHOT_WORD)


@jit_inside
def finish(kind: int, event_ns: int, is_snapshot: bool, words: Any, slots: Any) -> bool:
    """What of the records is known when the whole message was read."""
    if kind == TICKER and slots[NEXT, 0]:
        for at in range(slots[COUNT, 1]):
            ahead_ns = words[at, PX] - event_ns
            if words[at, TAIL] == TICKER | NEXT_FUNDING << 8 and abs(ahead_ns) > FURTHEST_FUNDING_NS:
                return False
    if kind == ORDERBOOK:
        finish_book(event_ns, is_snapshot, words, slots, 0, 0)
        return True
    if kind == TICKER:
        for at in range(slots[COUNT, 1]):
            words[at, EVENT_NS] = event_ns
    _mark(words, slots)
    return True


@jit_inside
def finish_book(event_ns: int, is_snapshot: bool, words: Any, slots: Any, recv_ns: int, place: int) -> None:
    """Write what the records of a book's message share, all in one pass: there are more of them than of all others."""
    update_id = slots[U, 1]
    for at in range(slots[COUNT, 1]):
        words[at, RECV_NS] = recv_ns
        words[at, EVENT_NS] = event_ns
        words[at, PLACE] = place
        words[at, UPDATE_ID] = update_id
    if is_snapshot:
        for at in range(slots[COUNT, 1]):
            words[at, TAIL] |= SNAPSHOT << 16
    _mark(words, slots)


@jit_inside
def _mark(words: Any, slots: Any) -> None:
    words[0, TAIL] |= FIRST << 16
    words[slots[COUNT, 1] - 1, TAIL] |= LAST << 16


@jit_inside
def _read_message(
    body: Any, at: int, kind: int, symbol_at: int, symbol_end: int, words: Any, slots: Any, scale: Any, ids: Any
) -> int:
    """Read the message that begins here; returns where it ends, -1 where it is declined."""
    if byte(body, at) != 123:
        return -1
    at = spaces(body, at + 1)
    while True:
        at, is_element = read_fields(body, at, 0, slots, words, scale)
        if at < 0:
            return -1
        if is_element:
            is_list = kind in (TRADE, KLINE) and slots[DATA, 0] != 0
            if slots[DATA, 0] and slots[PAYLOAD, 0]:
                return -1
            if is_list:
                at = _read_list(body, at, kind, symbol_at, symbol_end, words, slots, scale, ids)
            else:
                at = _read_element(body, at, kind, symbol_at, symbol_end, words, slots, scale, ids)
            if at < 0:
                return -1
            at = spaces(body, at)
            if byte(body, at) == 44:
                at = spaces(body, at + 1)
                continue
        return at + 1 if byte(body, at) == 125 and slots[COUNT, 1] > 0 and slots[TOPIC, 0] != 0 else -1


@jit_inside
def _read_list(
    body: Any, at: int, kind: int, symbol_at: int, symbol_end: int, words: Any, slots: Any, scale: Any, ids: Any
) -> int:
    if byte(body, at) != 91:
        return -1
    names = -1
    while True:
        at = spaces(body, at + 1)
        slots[FIRST_OF_ELEMENT:, 0] = 0
        at = _read_element(body, at, kind, symbol_at, symbol_end, words, slots, scale, ids)
        if at < 0:
            return -1
        own = slots[S, 0] + 2 * slots[SYMBOL, 0]
        if names not in (-1, own):
            return -1
        names = own
        at = spaces(body, at)
        if byte(body, at) != 44:
            return at + 1 if byte(body, at) == 93 else -1


@jit_inside
def _read_element(
    body: Any, at: int, kind: int, symbol_at: int, symbol_end: int, words: Any, slots: Any, scale: Any, ids: Any
) -> int:
    """Read an object and write its records; returns where it ends, -1 where it is declined."""
    if byte(body, at) != 123:
        return -1
    at = spaces(body, at + 1)
    if byte(body, at) != 125:
        at, _ = read_fields(body, at, kind, slots, words, scale)
        if at < 0:
            return -1
    if byte(body, at) != 125:
        return -1
    for slot in (S, SYMBOL):
        if slots[slot, 0] and not same(body, slots[slot, 1], slots[slot, 2], symbol_at, symbol_end):
            return -1
    if kind == ORDERBOOK:
        is_good = book_records(body, words, slots)
    elif kind == TRADE:
        is_good = trade_records(body, words, slots, scale, ids)
    elif kind == KLINE:
        is_good = kline_records(body, words, slots, scale)
    else:
        is_good = ticker_records(body, words, slots, scale)
    return at + 1 if is_good else -1
