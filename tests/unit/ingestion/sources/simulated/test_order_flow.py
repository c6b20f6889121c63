"""The traders of the simulated market: whatever they draw, the book stays whole and bounded."""

from __future__ import annotations

import numpy as np
import pytest

from ingestion.sources.simulated.matching import OrderBook
from ingestion.sources.simulated.order_flow import MOST_FILLS, OrderFlow
from market.clock import MILLISECOND_NS
from market.events import BUY, SELL

STEP_NS = 200 * MILLISECOND_NS


@pytest.mark.parametrize(
    ("depth", "start_tick", "activity"), [(50, 500, 1.0), (50, 650_000, 1.0), (200, 190_000, 1.0), (200, 650_000, 10.0)]
)
def test_both_sides_stay_thicker_than_the_window_and_within_reach(depth: int, start_tick: int, activity: float) -> None:
    book = OrderBook()
    flow = OrderFlow(
        book,
        np.random.default_rng(1),
        start_tick=start_tick,
        depth=depth,
        step_ns=STEP_NS,
        mean_activity=activity,
    )
    for _ in range(1500):
        flow.advance()
        fills_left = MOST_FILLS
        for order in flow.market_orders():
            fills_left -= len(book.market(order.taker, order.lots, max_fills=fills_left))
        assert min(len(book.bids), len(book.asks)) >= depth
        flow.requote()
        assert book.bids.best < book.asks.best
        for side in (book.bids, book.asks):
            # Thick enough that the fills of the next step cannot reach the end of the window.
            assert len(side) >= depth + MOST_FILLS
            assert abs(side.worst - side.best) <= 3 * depth
            assert side.order_count == sum(map(len, side._queues.values())) < 20 * depth
    assert book.bids.best > 0


def test_levels_that_a_jump_leaves_behind_are_replaced_at_once() -> None:
    book = OrderBook()
    flow = OrderFlow(book, np.random.default_rng(4), start_tick=650_000, depth=50, step_ns=STEP_NS)
    flow._log_return = 1e-3
    for _ in range(60):
        book.asks.cancel_level(0)
    out_of_reach = book.asks.best - 1 - 150
    assert sum(tick < out_of_reach for tick in book.bids.top(1000)) > len(book.bids) // 3
    flow.requote()
    assert book.bids.worst >= out_of_reach - 10
    assert len(book.bids) >= 50 + MOST_FILLS


def test_the_quotes_follow_the_fair_value() -> None:
    book = OrderBook()
    flow = OrderFlow(book, np.random.default_rng(2), start_tick=650_000, depth=50, step_ns=STEP_NS)
    fair, mid = [], []
    for _ in range(1500):
        flow.advance()
        flow.requote()
        fair.append(flow.fair_tick)
        mid.append((book.bids.best + book.asks.best) / 2)
    assert np.ptp(fair) > 100
    assert np.mean(np.abs(np.subtract(fair, mid))) < 10


def test_market_orders_come_in_time_order_from_both_sides_and_sometimes_sweep() -> None:
    book = OrderBook()
    flow = OrderFlow(book, np.random.default_rng(3), start_tick=650_000, depth=50, step_ns=STEP_NS)
    orders, counts, with_the_fair_value = [], [], 0
    for _ in range(3000):
        flow.advance()
        drawn = flow.market_orders()
        assert [order.phase for order in drawn] == sorted(order.phase for order in drawn)
        orders += drawn
        # Nobody requotes here, so the mid stays where it began.
        favoured = BUY if flow.fair_tick > 650_000.5 else SELL
        with_the_fair_value += sum(order.taker == favoured for order in drawn)
        counts.append(len(drawn))
    assert {order.taker for order in orders} == {BUY, SELL}
    assert 0.7 < with_the_fair_value / len(orders) < 1
    assert all(0 <= order.phase < 1 and order.lots > 0 for order in orders)
    assert np.median([order.lots for order in orders]) < 20
    assert max(order.lots for order in orders) > 1000
    # Bursts and quiet spells: the counts of one minute vary far more than Poisson's would.
    by_minute = np.array(counts).reshape(-1, 300).sum(axis=1)
    assert by_minute.var() > 2 * by_minute.mean()
