"""Bybit's tickers: a value that no market has rejects the message."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import Final

from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.elements import Element, parse
from ingestion.decoding.tickers import has_numbers, next_funding_ns, ticker_records
from ingestion.decoding.wire import read_json
from ingestion.venues.bybit.elements import Source, named_symbol
from ingestion.venues.bybit.wire import Ticker
from market.clock import DAY_NS
from market.errors import MalformedMessage

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
        named_symbol(ticker),
        ticker.last_price or ticker.mark_price or None,
        partial(ticker_records, ticker, event_ns=source.event_ns),
        has_numbers=has_numbers(ticker),
    )


def _check_ticker(ticker: Ticker, source: Source) -> None:
    """Raises MalformedMessage on a value that is none of any market; see the bounds above."""
    topic = source.topic
    rate = _decimal(ticker.funding_rate, f"{topic} fundingRate")
    if rate is not None and abs(rate) > LARGEST_FUNDING_RATE:
        raise MalformedMessage(
            f"{topic} fundingRate: must be from -{LARGEST_FUNDING_RATE} to {LARGEST_FUNDING_RATE}, was {rate}"
        )
    if ticker.next_funding_time not in ("", "0"):
        ahead_ns = parse(next_funding_ns, ticker.next_funding_time, f"{topic} nextFundingTime") - source.event_ns
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
