"""Streams and tables from a seed, on which features are tried: with silence, gaps, restatements and late rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from market.events import (
    ASK,
    BID,
    BUY,
    CANDLE,
    CLOSE,
    CONFIRMED,
    CONTROL,
    ENTRY_PRICE,
    FUNDING_RATE,
    GAP,
    HIGH,
    INDEX_PRICE,
    KLINE,
    LOW,
    MARK_PRICE,
    NEXT_FUNDING,
    OPEN,
    OPEN_INTEREST,
    ORDERBOOK,
    POSITION,
    POSITION_SIZE,
    REALIZED_PNL,
    SELL,
    SNAPSHOT,
    TICKER,
    TRADE,
    TURNOVER,
    UNREALIZED_PNL,
    VOLUME,
    Events,
    empty_events,
    mark_message,
)
from market.instruments import Instrument
from transforms.known_rows import KnownRows
from transforms.table_group import TableGroup, Tables

INSTRUMENT: Final = Instrument("BTCUSDT", 2, 3)
_START_NS: Final = 1_733_011_200 * SECOND_NS
_MID_PX: Final = 100_000
Records = Sequence[tuple[int, int, int]]


def generated_stream(seed: int, *, minutes: int, candle_minutes: int = 0, bar_minutes: Collection[int] = ()) -> Events:
    """Every source for some minutes, after candles alone; now and then nothing is traded, or the book is lost.

    bar_minutes: intervals of which there are bars too, some confirmed before their end.
    """
    random = np.random.default_rng(seed)
    begin_ns = _START_NS + candle_minutes * MINUTE_NS
    end_ns = begin_ns + minutes * MINUTE_NS
    messages = [_candle(random, start_ns) for start_ns in range(_START_NS, end_ns, MINUTE_NS)]
    for of_bar in bar_minutes:
        draws = np.random.default_rng([seed, of_bar])
        messages += [_candle(draws, at, minutes=of_bar) for at in range(_START_NS, end_ns, of_bar * MINUTE_NS)]
    messages += _book(random, begin_ns, end_ns)
    at_ns = begin_ns
    while at_ns < end_ns:
        at_ns += int(
            random.choice([1, 40_000_000, SECOND_NS, 2 * SECOND_NS, 25 * SECOND_NS], p=[0.1, 0.4, 0.3, 0.1, 0.1])
        )
        trades = [
            (int(random.choice([BUY, SELL])), _MID_PX + int(random.integers(-9, 10)), int(random.integers(1, 9_999)))
            for _ in range(int(random.integers(1, 4)))
        ]
        messages.append(_message(TRADE, at_ns, trades))
    for at_ns in range(begin_ns, end_ns, 3 * SECOND_NS):
        messages.append(_message(TICKER, at_ns + int(random.integers(SECOND_NS)), _ticker(random, at_ns)))
    for at_ns in range(begin_ns, end_ns, 20 * SECOND_NS):
        messages.append(_message(POSITION, at_ns + int(random.integers(SECOND_NS)), _position(random)))
    messages.sort(key=lambda message: int(message["recv_ns"][0]))
    stream = np.concatenate(messages)
    stream["seq"] = np.repeat(np.arange(len(messages)), [len(message) for message in messages])
    return stream


def generated_tables(group: TableGroup, seed: int, *, days: int, keys: int = 4) -> Tables:
    """Rows of every column that the group sees: a row a day, some left out, late or restated; a key that ends early."""
    random = np.random.default_rng(seed)
    windows = [window for each in group.features for window in each.sees.values()]
    tables: dict[str, dict[str, KnownRows]] = {}
    for table in group.tables:
        columns = {window.column for window in windows if window.table == table} - {"event_ns"}
        columns |= {
            name for each in group.sections for name in each.sees if name not in {f.name for f in group.features}
        }
        of_all = {window.key for window in windows if window.table == table and window.key}
        names = sorted(of_all) if of_all else [f"K{at}" for at in range(keys)]
        tables[table] = {
            name: _drawn_rows(random, sorted(columns), days // 2 if at == 3 else days) for at, name in enumerate(names)
        }
    return tables


def _drawn_rows(random: np.random.Generator, columns: Sequence[str], days: int) -> KnownRows:
    event = np.flatnonzero(random.random(days) > 0.03)
    again = random.choice(event, max(1, len(event) // 20))
    event = np.concatenate([event, again]).astype(np.int64)
    late = random.choice([0, 0, 0, 0, 1, 4], len(event))
    late[-len(again) :] += random.integers(1, 9, len(again))
    level = 100.0 * np.exp(np.cumsum(random.normal(0, 0.02, days)))[event]
    held = {name: level * random.uniform(0.9, 1.1, len(event)) for name in columns}
    for name, values in {
        "split_ratio": random.choice([1.0, 1.0, 1.0, 2.0], len(event)),
        "dividend": random.choice([0.0, 0.0, 0.0, 0.3], len(event)),
        "sentiment": random.uniform(-1, 1, len(event)),
        "relevance": random.choice([0.0, 0.5, 1.0], len(event)),
        "rating": random.integers(1, 6, len(event)).astype(float),
        "high": level * 1.12,
        "low": level * 0.88,
    }.items():
        if name in held:
            held[name] = values
    start_ns = _START_NS
    return KnownRows(start_ns + event * DAY_NS, start_ns + (event + late) * DAY_NS + 16 * HOUR_NS, held)


def _message(kind: int, recv_ns: int, records: Records, *, update_id: int = 0, flags: int = 0) -> Events:
    events = empty_events(len(records))
    events["kind"], events["recv_ns"], events["event_ns"] = kind, recv_ns, recv_ns
    events["update_id"], events["flags"] = update_id, flags
    for at, (field, px, qty) in enumerate(records):
        events[at]["field"], events[at]["px"], events[at]["qty"] = field, px, qty
    return mark_message(events)


def _book(random: np.random.Generator, begin_ns: int, end_ns: int) -> list[Events]:
    messages = []
    update_id, at_ns, is_lost = 1, begin_ns, True
    while at_ns < end_ns:
        update_id += 1
        levels = 30 if is_lost else 4
        bids = [(BID, _MID_PX - 1 - int(random.integers(30)), int(random.integers(1, 900))) for _ in range(levels)]
        asks = [(ASK, _MID_PX + 1 + int(random.integers(30)), int(random.integers(1, 900))) for _ in range(levels)]
        flags = SNAPSHOT if is_lost else 0
        messages.append(_message(ORDERBOOK, at_ns, _once([*bids, *asks]), update_id=update_id, flags=flags))
        is_lost = bool(random.random() < 0.002)
        if is_lost:
            messages.append(_message(CONTROL, at_ns + 1, [(GAP, 0, 0)]))
            at_ns += 4 * SECOND_NS
        at_ns += int(random.choice([0, 1, 100_000_000, 100_000_000, 250_000_000]))
    return messages


def _once(levels: Records) -> Records:
    """A message says of a price one thing."""
    return list({(side, px): (side, px, qty) for side, px, qty in levels}.values())


def _candle(random: np.random.Generator, start_ns: int, *, minutes: int = 1) -> Events:
    opened, close = (_MID_PX + int(random.integers(-60, 60)) for _ in range(2))
    volume = int(random.integers(0, 30))
    values = {
        OPEN: opened,
        HIGH: max(opened, close) + int(random.integers(0, 20)),
        LOW: min(opened, close) - int(random.integers(0, 20)),
        CLOSE: close,
        VOLUME: volume,
        TURNOVER: close * volume,
    }
    end_ns = start_ns + minutes * MINUTE_NS
    if minutes == 1:
        records = [(field, value, 0) for field, value in values.items()]
        return _message(KLINE, end_ns + SECOND_NS, records, update_id=start_ns, flags=CONFIRMED)
    late_ns = int(random.choice([-1_500_000_000, -1, 0, 1, SECOND_NS]))
    records = [(field, value, minutes) for field, value in values.items()]
    return _message(CANDLE, end_ns + late_ns, records, update_id=start_ns, flags=CONFIRMED)


def _ticker(random: np.random.Generator, recv_ns: int) -> Records:
    values = {
        FUNDING_RATE: int(random.integers(-(10**9), 10**9)),
        NEXT_FUNDING: recv_ns + HOUR_NS,
        OPEN_INTEREST: int(random.integers(1, 10**9)),
        MARK_PRICE: _MID_PX + int(random.integers(-50, 50)),
        INDEX_PRICE: _MID_PX + int(random.integers(-50, 50)),
    }
    return [(field, value, 0) for field, value in values.items()]


def _position(random: np.random.Generator) -> Records:
    values = {
        POSITION_SIZE: int(random.integers(-3, 4)) * 10**8,
        UNREALIZED_PNL: int(random.integers(-(10**12), 10**12)),
        REALIZED_PNL: int(random.integers(-(10**12), 10**12)),
        ENTRY_PRICE: int(random.integers(990, 1_010)) * 10**9,
    }
    return [(field, value, 0) for field, value in values.items()]
