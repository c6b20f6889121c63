"""The matching engine of the simulated market: price-time priority, and a book that never crosses."""

from __future__ import annotations

import pytest

from ingestion.sources.simulated.matching import OrderBook
from market.events import ASK, BID, BUY, SELL


@pytest.fixture
def book() -> OrderBook:
    book = OrderBook()
    for tick, lots in ((100, 5), (100, 3), (99, 4), (97, 1)):
        book.limit(BID, tick, lots)
    for tick, lots in ((102, 2), (103, 6), (102, 7)):
        book.limit(ASK, tick, lots)
    return book


def test_levels_are_listed_best_first_with_their_orders_summed(book: OrderBook) -> None:
    assert list(book.bids.top(2).items()) == [(100, 8), (99, 4)]
    assert list(book.asks.top(5).items()) == [(102, 9), (103, 6)]
    assert (book.bids.best, book.bids.worst, book.bids.best_lots, len(book.bids)) == (100, 97, 8, 3)
    assert (book.asks.best, book.asks.worst, book.asks.best_lots, book.asks.order_count) == (102, 103, 9, 3)


def test_a_market_order_meets_the_best_price_first_and_the_oldest_order_first(book: OrderBook) -> None:
    assert book.market(BUY, 10, max_fills=9) == [(102, 2), (102, 7), (103, 1)]
    assert book.asks.top(5) == {103: 5}
    assert book.market(SELL, 6, max_fills=9) == [(100, 5), (100, 1)]
    assert book.bids.top(1) == {100: 2}
    assert (book.bids.order_count, book.asks.order_count) == (3, 1)


def test_what_a_market_order_cannot_match_is_cancelled(book: OrderBook) -> None:
    assert book.market(BUY, 1000, max_fills=2) == [(102, 2), (102, 7)]
    assert book.market(BUY, 1000, max_fills=9) == [(103, 6)]
    assert book.market(BUY, 1, max_fills=9) == []
    assert len(book.asks) == 0


def test_a_cancelled_order_is_counted_from_the_best_price_and_the_oldest_order(book: OrderBook) -> None:
    book.bids.cancel(1)
    assert book.bids.top(3) == {100: 5, 99: 4, 97: 1}
    book.bids.cancel(1)
    assert book.bids.top(3) == {100: 5, 97: 1}
    with pytest.raises(IndexError, match="must be one of 2 orders"):
        book.bids.cancel(2)
    book.asks.cancel_level(0)
    assert book.asks.top(3) == {103: 6}
    assert (book.bids.order_count, book.asks.order_count) == (2, 1)


@pytest.mark.parametrize(("side", "tick"), [(BID, 102), (BID, 103), (ASK, 100), (ASK, 99)])
def test_a_limit_order_that_would_lock_or_cross_the_book_is_refused(book: OrderBook, side: int, tick: int) -> None:
    with pytest.raises(ValueError, match=r"must be (below|above) the best"):
        book.limit(side, tick, 1)


@pytest.mark.parametrize(("tick", "lots"), [(0, 1), (-1, 1), (98, 0), (98, -2)])
def test_a_limit_order_needs_a_positive_price_and_quantity(book: OrderBook, tick: int, lots: int) -> None:
    with pytest.raises(ValueError, match="must have a positive price and quantity"):
        book.limit(BID, tick, lots)
