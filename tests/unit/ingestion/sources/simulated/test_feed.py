"""The messages of the simulated exchange, one at a time, in markets made by hand."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ingestion.sources.simulated.decimals import DecimalStep, decimal_text, short_text
from ingestion.sources.simulated.feed import Candle, ContractState, PublicFeed
from ingestion.sources.simulated.matching import OrderBook
from market.clock import MINUTE_NS, SECOND_NS
from market.events import ASK, BID, BUY, SELL

START_NS = 1_786_310_760 * SECOND_NS  # a whole minute
DAY_NS = 1440 * MINUTE_NS


@pytest.fixture
def feed() -> PublicFeed:
    history = [Candle(START_NS - DAY_NS + i * MINUTE_NS, 1000, 1010, 990, 1000, 10, 10_000) for i in range(1440)]
    history.append(history[-1].next())
    return PublicFeed(
        "XUSDT", tick=DecimalStep(10, 2), lot=DecimalStep(1, 3), depth=50, history=history, identity="test"
    )


@pytest.fixture
def book() -> OrderBook:
    book = OrderBook()
    for i in range(60):
        book.limit(BID, 999 - i, 5)
        book.limit(ASK, 1001 + i, 7)
    return book


def klines(feed: PublicFeed, now_ns: int) -> list[dict[str, Any]]:
    message: dict[str, Any] = orjson.loads(feed.kline(now_ns))
    return list(message["data"])


def test_decimals_are_written_exactly() -> None:
    assert [decimal_text(v, 2) for v in (0, 5, 6_511_430, -5, -123)] == ["0.00", "0.05", "65114.30", "-0.05", "-1.23"]
    assert decimal_text(7, 0) == "7"
    assert [short_text(v, 2) for v in (0, 5, 6_511_430, 1000, -50)] == ["0", "0.05", "65114.3", "10", "-0.5"]
    assert short_text(100, 0) == "100"
    assert DecimalStep.parse("0.10", "tick").text(651_143) == "65114.30"


@pytest.mark.parametrize("text", ["0", "0.00", "-0.1", "1e-3", "", "x"])
def test_a_step_is_a_positive_plain_decimal_number(text: str) -> None:
    with pytest.raises(ValueError, match="tick: must be"):
        DecimalStep.parse(text, "tick")


def test_a_minute_without_trades_carries_the_last_price_at_zero_volume(feed: PublicFeed) -> None:
    feed.trades([(1003, 4), (998, 2)], taker=BUY, at_ns=START_NS, seq=1)
    feed.roll(START_NS + MINUTE_NS)
    feed.kline(START_NS + MINUTE_NS)
    feed.roll(START_NS + 2 * MINUTE_NS - 1)
    assert [k["confirm"] for k in klines(feed, START_NS + 2 * MINUTE_NS - 1)] == [False]
    feed.roll(START_NS + 2 * MINUTE_NS)
    silent, following = klines(feed, START_NS + 2 * MINUTE_NS)
    assert silent["confirm"]
    assert silent["start"] == START_NS // 10**6 + 60_000
    assert silent["end"] == silent["start"] + 59_999
    assert [silent[name] for name in ("open", "high", "low", "close")] == ["99.8"] * 4
    assert [silent[name] for name in ("volume", "turnover")] == ["0", "0"]
    assert not following["confirm"]
    assert following["start"] == silent["end"] + 1


def test_a_closed_minute_is_confirmed_once(feed: PublicFeed) -> None:
    feed.roll(START_NS + MINUTE_NS)
    assert [k["confirm"] for k in klines(feed, START_NS + MINUTE_NS)] == [True, False]
    assert [k["confirm"] for k in klines(feed, START_NS + MINUTE_NS)] == [False]


def test_tick_direction_compares_each_fill_with_the_one_before_it(feed: PublicFeed) -> None:
    first = orjson.loads(feed.trades([(1000, 1), (1001, 1), (1001, 1)], taker=BUY, at_ns=START_NS, seq=1))
    second = orjson.loads(feed.trades([(1001, 1), (999, 1), (999, 1)], taker=SELL, at_ns=START_NS, seq=2))
    assert [t["L"] for t in first["data"]] == ["ZeroPlusTick", "PlusTick", "ZeroPlusTick"]
    assert [t["L"] for t in second["data"]] == ["ZeroPlusTick", "MinusTick", "ZeroMinusTick"]
    assert {t["S"] for t in first["data"]} == {"Buy"}
    assert {t["S"] for t in second["data"]} == {"Sell"}


def test_a_level_that_leaves_the_window_is_deleted_and_one_that_enters_is_sent(
    feed: PublicFeed, book: OrderBook
) -> None:
    feed.book_snapshot(book, at_ns=START_NS, seq=1, update_id=10)
    assert feed.book_delta(book, at_ns=START_NS, changed_ns=START_NS, seq=2) is None
    book.limit(BID, 1000, 3)
    book.market(BUY, 7, max_fills=1)
    raw = feed.book_delta(book, at_ns=START_NS, changed_ns=START_NS - SECOND_NS, seq=3)
    assert raw is not None
    message = orjson.loads(raw)
    assert message["data"]["u"] == 11
    assert message["data"]["b"] == [["100.00", "0.003"], ["95.00", "0"]]
    assert message["data"]["a"] == [["100.10", "0"], ["105.10", "0.007"]]
    assert message["ts"] - message["cts"] == 1000


def test_a_ticker_delta_holds_the_changed_fields_alone(feed: PublicFeed, book: OrderBook) -> None:
    contract = ContractState(mark=10_001, index=10_002, open_interest=2_000, funding_rate=-12_300)
    snapshot = feed.ticker(book, contract, now_ns=START_NS, seq=1)
    assert snapshot is not None
    everything = orjson.loads(snapshot)
    assert everything["type"] == "snapshot"
    assert everything["data"]["fundingRate"] == "-0.000123"
    assert everything["data"]["markPrice"] == "100.01"
    assert everything["data"]["indexPrice"] == "100.02"
    assert everything["data"]["openInterest"] == "2.000"
    assert everything["data"]["openInterestValue"] == "200.02"
    assert feed.ticker(book, contract, now_ns=START_NS + SECOND_NS, seq=2) is None
    contract.funding_rate = 10_000
    book.limit(BID, 1000, 3)
    delta = feed.ticker(book, contract, now_ns=START_NS + SECOND_NS, seq=3)
    assert delta is not None
    assert orjson.loads(delta)["type"] == "delta"
    assert orjson.loads(delta)["data"] == {
        "symbol": "XUSDT",
        "fundingRate": "0.0001",
        "bid1Price": "100.00",
        "bid1Size": "0.003",
    }


def test_the_day_forgets_its_oldest_minute(feed: PublicFeed, book: OrderBook) -> None:
    contract = ContractState(mark=10_000, index=10_000, open_interest=1, funding_rate=0)
    first = feed.ticker(book, contract, now_ns=START_NS, seq=1)
    feed.trades([(1200, 25)], taker=BUY, at_ns=START_NS, seq=1)
    feed.roll(START_NS + MINUTE_NS)
    second = feed.ticker(book, contract, now_ns=START_NS + MINUTE_NS, seq=1)
    assert first is not None
    assert second is not None
    assert orjson.loads(first)["data"]["volume24h"] == "14.4000"
    assert orjson.loads(second)["data"]["volume24h"] == "14.4150"
    assert orjson.loads(second)["data"]["highPrice24h"] == "120.00"
    assert orjson.loads(second)["data"]["price24hPcnt"] == "0.200000"


def test_the_next_funding_time_is_after_now_also_at_a_funding_time(feed: PublicFeed, book: OrderBook) -> None:
    contract = ContractState(mark=10_000, index=10_000, open_interest=1, funding_rate=0)
    funding_ns = 1_786_320_000 * SECOND_NS  # 2026-08-10 00:00 UTC
    times = []
    for now_ns in (funding_ns - 1, funding_ns):
        message = feed.ticker(book, contract, now_ns=now_ns, seq=1)
        assert message is not None
        times.append(orjson.loads(message)["data"]["nextFundingTime"])
    assert times == ["1786320000000", "1786348800000"]
