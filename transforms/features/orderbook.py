"""What waits in the order book: depth, shape and the changes of its best level."""

from __future__ import annotations

import math
from typing import Any

from transforms.declaration import BOOK, feature
from transforms.jit import jit
from transforms.order_book import best_px, level_count
from transforms.wide import rounded, sum_of

NAN = math.nan
SLOPE_LEVELS = 10
SLOPE_MIN_LEVELS = 3


@jit
def depth(side: Any, levels: int) -> int:
    """Quantity in the best ``levels`` levels of a side, fewer where it has fewer, as a mantissa."""
    total = 0
    for i in range(min(levels, level_count(side))):
        total += side.qty[side.end - 1 - i]
    return total


@jit
def slope(side: Any, scale: Any) -> float:
    """Least-squares slope of quantity on relative distance from the best price, over the best levels."""
    count = min(SLOPE_LEVELS, level_count(side))
    if count < SLOPE_MIN_LEVELS:
        return NAN
    best = best_px(side)
    distances = 0
    for i in range(count):
        distances += abs(best - side.px[side.end - 1 - i])
    quantities = depth(side, count)
    covariance = 0.0
    variance = 0.0
    for i in range(count):
        level = side.end - 1 - i
        # Deviations times the number of levels are exact integers.
        distance = count * abs(best - side.px[level]) - distances
        covariance += float(distance) * float(count * side.qty[level] - quantities)
        variance += float(distance) * float(distance)
    return covariance / variance * best / scale.qty


@feature("depth_bid_top{levels}", reads=BOOK, levels=(5, 10), unit="base", low=0.0)
def depth_bid(book: Any, levels: int, scale: Any) -> float:
    """Quantity bid in the best levels.

    Formula: sum(bid_qty) over the best N bid levels, or all there are
    NaN: the book is unknown or has an empty side.
    """
    return depth(book.bids, levels) / scale.qty


@feature("depth_ask_top{levels}", reads=BOOK, levels=(5, 10), unit="base", low=0.0)
def depth_ask(book: Any, levels: int, scale: Any) -> float:
    """Quantity offered in the best levels.

    Formula: sum(ask_qty) over the best N ask levels, or all there are
    NaN: the book is unknown or has an empty side.
    """
    return depth(book.asks, levels) / scale.qty


@feature("depth_imbalance_top{levels}", reads=BOOK, levels=(5, 10), unit="1", low=-1.0, high=1.0)
def depth_imbalance(book: Any, levels: int) -> float:
    """Balance of bid and ask quantity in the best levels.

    Formula: (depth_bid - depth_ask) / (depth_bid + depth_ask)
    NaN: the book is unknown or has an empty side.
    """
    bid = depth(book.bids, levels)
    ask = depth(book.asks, levels)
    return (bid - ask) / (bid + ask)


@feature("slope_bid", reads=BOOK, unit="base")
def slope_bid(book: Any, scale: Any) -> float:
    """Slope of the bid side: how quantity grows with distance from the best bid.

    Formula: OLS slope of quantity on (best_bid - price) / best_bid, best 10 levels
    NaN: the book is unknown, has an empty side, or fewer than 3 bid levels.
    """
    return slope(book.bids, scale)


@feature("slope_ask", reads=BOOK, unit="base")
def slope_ask(book: Any, scale: Any) -> float:
    """Slope of the ask side: how quantity grows with distance from the best ask.

    Formula: OLS slope of quantity on (price - best_ask) / best_ask, best 10 levels
    NaN: the book is unknown, has an empty side, or fewer than 3 ask levels.
    """
    return slope(book.asks, scale)


@feature("local_liquidity_density_{bps}bps", reads=BOOK, bps=(5, 10, 25), unit="base", low=0.0)
def local_liquidity_density(book: Any, bps: int, scale: Any) -> float:
    """Quantity of both sides near the mid price.

    Formula: sum(qty) of all levels with |price - mid| / mid <= bps / 10000
    NaN: the book is unknown or has an empty side.
    """
    twice_mid = best_px(book.bids) + best_px(book.asks)
    # A whole number is above a share exactly when it is above the share's whole part; a product with 10,000 may wrap.
    reach = bps * twice_mid // 10_000
    high = 0
    low = 0
    for i in range(book.bids.end - 1, book.bids.first - 1, -1):
        if twice_mid - 2 * book.bids.px[i] > reach:
            break
        high, low = sum_of(high, low, 0, book.bids.qty[i])
    for i in range(book.asks.end - 1, book.asks.first - 1, -1):
        if 2 * book.asks.px[i] - twice_mid > reach:
            break
        high, low = sum_of(high, low, 0, book.asks.qty[i])
    return rounded(high, low) / scale.qty


@feature("orderbook_churn_rate", reads=BOOK, window="1m", unit="1/s", low=0.0)
def orderbook_churn_rate(quotes: Any, window_s: int) -> float:
    """Changes of the best prices per second over one minute.

    Formula: (changes of the best bid price + changes of the best ask price) / 60, a message that moves both counts two
    NaN: the book was unknown or had an empty side at any time in the minute.
    """
    return quotes.best_changes / window_s if quotes.is_known else NAN


@feature("ofi_{window}", reads=BOOK, windows=("3s", "15s", "1m"), unit="base")
def order_flow_imbalance(quotes: Any, scale: Any) -> float:
    """Order-flow imbalance of the best level, summed over the window's book messages.

    Formula: sum(1[bid >= bid'] * bid_qty - 1[bid <= bid'] * bid_qty'
        - 1[ask <= ask'] * ask_qty + 1[ask >= ask'] * ask_qty') over the book messages of the window; x' is x before the
        message
    NaN: the book was unknown or had an empty side at any time in the window.
    Source: Cont, Kukanov, Stoikov (2014), The Price Impact of Order Book Events, eq. 1.
    """
    return quotes.order_flow_imbalance / scale.qty if quotes.is_known else NAN
