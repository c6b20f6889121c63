"""Markets from a seed: dense minutes of every source, and contiguous candles of every shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, floor_to
from market.events import (
    ENTRY_PRICE,
    FUNDING_RATE,
    INDEX_PRICE,
    MARK_PRICE,
    NEXT_FUNDING,
    OPEN_INTEREST,
    POSITION_SIZE,
    REALIZED_PNL,
    UNREALIZED_PNL,
    Events,
)
from tests.laws.messages import (
    MID_PX,
    MIDNIGHT_NS,
    CandleShape,
    book_message,
    kline_message,
    position_message,
    tape,
    ticker_message,
    trade_message,
)

MOVES: Final = (-60, -20, -5, -1, 0, 1, 5, 20, 60)
SHADOWS: Final = (0, 0, 1, 5, 20, 60)
WARM_NS: Final = MIDNIGHT_NS + DAY_NS + HOUR_NS + 30 * SECOND_NS
"""A row time of ``warm_market`` at which every window is full."""


def candle_values(random: np.random.Generator) -> Iterator[CandleShape]:
    """Candles without end: small moves, so that neighbours overlap, engulf and enclose one another."""
    close = MID_PX
    while True:
        close += int(random.choice(MOVES))
        yield {
            "close": close,
            "body": int(random.choice(MOVES)),
            "upper": int(random.choice(SHADOWS)),
            "lower": int(random.choice(SHADOWS)),
            "volume": int(random.integers(0, 30)),
        }


def candle_tape(*, seed: int, count: int) -> Events:
    """``count`` contiguous candles from midnight, each received one second after its end."""
    values = candle_values(np.random.default_rng(seed))
    starts = range(MIDNIGHT_NS, MIDNIGHT_NS + count * MINUTE_NS, MINUTE_NS)
    return tape(
        [
            kline_message(start_ns + MINUTE_NS + SECOND_NS, start_ns, **shape)
            for start_ns, shape in zip(starts, values, strict=False)
        ]
    )


def bar_tape(*, seed: int, minutes: int, until_ns: int) -> Events:
    """Contiguous bars of an interval for a day and an hour before ``until_ns``, each a second after its end."""
    values = candle_values(np.random.default_rng(seed))
    interval_ns = minutes * MINUTE_NS
    starts = range(floor_to(until_ns - DAY_NS - HOUR_NS, interval_ns), until_ns - interval_ns, interval_ns)
    return tape(
        [
            kline_message(start_ns + interval_ns + SECOND_NS, start_ns, **shape, minutes=minutes)
            for start_ns, shape in zip(starts, values, strict=False)
        ]
    )


def dense_market(*, seed: int, messages: int, seconds: int, start_ns: int = MIDNIGHT_NS) -> Events:
    """A book, and at random times within ``seconds`` its changes, trades, tickers and positions."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, seconds * SECOND_NS, messages)) + start_ns
    px = MID_PX
    bids = [(px - 1 - i, 5 + i) for i in range(30)]
    asks = [(px + 1 + i, 4 + i) for i in range(30)]
    written = [
        book_message(start_ns, 2, bids=bids, asks=asks, is_snapshot=True),
        ticker_message(start_ns, _ticker(random, start_ns)),
        position_message(start_ns, _position(random)),
    ]
    update_id = 2
    for recv_ns in times.tolist():
        choice = random.integers(20)
        if choice < 14:
            update_id += 1
            bids = [(px - int(random.integers(1, 40)), max(int(random.integers(-300, 900)), 0)) for _ in range(5)]
            asks = [(px + int(random.integers(1, 40)), max(int(random.integers(-300, 900)), 0)) for _ in range(5)]
            written.append(book_message(recv_ns, update_id, bids=bids, asks=asks))
        elif choice < 18:
            written.append(trade_message(recv_ns, (int(random.integers(2)), px, int(random.integers(1, 9_999)))))
        elif choice == 18:
            written.append(ticker_message(recv_ns, _ticker(random, recv_ns)))
        else:
            written.append(position_message(recv_ns, _position(random)))
    return tape(written)


def warm_market() -> Events:
    """A day and an hour of candles and bars, its last minutes a dense market that goes on past WARM_NS."""
    candles = candle_tape(seed=7, count=25 * 60 + 2)
    market = dense_market(seed=4, messages=3_000, seconds=8 * 60, start_ns=WARM_NS - 6 * MINUTE_NS)
    pieces = [candles, market, *(bar_tape(seed=at, minutes=at, until_ns=WARM_NS) for at in (5, 15, 60))]
    for piece, begun in zip(pieces, np.cumsum([0, *map(len, pieces)]).tolist(), strict=False):
        piece["seq"] += begun
    every = np.concatenate(pieces)
    return every[np.argsort(every["recv_ns"], kind="stable")]


def _ticker(random: np.random.Generator, recv_ns: int) -> dict[int, int]:
    return {
        FUNDING_RATE: int(random.integers(-(10**9), 10**9)),
        NEXT_FUNDING: recv_ns + HOUR_NS,
        OPEN_INTEREST: int(random.integers(1, 10**9)),
        MARK_PRICE: MID_PX + int(random.integers(-50, 50)),
        INDEX_PRICE: MID_PX + int(random.integers(-50, 50)),
    }


def _position(random: np.random.Generator) -> dict[int, int]:
    return {
        POSITION_SIZE: int(random.integers(-3, 4)) * 10**8,
        UNREALIZED_PNL: int(random.integers(-(10**12), 10**12)),
        REALIZED_PNL: int(random.integers(-(10**12), 10**12)),
        ENTRY_PRICE: int(random.integers(990, 1_010)) * 10**9,
    }
