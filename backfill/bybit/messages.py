"""Messages made of history: what the exchange would have sent, in its words, and when it would have been known.

A record that never arrived live is received when its event ends plus AVAILABILITY_NS: no row may know it earlier.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

from backfill.bybit.archive import ArchivedTrade
from ingestion.messages import TimedMessage
from ingestion.pipeline.merged_ticker import RESTATED_NS
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS

MINUTE_MS: Final = MINUTE_NS // MILLISECOND_NS
AVAILABILITY_NS: Final[Mapping[str, int]] = {
    # A confirmed candle comes 0.1 to 1.0 s after its end.
    "klines": SECOND_NS,
    "ticker": SECOND_NS,
    "funding": SECOND_NS,
    "trades": 100 * MILLISECOND_NS,
    "orderbook": 100 * MILLISECOND_NS,
}
"""How long after the end of an event its record counts as received, by data type."""
LONGEST_FUNDING_MIN: Final = 8 * 60
MOST_TRADES: Final = 1024
"""Trades of one message, as in the exchange's stream."""


BOOK_LEVELS: Final = 200
"""Levels a side of a book that is asked for."""


class PresentBook(msgspec.Struct, frozen=True):
    """An order book: levels of price and size as text, best first, and the exchange's time of it, ms."""

    s: str
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    ts: int
    u: int
    seq: int


def kline_messages(symbol: str, rows: Iterable[Sequence[str]]) -> Iterator[TimedMessage]:
    """Confirmed candles of a minute; rows: start, open, high, low, close, volume, turnover, as text."""
    for row in rows:
        kline = _kline(row)
        yield _message(f"kline.1.{symbol}", "snapshot", kline["timestamp"], [kline], "klines")


def candles_message(symbol: str, rows: Iterable[Sequence[str]], *, at_ms: int) -> bytes:
    """The bytes of one message of several confirmed candles, said to be sent at ``at_ms``; rows as above."""
    return _body(f"kline.1.{symbol}", "snapshot", at_ms, [_kline(row) for row in rows])


def funding_messages(
    symbol: str, rows: Sequence[Sequence[str]], interval_min: int | None, *, start_ms: int, end_ms: int
) -> Iterator[TimedMessage]:
    """What a ticker says of funding in [start, end): after each settlement, and while it is in force; rows: time, rate.

    The rate is the settled one: the one that builds up for the next settlement was never kept. It is stated as often as
    the service restates a ticker, since rows look back for an hour alone, and until the next settlement is due.
    """
    lasts_ms = (LONGEST_FUNDING_MIN if interval_min is None else interval_min) * MINUTE_MS
    stated = {*range(start_ms, end_ms, RESTATED_NS // MILLISECOND_NS), *(int(at) for at, _ in rows)}
    settled = sorted((int(at), rate) for at, rate in rows)
    times = [at for at, _ in settled]
    for at_ms in sorted(at for at in stated if start_ms <= at < end_ms):
        index = bisect_right(times, at_ms) - 1
        if index < 0 or at_ms >= times[index] + lasts_ms:
            continue
        fields = {"symbol": symbol, "fundingRate": settled[index][1]}
        if interval_min is not None:
            fields["nextFundingTime"] = str(times[index] + lasts_ms)
        yield _message(f"tickers.{symbol}", "delta", at_ms, fields, "funding")


def book_message(book: PresentBook) -> TimedMessage:
    """The order book of a moment, as the stream begins with it."""
    content = {"s": book.s, "b": book.b, "a": book.a, "u": book.u, "seq": book.seq}
    return _message(f"orderbook.{BOOK_LEVELS}.{book.s}", "snapshot", book.ts, content, "orderbook")


def ticker_messages(
    symbol: str,
    *,
    marks: Iterable[Sequence[str]],
    indices: Iterable[Sequence[str]],
    interest: Iterable[Sequence[str]],
) -> Iterator[TimedMessage]:
    """Ticker fields as far as history has them: closes of the minutes of mark and index price, and open interest."""
    fields: dict[int, dict[str, str]] = {}
    for name, candles in (("markPrice", marks), ("indexPrice", indices)):
        for start, _, _, _, close, *_ in candles:
            fields.setdefault(int(start) + MINUTE_MS, {})[name] = close
    for at, quantity in interest:
        fields.setdefault(int(at), {})["openInterest"] = quantity
    for at_ms in sorted(fields):
        yield _message(f"tickers.{symbol}", "delta", at_ms, {"symbol": symbol, **fields[at_ms]}, "ticker")


def trade_messages(symbol: str, trades: Iterable[ArchivedTrade]) -> Iterator[TimedMessage]:
    """Trades in order of time, those of one millisecond together."""
    for at_ms, together in groupby(trades, lambda trade: trade.T):
        found = list(together)
        for first in range(0, len(found), MOST_TRADES):
            some = found[first : first + MOST_TRADES]
            yield _message(f"publicTrade.{symbol}", "snapshot", at_ms, some, "trades")


def _kline(row: Sequence[str]) -> dict[str, Any]:
    start, open_px, high, low, close, volume, turnover, *_ = row
    end_ms = int(start) + MINUTE_MS
    return {
        "start": int(start),
        "end": end_ms - 1,
        "interval": "1",
        "open": open_px,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "turnover": turnover,
        "confirm": True,
        "timestamp": end_ms,
    }


def _message(topic: str, kind: str, at_ms: int, content: object, data_type: str) -> TimedMessage:
    return TimedMessage(at_ms * MILLISECOND_NS + AVAILABILITY_NS[data_type], _body(topic, kind, at_ms, content))


def _body(topic: str, kind: str, at_ms: int, content: object) -> bytes:
    return msgspec.json.encode({"topic": topic, "type": kind, "ts": at_ms, "data": content})
