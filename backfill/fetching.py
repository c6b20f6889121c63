"""Fetching: a day of a data type as messages, from whichever source has it.

Candles, funding, open interest, mark and index prices come by REST, trades and order books from the archives; a candle
that the exchange does not have is made of the archive's trades. Where history of trades begins, a START says that
nothing is known before.

While the archives have no file of a day yet, the exchange returns its newest trades and current order book by REST: a
substitute, which the file takes the place of when it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from backfill.bybit.archive import Archive, read_trades
from backfill.bybit.messages import (
    LONGEST_FUNDING_MIN,
    MINUTE_MS,
    book_message,
    funding_messages,
    kline_messages,
    ticker_messages,
    trade_messages,
)
from backfill.bybit.rest import BybitHistory
from backfill.request import FROM_ARCHIVE
from backfill.traded_candles import lacking_minutes, traded_candles
from ingestion.decoding.own import control_message
from ingestion.decoding.scales import Instruments
from ingestion.messages import TimedMessage
from ingestion.venues.bybit.venue import BYBIT
from market.clock import DAY_NS, MILLISECOND_NS, SECOND_NS, Clock, floor_to, parse_iso_ns
from market.errors import NotFound
from market.events import GAP, START, TRADE
from market.markets import Market
from storage.places import Place as StoragePlace
from storage.raw.raw_data import RawData
from training_sets.engines.engine import Engine


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the records of a day go. market: of its symbols."""

    raw: RawData
    instruments: Instruments
    market: Market
    clock: Clock


@dataclass(frozen=True, slots=True)
class Place:
    """Where history comes from and goes to. trades, orderbook: folders or HTTP addresses of archives.

    parquet: where raw Parquet goes; None is the raw folder. raw: what there is. One for all days: it reads an entry of
    the manifest again only when that changed. engine: decodes archived days; None is who asks.
    """

    raw_folder: Path
    instruments: Instruments
    rest: BybitHistory
    trades: str
    orderbook: str
    clock: Clock
    parquet: StoragePlace | None = None
    engine: Engine | None = None
    raw: RawData = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", RawData(self.raw_folder, self.parquet))

    @property
    def destination(self) -> Destination:
        """Where it goes to."""
        return Destination(self.raw, self.instruments, Market(BYBIT.name, self.rest.category), self.clock)

    def address(self, data_type: str) -> str:
        """Of the archive of trades or order books."""
        return self.trades if data_type == "trades" else self.orderbook

    def archive(self, base: str) -> Archive:
        """An archive, asked as patiently as the exchange."""
        return Archive(base, self.rest.client.wait)


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
    def start_ms(self) -> int:
        """When it begins."""
        return self.day_ns // MILLISECOND_NS

    @property
    def end_ms(self) -> int:
        """When the next one begins."""
        return self.start_ms + DAY_NS // MILLISECOND_NS

    @property
    def before(self) -> SymbolDay:
        """The day before."""
        return replace(self, day=(date.fromisoformat(self.day) - timedelta(days=1)).isoformat())

    @property
    def part(self) -> str:
        """The name of the part of raw Parquet that it becomes."""
        return f"backfill-{self.data_type}-{self.day}"

    def __str__(self) -> str:
        return f"{self.symbol} {self.data_type} of {self.day}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """The messages of a day and where they come from. is_substitute: whether they are a substitute for an archive file.

    made: begins of the minutes, ns, whose candles are made of archived trades. compared: how those that the exchange
    states compare with the same trades, as JSON; None where no trades were read. book: an archive's order book, whose
    lines are the messages, in place of any other.
    """

    messages: Iterable[TimedMessage]
    source: str
    is_substitute: bool = False
    made: frozenset[int] = frozenset()
    compared: Mapping[str, Any] | None = None
    book: Path | None = None


@contextmanager
def fetched(
    place: Place,
    asked: SymbolDay,
    *,
    is_beginning: bool,
    takes_substitute: bool = True,
    held_minutes: frozenset[int] = frozenset(),
) -> Iterator[Fetched]:
    """The messages of a day, to be taken while the block lasts.

    held_minutes: begins of those, ns, whose candles need not be there. is_beginning: whether history begins with it.
    takes_substitute: False raises NotFound where there is no file of the day yet. Raises as the client and the archive
    do, also while messages are taken.
    """
    if asked.data_type == "klines":
        yield _candles(place, asked, held_minutes)
        return
    if asked.data_type not in FROM_ARCHIVE:
        yield _by_rest(place.rest, asked)
        return
    with ExitStack() as lent:
        try:
            found = archived(place.archive(place.address(asked.data_type)), asked, lent, is_beginning=is_beginning)
        except NotFound:
            substitute = _substitute(place, asked) if takes_substitute else None
            if substitute is None:
                raise
            found = substitute
        yield found


def _candles(place: Place, asked: SymbolDay, held_minutes: frozenset[int]) -> Fetched:
    """The exchange's candles, and of minutes that it has none of those that archived trades make."""
    rest, symbol, start_ms, end_ms = place.rest, asked.symbol, asked.start_ms, asked.end_ms
    rows = rest.klines(symbol, start_ms, end_ms)
    source = f"{rest.url} kline"
    is_over = place.clock.now_ns() >= asked.day_ns + DAY_NS
    if not rows or not is_over or not lacking_minutes(rows, start_ms, end_ms, held_minutes):
        return Fetched(kline_messages(symbol, rows), source)
    found = traded_candles(place.archive(place.trades), place.instruments, symbol, asked.day, rows)
    if found is None:
        return Fetched(kline_messages(symbol, rows), source)
    return Fetched(
        kline_messages(symbol, sorted([*rows, *found.rows], key=lambda row: int(row[0]))),
        f"{source}, {found.source}" if found.rows else source,
        made=frozenset(int(row[0]) * MILLISECOND_NS for row in found.rows),
        compared=found.compared,
    )


