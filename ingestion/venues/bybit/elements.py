"""Elements: the book, trades or candles of one message as event records; tickers stand beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder as JsonDecoder

from ingestion.venues.bybit.wire import Book, BookType, Kline, Named, Trade, read_json
from market.clock import MILLISECOND_NS
from market.errors import MalformedMessage, ScaleExceeded
from market.events import (
    ASK,
    BUY,
    CONFIRMED,
    KLINE,
    KLINE_FIELD_COUNT,
    NO_LEVEL,
    ORDERBOOK,
    SELL,
    SNAPSHOT,
    TRADE,
    UNKNOWN,
    Events,
    empty_events,
)
from market.instruments import Instrument

# Texts recur: 99 % of prices and 93 % of sizes of a real book were among the last 4,096 (1.2 µs a level became 0.3).
_REMEMBERED_TEXTS = 4096

_BOOK = JsonDecoder(Book)
_TRADE = JsonDecoder(Trade)
_TRADES = JsonDecoder(list[Trade])
_KLINE = JsonDecoder(Kline)
_KLINES = JsonDecoder(list[Kline])


@dataclass(frozen=True, slots=True)
class Source:
    """The element a message carries, with what stands around it."""

    topic: str
    data: Raw
    event_ns: int
    type: BookType | UnsetType = UNSET
    is_envelope: bool = False
    received_ns: int | None = None
    trace_id: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """An instrument whose conversions remember the texts they met last, in bounded memory."""

    instrument: Instrument
    price: Callable[[str], int]
    quantity: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Element:
    """A read element: its symbol, the text that may pin the scale, and the way to its records."""

    named: Named
    first_price: str | None
    to_records: Callable[[Scale], Events]
    trade_ids: tuple[str | None, ...] = ()
    book_seq: int | None = None
    has_numbers: bool = True
    """Whether there is any number that a scale is needed for."""


def parse(convert: Callable[[str, str], int], text: str, thing: str) -> int:
    """What ``convert`` makes of a text. Raises MalformedMessage where it raises ValueError, ScaleExceeded."""
    try:
        return convert(text, thing)
    except ValueError as error:
        raise MalformedMessage(str(error)) from error


def fitting(convert: Callable[[str, str], int], text: str, thing: str) -> int:
    """The mantissa, UNKNOWN where it does not fit its scale: what else the message states is good."""
    try:
        return parse(convert, text, thing)
    except ScaleExceeded:
        return UNKNOWN


def remembering_scale(instrument: Instrument) -> Scale:
    """The scale of an instrument; its conversions raise MalformedMessage or ScaleExceeded."""
    remember = lru_cache(_REMEMBERED_TEXTS)
    return Scale(
        instrument,
        remember(lambda text: parse(instrument.price, text, "price")),
        remember(lambda text: parse(instrument.quantity, text, "size")),
    )


def open_book(source: Source) -> Element:
    """Raises MalformedMessage."""
    book = read_json(_BOOK, source.data, source.topic)
    book_type = book.type if source.is_envelope else source.type
    if book_type is UNSET:
        raise MalformedMessage(f"{source.topic} type: must be snapshot or delta, was absent")
    levels = book.b or book.a
    flags = SNAPSHOT if book_type == "snapshot" else 0
    to_records = partial(_book_records, book, event_ns=source.event_ns, flags=flags)
    return Element(
        book,
        levels[0][0] if levels else None,
        to_records,
        book_seq=None if book.seq is UNSET else book.seq,
        has_numbers=len(levels) > 0,
    )


def _book_records(book: Book, scale: Scale, *, event_ns: int, flags: int) -> Events:
    levels = book.b + book.a
    records = empty_events(max(len(levels), 1))
    records["event_ns"] = event_ns
    records["update_id"] = book.u
    records["kind"] = ORDERBOOK
    records["flags"] = flags
    if not levels:
        records["field"] = NO_LEVEL
        return records
    price, quantity = scale.price, scale.quantity
    records["px"] = [price(level[0]) for level in levels]
    records["qty"] = [quantity(level[1]) for level in levels]
    records["field"][len(book.b) :] = ASK
    return records


def open_trades(source: Source) -> Element:
    """Raises MalformedMessage."""
    if source.is_envelope:
        trades = [read_json(_TRADE, source.data, source.topic)]
    else:
        trades = read_json(_TRADES, source.data, source.topic)
    _check_one_symbol(source.topic, trades)
    trade_ids = tuple(None if trade.i is UNSET else trade.i for trade in trades)
    return Element(trades[0], trades[0].p, partial(_trade_records, trades), trade_ids)


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
    return Element(klines[0], klines[0].open, partial(_kline_records, klines))


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
