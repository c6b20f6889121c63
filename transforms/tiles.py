"""Sums at the ends of tiles, and the windows made of them.

A tile is one step of the row grid. At its end everything summed since the beginning is written down, exact integers;
a window of W seconds before b is what stands at b less what stands at b - W, so it covers exactly the messages with
b - W <= recv_ns < b, wherever the computation started and however fine the grid. What a feature is given of a wide
sum is the float64 nearest to it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from market.clock import SECOND_NS
from market.events import BUY, OPEN_INTEREST
from transforms.elementary import log_ratio
from transforms.jit import jit
from transforms.order_book import best_px, is_two_sided
from transforms.state import ORDER_NS, SECONDS_KEPT
from transforms.ticker import MEMORY_NS, remembered
from transforms.wide import HIGH, LOW, add_product_to, add_to, difference, rounded, sum_of


class TradeWindow(NamedTuple):
    """Sums over the trades of a window: quantities and notional (price × quantity) as mantissas, side the taker's.

    Each but the count is the float64 nearest to the exact sum; ``net_volume`` is that of bought less sold.
    """

    volume: float
    buy_volume: float
    sell_volume: float
    net_volume: float
    notional: float
    trade_count: int


class QuoteWindow(NamedTuple):
    """Sums over the order book messages of a window; ``is_known`` when the book was two-sided all through it.

    The imbalance is the float64 nearest to the exact sum of mantissas.
    """

    best_changes: int
    order_flow_imbalance: float
    is_known: bool


@jit
def end_before(row_ns: int, seconds: int) -> int:
    """Index of the tile that ends ``seconds`` seconds before the row."""
    phase = row_ns % SECOND_NS // ORDER_NS
    return phase * SECONDS_KEPT + ((row_ns // SECOND_NS - seconds) & (SECONDS_KEPT - 1))


@jit
def apply_trade_record(sums: Any, record: Any) -> None:
    """Add one trade."""
    if record.field == BUY:
        add_to(sums.buy_volume, record.qty)
    else:
        add_to(sums.sell_volume, record.qty)
    add_product_to(sums.notional, record.px, record.qty)
    sums.trade_count += 1


@jit
def close_tile(st: Any, end_ns: int) -> None:
    """Write what is so at the end of a tile.

    Besides the sums that is twice the mid (0 when there is none), its log return since a second before (a window of
    five minutes would take the same logarithm in three hundred rows) and the open interest.
    """
    tiles = st.tiles
    tile = end_before(end_ns, 0)
    _write_sums(tiles, tile, st.sums)
    tiles.twice_mid[tile] = 0
    tiles.log_return[tile] = math.nan
    if is_two_sided(st.book):
        twice_mid = best_px(st.book.bids) + best_px(st.book.asks)
        before = tiles.twice_mid[end_before(end_ns, 1)]
        tiles.twice_mid[tile] = twice_mid
        if before != 0:
            tiles.log_return[tile] = log_ratio(float(twice_mid), float(before))
    tiles.open_interest[tile] = remembered(st.ticker, OPEN_INTEREST, end_ns, MEMORY_NS)


@jit
def _write_sums(tiles: Any, tile: int, sums: Any) -> None:
    for limb in (HIGH, LOW):
        tiles.buy_volume[tile, limb] = sums.buy_volume[limb]
        tiles.sell_volume[tile, limb] = sums.sell_volume[limb]
        tiles.notional[tile, limb] = sums.notional[limb]
        tiles.order_flow_imbalance[tile, limb] = sums.order_flow_imbalance[limb]
    tiles.trade_count[tile] = sums.trade_count
    tiles.best_changes[tile] = sums.best_changes


@jit
def trade_window(tiles: Any, row_ns: int, seconds: int) -> TradeWindow:
    """Sums over the trades of the last ``seconds`` seconds."""
    at = end_before(row_ns, 0)
    begin = end_before(row_ns, seconds)
    bought_high, bought_low = difference(tiles.buy_volume[at], tiles.buy_volume[begin])
    sold_high, sold_low = difference(tiles.sell_volume[at], tiles.sell_volume[begin])
    notional_high, notional_low = difference(tiles.notional[at], tiles.notional[begin])
    all_high, all_low = sum_of(bought_high, bought_low, sold_high, sold_low)
    net_high, net_low = sum_of(bought_high, bought_low, -sold_high, -sold_low)
    return TradeWindow(
        rounded(all_high, all_low),
        rounded(bought_high, bought_low),
        rounded(sold_high, sold_low),
        rounded(net_high, net_low),
        rounded(notional_high, notional_low),
        tiles.trade_count[at] - tiles.trade_count[begin],
    )


@jit
def quote_window(st: Any, row_ns: int, seconds: int) -> QuoteWindow:
    """Sums over the book messages of the last ``seconds`` seconds."""
    tiles = st.tiles
    at = end_before(row_ns, 0)
    begin = end_before(row_ns, seconds)
    high, low = difference(tiles.order_flow_imbalance[at], tiles.order_flow_imbalance[begin])
    return QuoteWindow(
        tiles.best_changes[at] - tiles.best_changes[begin],
        rounded(high, low),
        st.book.two_sided_since_ns < row_ns - seconds * SECOND_NS,
    )


@jit
def present_twice_mid(tiles: Any, row_ns: int) -> int:
    """Twice the mid at the row, 0 when unknown."""
    return tiles.twice_mid[end_before(row_ns, 0)]


@jit
def collect_mids(st: Any, row_ns: int, seconds: int) -> None:
    """Write twice the mid at the row and at each of the ``seconds`` seconds before it to the end of ``st.mids``."""
    for back in range(seconds + 1):
        st.mids[SECONDS_KEPT - 1 - back] = st.tiles.twice_mid[end_before(row_ns, back)]


@jit
def last_mids(st: Any, seconds: int) -> Any:
    """Twice the mids of ``collect_mids``, oldest first: ``seconds + 1`` of them, 0 where unknown."""
    return st.mids[SECONDS_KEPT - 1 - seconds :]


@jit
def collect_log_returns(st: Any, row_ns: int, seconds: int) -> None:
    """Write the log return of the mid over each of the ``seconds`` seconds before the row to its place."""
    for back in range(seconds):
        st.log_returns[SECONDS_KEPT - 1 - back] = st.tiles.log_return[end_before(row_ns, back)]


@jit
def last_log_returns(st: Any, seconds: int) -> Any:
    """The log returns of ``collect_log_returns``, oldest first: ``seconds`` of them, NaN where unknown."""
    return st.log_returns[SECONDS_KEPT - seconds :]


@jit
def open_interest_before(tiles: Any, row_ns: int, seconds: int) -> int:
    """Open interest as last known ``seconds`` seconds before the row, UNKNOWN when never seen."""
    return tiles.open_interest[end_before(row_ns, seconds)]
