"""Elements of canonical messages as event records: from the slots of a book, a trade, a candle or a ticker."""

from __future__ import annotations

from typing import Any, Final

from ingestion.decoding.plain_json import DECLINED, mantissa, packed, word
from ingestion.decoding.wire import LAST_MILLISECOND
from ingestion.venues.bybit.canonical_shapes import (
    ASKS,
    BIDS,
    BOOK_TYPE,
    CLOSE_PX,
    CLOSED_AT,
    CONFIRM,
    COUNT,
    EVENT_NS,
    HIGH_PX,
    ID,
    INDEX,
    INTEREST,
    LAST_PX,
    LOW_PX,
    MARK,
    NEXT,
    OPEN_PX,
    PRICE,
    PRICE_EXPONENT,
    PX,
    QUANTITY_EXPONENT,
    RATE,
    SEQ,
    SIDE,
    SIZE,
    START,
    TIME,
    TURNOVER_EXPONENT,
    TURNOVER_SUM,
    UPDATE_ID,
    VOLUME_QTY,
    U,
    write_record,
)
from ingestion.venues.bybit.tickers import LARGEST_FUNDING_RATE, MOST_PRICES_APART
from market.clock import MILLISECOND_NS
from market.events import (
    BUY,
    CONFIRMED,
    FUNDING_RATE,
    INDEX_PRICE,
    KLINE,
    KLINE_FIELD_COUNT,
    MARK_PRICE,
    NEXT_FUNDING,
    NO_LEVEL,
    NO_TICKER_FIELD,
    OPEN_INTEREST,
    ORDERBOOK,
    SELL,
    TICKER,
    TRADE,
)
from market.instruments import (
    FUNDING_RATE_EXPONENT,
    LARGEST_MANTISSA,
    LARGEST_NOTIONAL_MANTISSA,
    LARGEST_PRICE_MANTISSA,
)
from transforms.jit import jit_inside

SNAPSHOT_WORD, DELTA_WORD = word("snapshot"), word("delta")
_BUY_WORD, _SELL_WORD = word("Buy"), word("Sell")
_LONGEST_ID: Final = 100
_LARGEST_RATE: Final = LARGEST_FUNDING_RATE * 10**FUNDING_RATE_EXPONENT


@jit_inside
def is_time(slots: Any, slot: int) -> bool:
    """Whether a slot holds a time in ms that fits int64 ns."""
    return bool(1 <= slots[slot, 1] <= LAST_MILLISECOND)


@jit_inside
def book_records(body: Any, words: Any, slots: Any) -> bool:
    if not (slots[BIDS, 0] and slots[ASKS, 0] and slots[U, 0]) or slots[U, 1] < 0:
        return False
    if slots[SEQ, 0] and slots[SEQ, 1] < 0:
        return False
    if slots[BOOK_TYPE, 0]:
        text = packed(body, slots[BOOK_TYPE, 1], slots[BOOK_TYPE, 2])
        if text not in (SNAPSHOT_WORD, DELTA_WORD) or slots[BOOK_TYPE, 2] - slots[BOOK_TYPE, 1] > 8:
            return False
    if slots[COUNT, 1] == 0:
        write_record(words, slots, 0, 0, ORDERBOOK | NO_LEVEL << 8)
    return True


@jit_inside
def trade_records(body: Any, words: Any, slots: Any, scale: Any, ids: Any) -> bool:
    if not (slots[TIME, 0] and is_time(slots, TIME) and slots[SIDE, 0] and slots[SIZE, 0] and slots[PRICE, 0]):
        return False
    side = packed(body, slots[SIDE, 1], slots[SIDE, 2])
    if side not in (_BUY_WORD, _SELL_WORD):
        return False
    px = mantissa(body, slots[PRICE, 1], slots[PRICE, 2], scale[PRICE_EXPONENT])
    qty = mantissa(body, slots[SIZE, 1], slots[SIZE, 2], scale[QUANTITY_EXPONENT])
    if not (0 < px < LARGEST_PRICE_MANTISSA and 0 < qty < LARGEST_MANTISSA):
        return False
    at = slots[COUNT, 1]
    if at == len(ids) or not write_record(words, slots, px, qty, TRADE | (BUY if side == _BUY_WORD else SELL) << 8):
        return False
    words[at, EVENT_NS] = slots[TIME, 1] * MILLISECOND_NS
    ids[at, 0] = ids[at, 1] = -1
    if slots[ID, 0]:
        ids[at, 0], ids[at, 1] = slots[ID, 1], slots[ID, 2]
    return bool(slots[ID, 0] == 0 or slots[ID, 2] - slots[ID, 1] <= _LONGEST_ID)


