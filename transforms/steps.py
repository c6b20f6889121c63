"""The steps of every compiled kernel: bringing a record into the state, and the statuses and reasons of a row."""

from __future__ import annotations

from typing import Any

from market.clock import SECOND_NS
from market.events import CANDLE, CONTROL, HISTORY, KLINE, ORDERBOOK, POSITION, START, TICKER, TRADE
from transforms.bars import apply_bar_record
from transforms.candles import apply_kline_record
from transforms.jit import jit, jit_part
from transforms.order_book import BROKEN, NO_SNAPSHOT, VALID, apply_order_book_record, break_book, is_two_sided
from transforms.position import apply_position_record
from transforms.state import NOT_STARTED
from transforms.status import GAP, NO_DATA, OK, STALE, UNDEFINED, WARMUP
from transforms.ticker import apply_ticker_record, forget_ticker, is_ticker_known
from transforms.tiles import apply_trade_record, close_tile


@jit_part
def apply_records(st: Any, records: Any, applied: int, end_ns: int) -> int:
    """Bring the records after the first ``applied`` that fall before ``end_ns`` into the state; how many are in it."""
    while applied < records.shape[0] and records[applied].recv_ns < end_ns:
        apply_record(st, records[applied])
        applied += 1
    return applied


@jit
def apply_record(st: Any, record: Any) -> None:
    """Bring one record into the state; records come slot by slot, within a slot in tape order."""
    kind = record.kind
    if kind == ORDERBOOK:
        apply_order_book_record(st.book, st.sums, record)
    elif kind == TRADE:
        apply_trade_record(st.sums, record)
    elif kind == KLINE:
        apply_kline_record(st.candles, record)
    elif kind == TICKER:
        apply_ticker_record(st.ticker, record)
    elif kind == POSITION:
        apply_position_record(st.position, record)
    elif kind == CANDLE:
        apply_bar_record(st.bars, record)
    elif kind == CONTROL:
        if record.field == START:
            start_again(st, record.px, record.recv_ns)
        elif record.field == HISTORY:
            start_earlier(st, record.px, record.update_id)
        else:
            break_book(st.book, record.recv_ns)
    st.last_seen_ns[kind] = record.recv_ns


@jit
def start_again(st: Any, kind: int, recv_ns: int) -> None:
    """Begin the history of one kind again, of every kind for CONTROL: messages before this moment may be missing."""
    for source in range(len(st.start_ns)):
        if kind in (CONTROL, source):
            st.start_ns[source] = recv_ns
    if kind in (CONTROL, TICKER):
        forget_ticker(st.ticker)


@jit
def start_earlier(st: Any, kind: int, since_ns: int) -> None:
    """Begin the history of one kind at ``since_ns`` already: what came before was asked for, and told."""
    st.start_ns[kind] = min(st.start_ns[kind], since_ns)


@jit
def start(st: Any, start_ns: int) -> None:
    """Begin the history of every source at ``start_ns``; the first tile is the first of the second it falls in."""
    if st.next_end_ns == NOT_STARTED:
        st.begin_ns = start_ns
        st.next_end_ns = start_ns // SECOND_NS * SECOND_NS + st.tile_ns
        for source in range(len(st.start_ns)):
            st.start_ns[source] = start_ns


@jit
def begin(state: Any, start_ns: int) -> None:
    """Begin the history of every source at ``start_ns``, unless it has begun."""
    start(state[0], start_ns)


@jit_part
def end_tile(st: Any) -> None:
    """Write down what is so at the end of the open tile."""
    # At whole seconds alone: the mark of a break must not depend on the grid.
    if st.book.validity == BROKEN and st.next_end_ns % SECOND_NS == 0:
        st.book.broken_ns = st.next_end_ns
    close_tile(st, st.next_end_ns)


@jit
def begin_tile(st: Any) -> None:
    """Open the tile after the one that was open."""
    st.next_end_ns += st.tile_ns


@jit
def history_reason(st: Any, row_ns: int, kind: int, warm_up_ns: int) -> int:
    """Why a feature of a source may not be computed yet: WARMUP or OK."""
    return WARMUP if row_ns - st.start_ns[kind] < warm_up_ns else OK


@jit
def trade_reason(st: Any, row_ns: int, horizon_ns: int, warm_up_ns: int) -> int:
    """Why a feature of trades may not be computed: NO_DATA when none came within the group's horizon, WARMUP or OK.

    A sum over no trades is 0 as long as others show that trades arrive.
    """
    if st.last_seen_ns[TRADE] == 0 or row_ns - st.last_seen_ns[TRADE] > horizon_ns:
        return NO_DATA
    return history_reason(st, row_ns, TRADE, warm_up_ns)