def _by_rest(rest: BybitHistory, asked: SymbolDay) -> Fetched:
    symbol, start_ms, end_ms = asked.symbol, asked.start_ms, asked.end_ms
    if asked.data_type == "funding":
        interval_min = rest.listing(symbol).funding_interval_min
        before_ms = (interval_min or LONGEST_FUNDING_MIN) * MINUTE_MS
        # One that was settled on the day before stands when this one begins.
        rows = rest.fundings(symbol, start_ms - before_ms, end_ms)
        messages = funding_messages(symbol, rows, interval_min, start_ms=start_ms, end_ms=end_ms)
        return Fetched(messages, f"{rest.url} funding/history")
    messages = ticker_messages(
        symbol,
        marks=rest.mark_prices(symbol, start_ms, end_ms),
        indices=rest.index_prices(symbol, start_ms, end_ms),
        interest=rest.open_interest(symbol, start_ms, end_ms),
    )
    return Fetched(messages, f"{rest.url} mark-price-kline, index-price-kline, open-interest")


def archived(archive: Archive, asked: SymbolDay, lent: ExitStack, *, is_beginning: bool) -> Fetched:
    """A day's messages from an archive's file, which is lent meanwhile. Raises NotFound, and as ``fetched``."""
    symbol, day = asked.symbol, asked.day
    if asked.data_type == "trades":
        file = lent.enter_context(archive.trades(symbol, day))
        begin = [_beginning(symbol, asked.day_ns)] if is_beginning else []
        return Fetched(chain(begin, trade_messages(symbol, read_trades(file.path, symbol))), file.source)
    file = lent.enter_context(archive.orderbook(symbol, day))
    return Fetched((), file.source, book=file.path)


def _substitute(place: Place, asked: SymbolDay) -> Fetched | None:
    """The exchange's current data if it is of this day, else None."""
    rest, symbol = place.rest, asked.symbol
    if place.clock.now_ns() >= asked.day_ns + 2 * DAY_NS:
        return None
    if asked.data_type == "trades":
        trades = [trade for trade in rest.recent_trades(symbol) if asked.start_ms <= trade.T < asked.end_ms]
        if not trades:
            return None
        messages = list(trade_messages(symbol, trades))
        begin = _beginning(symbol, messages[0].recv_ns)
        return Fetched([begin, *messages], f"{rest.url} recent-trade", is_substitute=True)
    book = rest.order_book(symbol)
    if not asked.start_ms <= book.ts < asked.end_ms:
        return None
    message = book_message(book)
    # One row knows it: what the book became afterwards is not known.
    end_ns = floor_to(message.recv_ns, SECOND_NS) + SECOND_NS
    body = control_message(GAP, symbol=symbol, event_ns=end_ns, reason="the order book of one moment")
    return Fetched([message, TimedMessage(end_ns, body)], f"{rest.url} orderbook", is_substitute=True)


def _beginning(symbol: str, at_ns: int) -> TimedMessage:
    reason = "history of trades begins here"
    return TimedMessage(at_ns, control_message(START, symbol=symbol, event_ns=at_ns, reason=reason, kind=TRADE))
