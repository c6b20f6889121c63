"""Tickers: their fields as event records, each for itself, and the merged ticker that the service restates.

A field that fits no scale is unknown and the others are taken; a value that no market has rejects the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Final

from msgspec.json import Decoder as JsonDecoder

from ingestion.venues.bybit.elements import Element, Scale, Source, fitting, parse
from ingestion.venues.bybit.wire import LAST_MILLISECOND, Ticker, read_json
from market.clock import DAY_NS, MILLISECOND_NS
from market.errors import MalformedMessage
from market.events import (
    FUNDING_RATE,
    INDEX_PRICE,
    MARK_PRICE,
    NEXT_FUNDING,
    NO_TICKER_FIELD,
    OPEN_INTEREST,
    TICKER,
    Events,
    empty_events,
)
from market.instruments import FUNDING_RATE_EXPONENT, Instrument, decimal_text, mantissa

LARGEST_FUNDING_RATE: Final = 1
"""The exchange caps rates at a few percent."""
FURTHEST_FUNDING_NS: Final = 7 * DAY_NS
"""Of the next settlement from the message that announces it; they are hours apart."""
MOST_PRICES_APART: Final = 10
"""The last, the mark and the index price of one market."""
_PLAIN: Final = re.compile(r"-?\d+(?:\.\d*)?", re.ASCII)
_TICKER: Final = JsonDecoder(Ticker)


def open_ticker(source: Source) -> Element:
    """Raises MalformedMessage."""
    ticker = read_json(_TICKER, source.data, source.topic)
    _check_ticker(ticker, source)
    return Element(
        ticker,
        ticker.last_price or ticker.mark_price or None,
        partial(_ticker_records, ticker, event_ns=source.event_ns),
        has_numbers=_has_numbers(ticker),
    )


def _has_numbers(ticker: Ticker) -> bool:
    """Whether a field is stated that is read at the symbol's scale."""
    return bool(ticker.open_interest or ticker.mark_price or ticker.index_price)


def _check_ticker(ticker: Ticker, source: Source) -> None:
    """Raises MalformedMessage on a value that is none of any market; see the bounds above."""
    topic = source.topic
    rate = _decimal(ticker.funding_rate, f"{topic} fundingRate")
    if rate is not None and abs(rate) > LARGEST_FUNDING_RATE:
        raise MalformedMessage(
            f"{topic} fundingRate: must be from -{LARGEST_FUNDING_RATE} to {LARGEST_FUNDING_RATE}, was {rate}"
        )
    if ticker.next_funding_time not in ("", "0"):
        ahead_ns = parse(_next_funding_ns, ticker.next_funding_time, f"{topic} nextFundingTime") - source.event_ns
        if not -FURTHEST_FUNDING_NS <= ahead_ns <= FURTHEST_FUNDING_NS:
            raise MalformedMessage(
                f"{topic} nextFundingTime: must be within {FURTHEST_FUNDING_NS // DAY_NS} days of its message, "
                f"was {ticker.next_funding_time}"
            )
    prices = {
        name: _decimal(text, f"{topic} {name}")
        for name, text in (
            ("lastPrice", ticker.last_price),
            ("markPrice", ticker.mark_price),
            ("indexPrice", ticker.index_price),
        )
    }
    stated = {name: price for name, price in prices.items() if price is not None}
    for name, price in stated.items():
        if price <= 0:
            raise MalformedMessage(f"{topic} {name}: must be positive, was {price}")
    if stated and max(stated.values()) > MOST_PRICES_APART * min(stated.values()):
        told = ", ".join(f"{name} {price}" for name, price in stated.items())
        raise MalformedMessage(
            f"{topic}: prices of one ticker must be within {MOST_PRICES_APART} times each other, was {told}"
        )


def _decimal(text: str, thing: str) -> Decimal | None:
    if not text:
        return None
    if _PLAIN.fullmatch(text) is None:
        raise MalformedMessage(f"{thing}: must be a plain decimal number, was {text!r}")
    return Decimal(text)


def _ticker_records(ticker: Ticker, scale: Scale, *, event_ns: int) -> Events:
    instrument = scale.instrument
    # A contract without funding states "0" as the time of its next one.
    next_funding = "" if ticker.next_funding_time == "0" else ticker.next_funding_time
    stated = [
        (field, fitting(convert, text, thing))
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


def restated_ticker(fields: Mapping[int, int], instrument: Instrument) -> dict[str, str]:
    """Known fields of a merged ticker, as mantissas, in the words of an exchange's ticker."""
    names = {
        FUNDING_RATE: ("fundingRate", FUNDING_RATE_EXPONENT),
        OPEN_INTEREST: ("openInterest", instrument.quantity_exponent),
        MARK_PRICE: ("markPrice", instrument.price_exponent),
        INDEX_PRICE: ("indexPrice", instrument.price_exponent),
    }
    texts = {names[field][0]: decimal_text(value, names[field][1]) for field, value in fields.items() if field in names}
    if NEXT_FUNDING in fields:
        texts["nextFundingTime"] = str(fields[NEXT_FUNDING] // MILLISECOND_NS)
    return texts


def open_restated_ticker(source: Source) -> Element:
    """What ``restated_ticker`` stated; it was in range when it was first said. Raises MalformedMessage."""
    ticker = read_json(_TICKER, source.data, source.topic)
    to_records = partial(_ticker_records, ticker, event_ns=source.event_ns)
    return Element(ticker, None, to_records, has_numbers=_has_numbers(ticker))


def _funding_rate(text: str, thing: str) -> int:
    return mantissa(text, FUNDING_RATE_EXPONENT, thing)


def _next_funding_ns(text: str, thing: str) -> int:
    time_ms = mantissa(text, 0, thing)
    if not 0 < time_ms <= LAST_MILLISECOND:
        raise ValueError(f"{thing}: must be milliseconds from 1 to {LAST_MILLISECOND}, was {text!r}")
    return time_ms * MILLISECOND_NS
