"""An hour of a market over midnight from which messages were taken away, and what was taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.events import (
    CONFIRMED,
    FIRST,
    KLINE,
    LAST,
    ORDERBOOK,
    SNAPSHOT,
    TICKER,
    TRADE,
    VOLUME,
    Events,
    empty_events,
)

BEGIN_NS: Final = parse_iso_ns("2026-03-01T23:30:00")
MINUTES: Final = 60
END_NS: Final = BEGIN_NS + MINUTES * MINUTE_NS
BOOK_STEP_NS: Final = 500 * MILLISECOND_NS
BOOKS: Final = (END_NS - BEGIN_NS) // BOOK_STEP_NS
TICKER_STEP_NS: Final = 10 * SECOND_NS
TICKERS: Final = (END_NS - BEGIN_NS) // TICKER_STEP_NS
TRADES_A_MINUTE: Final = 3


@dataclass
class Planted:
    """What is taken away: first and last of order book messages by number, minutes of candles and trades, tickers."""

    books: list[tuple[int, int]] = field(default_factory=list)
    candles: set[int] = field(default_factory=set)
    trades: set[int] = field(default_factory=set)
    tickers: list[tuple[int, int]] = field(default_factory=list)


def runs(random: Random, count: int, *, most: int, shortest: int, longest: int) -> list[tuple[int, int]]:
    """Stretches of whole numbers, first and last, that do not touch each other nor either end."""
    found, at = [], 1 + random.randrange(count // 3)
    for _ in range(random.randrange(most + 1)):
        last = at + random.randrange(shortest, longest) - 1
        if last >= count - 1:
            break
        found.append((at, last))
        at = last + 2 + random.randrange(count // 3)
    return found


def planted(random: Random) -> Planted:
    minutes = range(1, MINUTES - 1)
    return Planted(
        books=runs(random, BOOKS, most=4, shortest=1, longest=900),
        candles=set(random.sample(minutes, random.randrange(8))),
        trades=set(random.sample(minutes, random.randrange(8))),
        # A minute of pause is no hole yet.
        tickers=runs(random, TICKERS, most=3, shortest=6, longest=40),
    )


def heads(count: int, kind: int, recv_ns: npt.NDArray[np.int64] | int) -> Events:
    events = empty_events(count)
    events["kind"] = kind
    events["recv_ns"] = events["event_ns"] = recv_ns
    events["flags"] = FIRST | LAST
    return events


def market(taken: Planted, *, is_backfilled: bool = False) -> tuple[Events, Events]:
    """Order books, and the other kinds, of an hour over midnight from which this was taken away."""
    lost = {at for first, last in taken.books for at in range(first, last + 1)}
    numbers = np.array([at for at in range(BOOKS) if at not in lost])
    books = heads(len(numbers), ORDERBOOK, BEGIN_NS + numbers * BOOK_STEP_NS)
    books["update_id"] = 1000 + numbers
    books["flags"][0] |= SNAPSHOT

    minutes = np.arange(MINUTES)
    candles = heads(MINUTES, KLINE, BEGIN_NS + (minutes + 1) * MINUTE_NS + SECOND_NS)
    candles["update_id"] = BEGIN_NS + minutes * MINUTE_NS
    candles["field"] = VOLUME
    candles["flags"] |= CONFIRMED
    candles["px"] = 5 * TRADES_A_MINUTE
    candles = candles[~np.isin(minutes, list(taken.candles))]

    numbers = np.arange(MINUTES * TRADES_A_MINUTE)
    trades = heads(len(numbers), TRADE, BEGIN_NS + numbers * (MINUTE_NS // TRADES_A_MINUTE) + SECOND_NS)
    trades["px"], trades["qty"] = 100, 5
    # The middle one of a minute: no minute is silent.
    is_lost = np.isin(numbers // TRADES_A_MINUTE, list(taken.trades)) & (numbers % TRADES_A_MINUTE == 1)
    trades = trades[~is_lost]

    lost = {at for first, last in taken.tickers for at in range(first, last + 1)}
    numbers = np.array([at for at in range(TICKERS) if at not in lost])
    tickers = heads(len(numbers), TICKER, BEGIN_NS + numbers * TICKER_STEP_NS)

    others = np.concatenate([candles, trades, tickers])
    others = others[np.argsort(others["recv_ns"], kind="stable")]
    for events in (books, others):
        events["seq"] = np.arange(len(events)) - (1 << 40 if is_backfilled else 0)
    return books, others
