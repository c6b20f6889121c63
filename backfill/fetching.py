"""Fetching: a day of a data type as messages, from whichever source has it.

Candles, funding, open interest, mark and index prices come by REST, trades and order books from the archives. Where
history of trades begins, a START says that nothing is known before; where an order book ends before its day does, a
GAP says that it is unknown from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

from backfill.bybit.archive import orderbook_file, read_trades, trades_file
from backfill.bybit.messages import AVAILABILITY_NS, funding_messages, kline_messages, ticker_messages, trade_messages
from backfill.bybit.rest import BybitHistory
from ingestion.decoding.own import control_message
from ingestion.decoding.scales import Instruments
from ingestion.messages import RejectedLine, TimedMessage
from ingestion.sources.played.recordings import read_recording
from market.clock import DAY_NS, MILLISECOND_NS, SECOND_NS, Clock, parse_iso_ns
from market.errors import UnreadableRecording
from market.events import GAP, START

BOOK_STALE_NS: Final = 10 * SECOND_NS
"""An order book that is silent for longer than this before its day ends is unknown from there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where history comes from and goes to. trades, orderbook: folders or HTTP addresses of archives."""

    raw_folder: Path
    instruments: Instruments
    rest: BybitHistory
    trades: str
    orderbook: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class SymbolDay:
    """A UTC day of a data type of a symbol. day: YYYY-MM-DD."""

    symbol: str
    data_type: str
    day: str

    @property
    def day_ns(self) -> int:
        """When it begins."""
        return parse_iso_ns(self.day)

    @property
    def part(self) -> str:
        """The name of the part of raw Parquet that it becomes."""
        return f"backfill-{self.data_type}-{self.day}"

    def __str__(self) -> str:
        return f"{self.symbol} {self.data_type} of {self.day}"


@contextmanager
def fetched(place: Place, asked: SymbolDay, *, is_beginning: bool) -> Iterator[tuple[Iterator[TimedMessage], str]]:
    """The messages of a day, to be taken while the block lasts, and where they come from.

    is_beginning: whether history begins with it. Raises as the client and the archive do, also while they are taken.
    """
    rest, symbol, data_type, day = place.rest, asked.symbol, asked.data_type, asked.day
    start_ms = asked.day_ns // MILLISECOND_NS
    end_ms = start_ms + DAY_NS // MILLISECOND_NS
    if data_type == "klines":
        yield kline_messages(symbol, rest.klines(symbol, start_ms, end_ms)), f"{rest.url} kline"
    elif data_type == "funding":
        interval_min = rest.listing(symbol).funding_interval_min
        rows = rest.fundings(symbol, start_ms, end_ms)
        yield funding_messages(symbol, rows, interval_min), f"{rest.url} funding/history"
    elif data_type == "ticker":
        found = ticker_messages(
            symbol,
            marks=rest.mark_prices(symbol, start_ms, end_ms),
            indices=rest.index_prices(symbol, start_ms, end_ms),
            interest=rest.open_interest(symbol, start_ms, end_ms),
        )
        yield found, f"{rest.url} mark-price-kline, index-price-kline, open-interest"
    elif data_type == "trades":
        with trades_file(place.trades, symbol, day) as file:
            trades = trade_messages(symbol, read_trades(file.path, symbol))
            begin = [_beginning(symbol, asked.day_ns)] if is_beginning else []
            yield chain(begin, trades), file.source
    else:
        with orderbook_file(place.orderbook, symbol, day) as file:
            yield _book_messages(file.path, symbol, asked.day_ns + DAY_NS), file.source


def _beginning(symbol: str, day_ns: int) -> TimedMessage:
    reason = "history of trades begins here"
    return TimedMessage(day_ns, control_message(START, symbol=symbol, event_ns=day_ns, reason=reason))


def _book_messages(path: Path, symbol: str, day_end_ns: int) -> Iterator[TimedMessage]:
    recv_ns = None
    for line in read_recording(path):
        if isinstance(line, RejectedLine):
            raise UnreadableRecording(f"{path.name} line {line.line_number}: {line.reason}")
        recv_ns = line.recv_ns + AVAILABILITY_NS["orderbook"]
        yield replace(line, recv_ns=recv_ns)
    if recv_ns is not None and recv_ns < day_end_ns - BOOK_STALE_NS:
        body = control_message(GAP, symbol=symbol, event_ns=recv_ns, reason="the archive of the day ends here")
        yield TimedMessage(recv_ns, body)
