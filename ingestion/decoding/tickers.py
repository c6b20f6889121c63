"""Tickers: their fields as event records, each for itself, and the merged ticker that the service restates.

A field that fits no scale is unknown and the others are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from ingestion.decoding.elements import Element, Scale, fitting
from ingestion.decoding.wire import LAST_MILLISECOND, RestatedFields
from market.clock import MILLISECOND_NS
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


class TickerTexts(Protocol):
    """The fields of a ticker; an empty text is one that is not stated. next_funding_time: milliseconds."""

    @property
    def funding_rate(self) -> str: ...

    @property
    def next_funding_time(self) -> str: ...

    @property
    def open_interest(self) -> str: ...

    @property
    def mark_price(self) -> str: ...

    @property
    def index_price(self) -> str: ...


def has_numbers(ticker: TickerTexts) -> bool:
    """Whether a field is stated that is read at the symbol's scale."""
    return bool(ticker.open_interest or ticker.mark_price or ticker.index_price)


def ticker_records(ticker: TickerTexts, scale: Scale, *, event_ns: int) -> Events:
    """A record for each field that is stated, one that says so where there is none. Raises MalformedMessage."""
    instrument = scale.instrument
    # A contract without funding states "0" as the time of its next one.
    next_funding = "" if ticker.next_funding_time == "0" else ticker.next_funding_time
    stated = [
        (field, fitting(convert, text, thing))
        for field, convert, text, thing in (
            (FUNDING_RATE, _funding_rate, ticker.funding_rate, "fundingRate"),
            (NEXT_FUNDING, next_funding_ns, next_funding, "nextFundingTime"),
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
    """Known fields of a merged ticker, as mantissas, in the words of RestatedFields."""
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


def restated_element(fields: RestatedFields, event_ns: int) -> Element:
    """What ``restated_ticker`` stated; it was in range when it was first said."""
    to_records = partial(ticker_records, fields, event_ns=event_ns)
    return Element(None, None, to_records, has_numbers=has_numbers(fields))


def _funding_rate(text: str, thing: str) -> int:
    return mantissa(text, FUNDING_RATE_EXPONENT, thing)


def next_funding_ns(text: str, thing: str) -> int:
    """A time in ns, of milliseconds as text. Raises ValueError."""
    time_ms = mantissa(text, 0, thing)
    if not 0 < time_ms <= LAST_MILLISECOND:
        raise ValueError(f"{thing}: must be milliseconds from 1 to {LAST_MILLISECOND}, was {text!r}")
    return time_ms * MILLISECOND_NS
