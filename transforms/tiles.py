"""Per-second sums, and the windows made of them.

A tile holds one UTC second's exact integer sums. Row b closes the tile of [b - 1 s, b); a window of W seconds is the
sum of the W tiles before b, so it covers exactly the messages with b - W <= recv_ns < b, wherever the computation
started. Being integers, the sums are the same in any order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from market.clock import SECOND_NS
from market.events import BUY, OPEN_INTEREST
from transforms.elementary import log_ratio
from transforms.jit import jit
from transforms.order_book import best_px, is_two_sided
from transforms.state import TILE_COUNT
from transforms.ticker import MEMORY_NS, remembered


class TradeWindow(NamedTuple):
    """Sums over the trades of a window: quantities and notional (price × quantity) as mantissas, side the taker's."""

    volume: int
    buy_volume: int
    sell_volume: int
    notional: int
    trade_count: int


class QuoteWindow(NamedTuple):
    """Sums over the order book messages of a window; ``is_known`` when the book was two-sided all through it."""

    best_changes: int
    order_flow_imbalance: int
    is_known: bool


@jit
def tile_before(row_ns: int, seconds: int) -> int:
    """Index of the tile of the second that ends ``seconds - 1`` seconds before the row."""
    return (row_ns // SECOND_NS - seconds) & (TILE_COUNT - 1)


@jit
def apply_trade_record(tiles: Any, tile: int, record: Any) -> None:
    """Add one trade to the present second."""
    if record.field == BUY:
        tiles.buy_volume[tile] += record.qty
    else:
        tiles.sell_volume[tile] += record.qty
    tiles.notional[tile] += record.px * record.qty
    tiles.trade_count[tile] += 1


@jit
def open_tile(st: Any, tile: int) -> None:
    """Empty the tile of the second that begins."""
    tiles = st.tiles
    tiles.buy_volume[tile] = 0
    tiles.sell_volume[tile] = 0
    tiles.notional[tile] = 0
    tiles.trade_count[tile] = 0
    tiles.best_changes[tile] = 0
    tiles.order_flow_imbalance[tile] = 0
    tiles.is_book_known[tile] = 1 if is_two_sided(st.book) else 0


@jit
def close_tile(st: Any, tile: int, row_ns: int) -> None:
    """Write what is known at the end of the second.

    That is twice the mid (0 when there is none), its log return since the end of the second before (a window of five
    minutes would take the same logarithm in three hundred rows) and the open interest.
    """
    tiles = st.tiles
    tiles.twice_mid[tile] = 0
    tiles.log_return[tile] = math.nan
    if is_two_sided(st.book):
        twice_mid = best_px(st.book.bids) + best_px(st.book.asks)
        before = tiles.twice_mid[tile_before(row_ns, 2)]
        tiles.twice_mid[tile] = twice_mid
        if before != 0:
            tiles.log_return[tile] = log_ratio(float(twice_mid), float(before))
    tiles.open_interest[tile] = remembered(st.ticker, OPEN_INTEREST, row_ns, MEMORY_NS)


@jit
def no_trades() -> TradeWindow:
    """The sums over no time at all, from which ``extend_trades`` starts."""
    return TradeWindow(0, 0, 0, 0, 0)


@jit
def extend_trades(tiles: Any, row_ns: int, shorter: TradeWindow, seconds_from: int, seconds_to: int) -> TradeWindow:
    """The window of ``seconds_to`` seconds, from the sums over its last ``seconds_from`` seconds."""
    buy_volume = shorter.buy_volume
    sell_volume = shorter.sell_volume
    notional = shorter.notional
    trade_count = shorter.trade_count
    for seconds in range(seconds_from + 1, seconds_to + 1):
        tile = tile_before(row_ns, seconds)
        buy_volume += tiles.buy_volume[tile]
        sell_volume += tiles.sell_volume[tile]
        notional += tiles.notional[tile]
        trade_count += tiles.trade_count[tile]
    return TradeWindow(buy_volume + sell_volume, buy_volume, sell_volume, notional, trade_count)


@jit
def quote_window(tiles: Any, row_ns: int, seconds: int) -> QuoteWindow:
    """Sums over the book messages of the last ``seconds`` seconds."""
    best_changes = 0
    order_flow_imbalance = 0
    is_known = True
    for back in range(1, seconds + 1):
        tile = tile_before(row_ns, back)
        best_changes += tiles.best_changes[tile]
        order_flow_imbalance += tiles.order_flow_imbalance[tile]
        if tiles.is_book_known[tile] == 0:
            is_known = False
    return QuoteWindow(best_changes, order_flow_imbalance, is_known)


@jit
def present_twice_mid(tiles: Any, row_ns: int) -> int:
    """Twice the mid at the row, 0 when unknown."""
    return tiles.twice_mid[tile_before(row_ns, 1)]


@jit
def collect_mids(st: Any, row_ns: int, seconds: int) -> None:
    """Write twice the mid at the row and at each of the ``seconds`` seconds before it to the end of ``st.mids``."""
    for back in range(seconds + 1):
        st.mids[TILE_COUNT - 1 - back] = st.tiles.twice_mid[tile_before(row_ns, back + 1)]


@jit
def last_mids(st: Any, seconds: int) -> Any:
    """Twice the mids of ``collect_mids``, oldest first: ``seconds + 1`` of them, 0 where unknown."""
    return st.mids[TILE_COUNT - 1 - seconds :]


@jit
def collect_log_returns(st: Any, row_ns: int, seconds: int) -> None:
    """Write the log return of the mid over each of the ``seconds`` seconds before the row to its place."""
    for back in range(1, seconds + 1):
        st.log_returns[TILE_COUNT - back] = st.tiles.log_return[tile_before(row_ns, back)]


@jit
def last_log_returns(st: Any, seconds: int) -> Any:
    """The log returns of ``collect_log_returns``, oldest first: ``seconds`` of them, NaN where unknown."""
    return st.log_returns[TILE_COUNT - seconds :]


@jit
def open_interest_before(tiles: Any, row_ns: int, seconds: int) -> int:
    """Open interest as last known ``seconds`` seconds before the row, UNKNOWN when never seen."""
    return tiles.open_interest[tile_before(row_ns, seconds + 1)]
