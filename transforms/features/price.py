"""Where the market is: features of the best prices and their past."""

from __future__ import annotations

import math
from typing import Any

from transforms.declaration import BOOK, feature
from transforms.jit import jit
from transforms.moments import population_std_of_returns
from transforms.order_book import best_px, best_qty

NAN = math.nan


@jit
def twice_mid(book: Any) -> int:
    """Twice the mid of a two-sided book, an exact integer."""
    return best_px(book.bids) + best_px(book.asks)


@feature("mid_price", reads=BOOK, unit="quote", low=0.0)
def mid_price(book: Any, scale: Any) -> float:
    """Mid price: the middle between the best bid and the best ask.

    Formula: (best_bid + best_ask) / 2
    NaN: the book is unknown or has an empty side.
    """
    return twice_mid(book) / (2.0 * scale.px)


@feature("spread_abs", reads=BOOK, unit="quote", low=0.0)
def spread_abs(book: Any, scale: Any) -> float:
    """Spread: the distance between the best ask and the best bid.

    Formula: best_ask - best_bid
    NaN: the book is unknown or has an empty side.
    """
    return (best_px(book.asks) - best_px(book.bids)) / scale.px


@feature("spread_rel", reads=BOOK, unit="1", low=0.0, high=2.0)
def spread_rel(book: Any) -> float:
    """Spread relative to the mid price.

    Formula: (best_ask - best_bid) / mid_price
    NaN: the book is unknown or has an empty side.
    """
    return 2 * (best_px(book.asks) - best_px(book.bids)) / twice_mid(book)


@feature("microprice", reads=BOOK, unit="quote", low=0.0)
def microprice(book: Any, scale: Any) -> float:
    """Mid price weighted towards the side with less quantity at the best level.

    Formula: (bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty), at the best level
    NaN: the book is unknown or has an empty side.
    Source: Stoikov (2018), The micro-price, as the weighted mid-price.
    """
    bid_qty = best_qty(book.bids)
    ask_qty = best_qty(book.asks)
    weight = bid_qty / (bid_qty + ask_qty)
    return (best_px(book.bids) + weight * (best_px(book.asks) - best_px(book.bids))) / scale.px


@feature("returns_{window}", reads=BOOK, windows=("1s", "3s"), unit="1", low=-1.0)
def returns(mids: Any) -> float:
    """Simple return of the mid price over the window.

    Formula: mid(b) / mid(b - window) - 1
    NaN: the mid is unknown at either end.
    """
    if mids[0] == 0 or mids[-1] == 0:
        return NAN
    return (mids[-1] - mids[0]) / mids[0]


@feature("volatility_{window}", reads=BOOK, windows=("1m",), unit="1", low=0.0)
def volatility(mids: Any) -> float:
    """Population standard deviation of the one-second simple returns of the mid price.

    Formula: std(mid(i) / mid(i - 1 s) - 1, ddof = 0) over the seconds of the window
    NaN: the mid is unknown at any second.
    """
    return population_std_of_returns(mids)


@feature("realized_volatility_{window}", reads=BOOK, windows=("1m", "5m"), unit="1", low=0.0)
def realized_volatility(log_returns: Any) -> float:
    """Square root of the sum of squared one-second log returns of the mid price.

    Formula: sqrt(sum(ln(mid(i) / mid(i - 1 s))^2)) over the seconds of the window
    NaN: the mid is unknown at any second.
    """
    total = 0.0
    for change in log_returns:
        total += change * change
    return math.sqrt(total)