@jit_inside
def kline_records(body: Any, words: Any, slots: Any, scale: Any) -> bool:
    for slot in range(START, CLOSED_AT + 1):
        if not slots[slot, 0]:
            return False
    start_ms = slots[START, 1]
    if not 0 <= start_ms <= LAST_MILLISECOND or start_ms % 60_000 or not is_time(slots, CLOSED_AT):
        return False
    at = slots[COUNT, 1]
    tail = KLINE | (CONFIRMED if slots[CONFIRM, 1] else 0) << 16
    for field in range(KLINE_FIELD_COUNT):
        slot = OPEN_PX + field
        exponent = scale[PRICE_EXPONENT]
        least, limit = 1, LARGEST_PRICE_MANTISSA
        if slot == VOLUME_QTY:
            exponent, least, limit = scale[QUANTITY_EXPONENT], 0, LARGEST_MANTISSA
        elif slot == TURNOVER_SUM:
            exponent, least, limit = scale[TURNOVER_EXPONENT], 0, LARGEST_NOTIONAL_MANTISSA
        value = mantissa(body, slots[slot, 1], slots[slot, 2], exponent)
        if not least <= value < limit or not write_record(words, slots, value, 0, tail | field << 8):
            return False
        words[at + field, EVENT_NS] = slots[CLOSED_AT, 1] * MILLISECOND_NS
        words[at + field, UPDATE_ID] = start_ms * MILLISECOND_NS
    open_px, close_px = words[at, PX], words[at + CLOSE_PX - OPEN_PX, PX]
    high_px, low_px = words[at + HIGH_PX - OPEN_PX, PX], words[at + LOW_PX - OPEN_PX, PX]
    return bool(high_px >= max(open_px, close_px) and low_px <= min(open_px, close_px))


@jit_inside
def ticker_records(body: Any, words: Any, slots: Any, scale: Any) -> bool:
    """A record for each field that is stated; prices of one market are close to each other."""
    least = most = 0
    for slot in (RATE, NEXT, INTEREST, MARK, INDEX, LAST_PX):
        begin, end = slots[slot, 1], slots[slot, 2]
        if not slots[slot, 0] or begin == end or (slot == NEXT and end == begin + 1 and body[begin] == 48):
            continue  # a contract without funding states "0" as the time of its next one
        exponent = scale[QUANTITY_EXPONENT] if slot == INTEREST else scale[PRICE_EXPONENT]
        if slot == RATE:
            exponent = FUNDING_RATE_EXPONENT
        elif slot == NEXT:
            exponent = 0
        value = mantissa(body, begin, end, exponent)
        field = FUNDING_RATE
        if slot == RATE:
            if value == DECLINED or abs(value) > _LARGEST_RATE:
                return False
        elif slot == NEXT:
            field = NEXT_FUNDING
            if not 0 < value <= LAST_MILLISECOND:
                return False
            value *= MILLISECOND_NS
        elif slot == INTEREST:
            field = OPEN_INTEREST
            if not 0 <= value < LARGEST_MANTISSA:
                return False
        else:
            field = MARK_PRICE if slot == MARK else INDEX_PRICE
            if not 0 < value < LARGEST_PRICE_MANTISSA:
                return False
            least = value if least == 0 else min(least, value)
            most = max(most, value)
        if slot != LAST_PX and not write_record(words, slots, value, 0, TICKER | field << 8):
            return False
    if slots[COUNT, 1] == 0:
        write_record(words, slots, 0, 0, TICKER | NO_TICKER_FIELD << 8)
    return bool(most <= MOST_PRICES_APART * least)
