"""Elements: the book, trades or candles of one message as event records; tickers are in their own module."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.books import book_records
from ingestion.decoding.elements import Element, Scale, fitting, parse
from ingestion.decoding.wire import read_json
from ingestion.venues.bybit.sequence import book_place
from ingestion.venues.bybit.topics import depth_of
from ingestion.venues.bybit.wire import Book, BookType, Kline, Named, Trade
from market.clock import MILLISECOND_NS
from market.errors import MalformedMessage
from market.events import BUY, CONFIRMED, KLINE, KLINE_FIELD_COUNT, SELL, TRADE, Events, empty_events
from market.instruments import Instrument

_BOOK = JsonDecoder(Book)
_TRADE = JsonDecoder(Trade)
_TRADES = JsonDecoder(list[Trade])
_KLINE = JsonDecoder(Kline)
_KLINES = JsonDecoder(list[Kline])


@dataclass(frozen=True, slots=True)
class Source:
    """The element a message carries, with its envelope."""

    topic: str
    data: Raw
    event_ns: int
    type: BookType | UnsetType = UNSET
    is_envelope: bool = False
    received_ns: int | None = None
    trace_id: str | None = None
    event_id: str | None = None


def named_symbol(named: Named) -> str | None:
    """The symbol that an element names itself."""
    if named.symbol is not UNSET:
        return named.symbol
    return None if named.s is UNSET else named.s


def open_book(source: Source) -> Element:
    """Raises MalformedMessage."""
    book = read_json(_BOOK, source.data, source.topic)
    book_type = book.type if source.is_envelope else source.type
    if book_type is UNSET:
        raise MalformedMessage(f"{source.topic} type: must be snapshot or delta, was absent")
    levels = book.b or book.a
    place = book_place(book_type, book.u, seq=None if book.seq is UNSET else book.seq, depth=depth_of(source.topic))
    is_snapshot = book_type == "snapshot"
    return Element(
        named_symbol(book),
        levels[0][0] if levels else None,
        partial(book_records, book.b, book.a, place, event_ns=source.event_ns, is_snapshot=is_snapshot),
        book=place,
        has_numbers=len(levels) > 0,
    )


def open_trades(source: Source) -> Element:
    """Raises MalformedMessage."""
    if source.is_envelope:
        trades = [read_json(_TRADE, source.data, source.topic)]
    else:
        trades = read_json(_TRADES, source.data, source.topic)
    _check_one_symbol(source.topic, trades)
    trade_ids = tuple(None if trade.i is UNSET else trade.i for trade in trades)
    return Element(named_symbol(trades[0]), trades[0].p, partial(_trade_records, trades), trade_ids)


def _trade_records(trades: list[Trade], scale: Scale) -> Events:
    records = empty_events(len(trades))
    records["event_ns"] = [trade.T * MILLISECOND_NS for trade in trades]
    records["px"] = [scale.price(trade.p) for trade in trades]
    records["qty"] = [scale.quantity(trade.v) for trade in trades]
    records["kind"] = TRADE
    records["field"] = [BUY if trade.S == "Buy" else SELL for trade in trades]
    if not records["qty"].all():
        raise MalformedMessage(f"{scale.instrument.symbol} trade size: must be positive, was 0")
    return records


def open_klines(source: Source) -> Element:
    """Raises MalformedMessage."""
    if source.is_envelope:
        klines = [read_json(_KLINE, source.data, source.topic)]
    else:
        klines = read_json(_KLINES, source.data, source.topic)
    _check_one_symbol(source.topic, klines)
    return Element(named_symbol(klines[0]), klines[0].open, partial(_kline_records, klines))


def _kline_records(klines: list[Kline], scale: Scale) -> Events:
    records = empty_events(len(klines) * KLINE_FIELD_COUNT)
    rows = records.reshape(len(klines), KLINE_FIELD_COUNT)
    rows["kind"] = KLINE
    rows["field"] = range(KLINE_FIELD_COUNT)
    for row, kline in zip(rows, klines, strict=True):
        row["px"] = _kline_values(kline, scale.instrument)
        row["event_ns"] = kline.timestamp * MILLISECOND_NS
        row["update_id"] = kline.start * MILLISECOND_NS
        row["flags"] = CONFIRMED if kline.confirm else 0
    return records


def _kline_values(kline: Kline, instrument: Instrument) -> tuple[int, int, int, int, int, int]:
    open_px = parse(instrument.price, kline.open, "open")
    high_px = parse(instrument.price, kline.high, "high")
    low_px = parse(instrument.price, kline.low, "low")
    close_px = parse(instrument.price, kline.close, "close")
    if high_px < max(open_px, close_px) or low_px > min(open_px, close_px):
        raise MalformedMessage(
            f"{instrument.symbol} kline: low and high must enclose open and close, was "
            f"open {kline.open} high {kline.high} low {kline.low} close {kline.close}"
        )
    volume = parse(instrument.quantity, kline.volume, "volume")
    turnover = fitting(instrument.turnover, kline.turnover, "turnover")
    return open_px, high_px, low_px, close_px, volume, turnover


def _check_one_symbol(topic: str, elements: list[Trade] | list[Kline]) -> None:
    if not elements:
        raise MalformedMessage(f"{topic} data: must hold at least one element, was empty")
    names = {(element.symbol, element.s) for element in elements}
    if len(names) > 1:
        raise MalformedMessage(f"{topic} data: must be of one symbol, was of {len(names)}")