@jit
def book_reason(st: Any, row_ns: int, warm_up_ns: int) -> int:
    """Why a feature of the order book may not be computed: NO_DATA, GAP, WARMUP or OK; UNDEFINED for an empty side."""
    if st.book.validity == NO_SNAPSHOT:
        return NO_DATA
    if st.book.validity == BROKEN:
        return GAP
    if not is_two_sided(st.book):
        return UNDEFINED
    return history_reason(st, row_ns, ORDERBOOK, warm_up_ns)


@jit
def unknown_book_window(st: Any, row_ns: int, horizon_ns: int) -> int:
    """Why a window over a now valid book has no value: a gap within it, or no value at all."""
    return GAP if st.book.broken_ns > row_ns - horizon_ns else UNDEFINED


@jit
def candle_reason(st: Any, row_ns: int, count: int, warm_up_ns: int) -> int:
    """Why a feature over ``count`` candles may not be computed: NO_DATA, WARMUP, STALE, GAP or OK."""
    if st.last_seen_ns[KLINE] == 0 or row_ns - st.last_seen_ns[KLINE] > warm_up_ns:
        return NO_DATA
    if row_ns - st.start_ns[KLINE] < warm_up_ns:
        return WARMUP
    if st.candles.known >= count:
        return OK
    return STALE if st.candles.known == 0 else GAP


@jit
def bar_reason(st: Any, row_ns: int, at: int, count: int, warm_up_ns: int) -> int:
    """Why a feature over ``count`` bars of an interval may not be computed: NO_DATA, WARMUP, STALE, GAP or OK."""
    if st.bars.last_seen_ns[at] == 0 or row_ns - st.bars.last_seen_ns[at] > warm_up_ns:
        return NO_DATA
    if row_ns - st.start_ns[CANDLE] < warm_up_ns:
        return WARMUP
    if st.bars.known[at] >= count:
        return OK
    return STALE if st.bars.known[at] == 0 else GAP


@jit
def bar_status(st: Any, row_ns: int, at: int, horizon_ns: int, warm_up_ns: int, stale_after_ns: int) -> int:
    """Status of a group that reads the bars of an interval."""
    silence_ns = row_ns - st.bars.last_seen_ns[at]
    if st.bars.last_seen_ns[at] == 0 or silence_ns > horizon_ns:
        return NO_DATA
    if silence_ns > stale_after_ns:
        return STALE
    return WARMUP if row_ns - st.start_ns[CANDLE] < warm_up_ns else OK


@jit
def source_status(st: Any, row_ns: int, kind: int, horizon_ns: int, warm_up_ns: int, stale_after_ns: int) -> int:
    """Status of a group that reads trades, klines or positions, and what that of tickers begins with."""
    silence_ns = row_ns - st.last_seen_ns[kind]
    if st.last_seen_ns[kind] == 0 or silence_ns > horizon_ns:
        return NO_DATA
    if silence_ns > stale_after_ns:
        return STALE
    if row_ns - st.start_ns[kind] < warm_up_ns:
        return WARMUP
    return OK


@jit
def book_status(st: Any, row_ns: int, warm_up_ns: int, stale_after_ns: int) -> int:
    """Status of a group that reads the order book; NO_DATA also while a side has no level."""
    if st.book.validity != VALID:
        return GAP if st.book.validity == BROKEN else NO_DATA
    if not is_two_sided(st.book):
        return NO_DATA
    if row_ns - st.last_seen_ns[ORDERBOOK] > stale_after_ns:
        return STALE
    if row_ns - st.start_ns[ORDERBOOK] < warm_up_ns:
        return WARMUP
    return OK


@jit
def ticker_status(st: Any, row_ns: int, horizon_ns: int, warm_up_ns: int, stale_after_ns: int) -> int:
    """Status of a group that reads tickers; OK only where every field is known."""
    status = source_status(st, row_ns, TICKER, horizon_ns, warm_up_ns, stale_after_ns)
    return NO_DATA if status == OK and not is_ticker_known(st.ticker, row_ns) else status


@jit
def unknown_ticker(st: Any, row_ns: int) -> int:
    """Why a feature of the ticker has no value: a field is not known, or the formula has none."""
    return UNDEFINED if is_ticker_known(st.ticker, row_ns) else NO_DATA


@jit
def normalised_reason(st: Any, row_ns: int, value: float, source_reason: int, warm_up_ns: int) -> int:
    """Why a normalised column has no value: that of its feature, WARMUP, UNDEFINED or OK."""
    if source_reason != OK:
        return source_reason
    if row_ns - st.start_ns[CONTROL] < warm_up_ns:
        return WARMUP
    return OK if value == value else UNDEFINED  # noqa: PLR0124  # NaN is not equal to itself


@jit
def worst_status(status: Any, count: int) -> int:
    """The worst of the first ``count`` statuses, which are numbered from good to bad."""
    worst = OK
    for index in range(count):
        worst = max(worst, status[index])
    return worst
