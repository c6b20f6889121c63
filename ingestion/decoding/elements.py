"""Elements: the book, trades, candles or ticker of one message as event records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.wire import LAST_MILLISECOND, Book, BookType, Kline, Named, Ticker, Trade, read_json
from market.clock import MILLISECOND_NS
from market.errors import MalformedMessage
from market.events import (
    ASK,
    BUY,
    CONFIRMED,
    FUNDING_RATE,
    INDEX_PRICE,
    KLINE,
    KLINE_FIELD_COUNT,
    MARK_PRICE,
    NEXT_FUNDING,
    NO_LEVEL,
    NO_TICKER_FIELD,
    OPEN_INTEREST,
    ORDERBOOK,
    SELL,
    SNAPSHOT,
    TICKER,
    TRADE,
    Events,
    empty_events,
)
from market.instruments import FUNDING_RATE_EXPONENT, Instrument, mantissa

# Texts recur: 99 % of prices and 93 % of sizes of a real book were among the last 4,096 (1.2 µs a level became 0.3).
_REMEMBERED_TEXTS = 4096

_BOOK = JsonDecoder(Book)
_TRADE = JsonDecoder(Trade)
_TRADES = JsonDecoder(list[Trade])
_KLINE = JsonDecoder(Kline)
_KLINES = JsonDecoder(list[Kline])
_TICKER = JsonDecoder(Ticker)


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
    trade_ids: tuple[str, ...] = ()


def _parse(convert: Callable[[str, str], int], text: str, thing: str) -> int:
    try:
        return convert(text, thing)
    except ValueError as error:
        raise MalformedMessage(str(error)) from error


def remembering_scale(instrument: Instrument) -> Scale:
    """The scale of an instrument; its conversions raise MalformedMessage or ScaleExceeded."""
    remember = lru_cache(_REMEMBERED_TEXTS)
    return Scale(
        instrument,
        remember(lambda text: _parse(instrument.price, text, "price")),
        remember(lambda text: _parse(instrument.quantity, text, "size")),
    )


def _open_book(source: Source) -> Element:
    book = read_json(_BOOK, source.data, source.topic)
    book_type = book.type if source.is_envelope else source.type
    if book_type is UNSET:
        raise MalformedMessage(f"{source.topic} type: must be snapshot or delta, was absent")
    levels = book.b or book.a
    flags = SNAPSHOT if book_type == "snapshot" else 0
    to_records = partial(_book_records, book, event_ns=source.event_ns, flags=flags)
    return Element(book, levels[0][0] if levels else None, to_records)


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


def _open_trades(source: Source) -> Element:
    if source.is_envelope:
        trades = [read_json(_TRADE, source.data, source.topic)]
    else:
        trades = read_json(_TRADES, source.data, source.topic)
    _check_one_symbol(source.topic, trades)
    trade_ids = tuple(trade.i for trade in trades if trade.i is not UNSET)
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


def _open_klines(source: Source) -> Element:
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
    open_px = _parse(instrument.price, kline.open, "open")
    high_px = _parse(instrument.price, kline.high, "high")
    low_px = _parse(instrument.price, kline.low, "low")
    close_px = _parse(instrument.price, kline.close, "close")
    if high_px < max(open_px, close_px) or low_px > min(open_px, close_px):
        raise MalformedMessage(
            f"{instrument.symbol} kline: low and high must enclose open and close, was "
            f"open {kline.open} high {kline.high} low {kline.low} close {kline.close}"
        )
    volume = _parse(instrument.quantity, kline.volume, "volume")
    return open_px, high_px, low_px, close_px, volume, _parse(instrument.turnover, kline.turnover, "turnover")


def _open_ticker(source: Source) -> Element:
    ticker = read_json(_TICKER, source.data, source.topic)
    to_records = partial(_ticker_records, ticker, event_ns=source.event_ns)
    return Element(ticker, ticker.last_price or ticker.mark_price or None, to_records)


def _ticker_records(ticker: Ticker, scale: Scale, *, event_ns: int) -> Events:
    instrument = scale.instrument
    # A contract without funding states "0" as the time of its next one.
    next_funding = "" if ticker.next_funding_time == "0" else ticker.next_funding_time
    stated = [
        (field, _parse(convert, text, thing))
        for field, convert, text, thing in (
            (FUNDING_RATE, _funding_rate, ticker.funding_rate, "fundingRate"),
            (NEXT_FUNDING, _next_funding_ns, next_funding, "nextFundingTime"),
            (OPEN_INTEREST, instrument.quantity, ticker.open_interest, "openInterest"),
            (MARK_PRICE, instrument.price, ticker.mark_price, "markPrice"),
            (INDEX_PRICE, instrument.price, ticker.index_price, "indexPrice"),
        )
        if text
    ] or [(NO_TICKER_FIELD, 0)]
    records = empty_events(len(stated))
    records["event_ns"] = event_ns
    records["px"] = [value for _, value in stated]
    records["kind"] = TICKER
    records["field"] = [field for field, _ in stated]
    return records


def _funding_rate(text: str, thing: str) -> int:
    return mantissa(text, FUNDING_RATE_EXPONENT, thing)


def _next_funding_ns(text: str, thing: str) -> int:
    time_ms = mantissa(text, 0, thing)
    if not 0 < time_ms <= LAST_MILLISECOND:
        raise ValueError(f"{thing}: must be milliseconds from 1 to {LAST_MILLISECOND}, was {text!r}")
    return time_ms * MILLISECOND_NS


def _check_one_symbol(topic: str, elements: list[Trade] | list[Kline]) -> None:
    if not elements:
        raise MalformedMessage(f"{topic} data: must hold at least one element, was empty")
    names = {(element.symbol, element.s) for element in elements}
    if len(names) > 1:
        raise MalformedMessage(f"{topic} data: must be of one symbol, was of {len(names)}")


OPEN_ELEMENT: Final[dict[int, Callable[[Source], Element]]] = {
    ORDERBOOK: _open_book,
    TRADE: _open_trades,
    KLINE: _open_klines,
    TICKER: _open_ticker,
}
"""How the element of a message is read, by kind. Raises MalformedMessage."""
