"""Messages for the laws, built field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

import numpy as np

from market.clock import SECOND_NS
from market.events import (
    ASK,
    BID,
    CANDLE,
    CLOSE,
    CONFIRMED,
    CONTROL,
    HIGH,
    HISTORY,
    KLINE,
    LOW,
    NO_LEVEL,
    NO_TICKER_FIELD,
    OPEN,
    ORDERBOOK,
    POSITION,
    SNAPSHOT,
    TICKER,
    TRADE,
    TURNOVER,
    VOLUME,
    Events,
    empty_events,
    mark_message,
)
from market.instruments import Instrument

INSTRUMENT: Final = Instrument("BTCUSDT", 2, 3)
MIDNIGHT_NS: Final = 1_733_011_200 * SECOND_NS
MID_PX: Final = 100_000

Levels = Sequence[tuple[int, int]]


class CandleShape(TypedDict):
    """What ``kline_message`` makes a candle of."""

    close: int
    body: int
    upper: int
    lower: int
    volume: int


def message(
    kind: int,
    recv_ns: int,
    records: Sequence[tuple[int, int, int]],
    *,
    update_id: int = 0,
    flags: int = 0,
    event_ns: int | None = None,
) -> Events:
    """One message; records are (field, px, qty)."""
    events = empty_events(len(records))
    events["kind"] = kind
    events["recv_ns"] = recv_ns
    events["event_ns"] = recv_ns if event_ns is None else event_ns
    events["update_id"] = update_id
    events["flags"] = flags
    for i, (field, px, qty) in enumerate(records):
        events[i]["field"], events[i]["px"], events[i]["qty"] = field, px, qty
    return mark_message(events)


def book_message(
    recv_ns: int, update_id: int, *, bids: Levels = (), asks: Levels = (), is_snapshot: bool = False
) -> Events:
    """A snapshot or delta of the order book; levels are (px, qty)."""
    records = [(BID, px, qty) for px, qty in bids] + [(ASK, px, qty) for px, qty in asks]
    return message(
        ORDERBOOK,
        recv_ns,
        records or [(NO_LEVEL, 0, 0)],
        update_id=update_id,
        flags=SNAPSHOT if is_snapshot else 0,
    )


def trade_message(recv_ns: int, *trades: tuple[int, int, int]) -> Events:
    """Trades of one message, each (taker's side, px, qty)."""
    return message(TRADE, recv_ns, trades)


def kline_message(
    recv_ns: int,
    start_ns: int,
    close: int,
    *,
    body: int = 1,
    upper: int = 3,
    lower: int = 2,
    volume: int = 7,
    is_confirmed: bool = True,
    minutes: int = 1,
) -> Events:
    """A candle by its close, what it rose over its open, and its shadows; of more minutes than one a bar."""
    opened = close - body
    high, low = max(opened, close) + upper, min(opened, close) - lower
    values = {
        OPEN: opened,
        HIGH: high,
        LOW: low,
        CLOSE: close,
        VOLUME: volume,
        TURNOVER: min(close * volume, 2**62 - 1),
    }
    return message(
        KLINE if minutes == 1 else CANDLE,
        recv_ns,
        [(field, value, 0 if minutes == 1 else minutes) for field, value in values.items()],
        update_id=start_ns,
        flags=CONFIRMED if is_confirmed else 0,
    )


def ticker_message(recv_ns: int, fields: Mapping[int, int]) -> Events:
    """A ticker's fields, any subset of them."""
    records = [(field, value, 0) for field, value in fields.items()]
    return message(TICKER, recv_ns, records or [(NO_TICKER_FIELD, 0, 0)])


def position_message(recv_ns: int, fields: Mapping[int, int]) -> Events:
    """A position's fields, any subset of them but none."""
    return message(POSITION, recv_ns, [(field, value, 0) for field, value in fields.items()])


def control_message(recv_ns: int, field: int) -> Events:
    """START or GAP."""
    return message(CONTROL, recv_ns, [(field, 0, 0)])


def history_message(recv_ns: int, since_ns: int) -> Events:
    """The candles since then are told."""
    records = message(CONTROL, recv_ns, [(HISTORY, KLINE, 0)])
    records["update_id"] = since_ns
    return records


def tape(messages: Sequence[Events]) -> Events:
    """The messages in order of arrival, with their ``seq``."""
    events = np.concatenate(messages) if messages else empty_events()
    events["seq"] = np.repeat(np.arange(len(messages)), [len(records) for records in messages])
    return events
