"""Who follows the simulated market's messages has a whole book, and trades and tickers that fit it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.order_flow import MOST_FILLS, MarketOrder, OrderFlow
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, SimulatedSymbol, simulate
from market.clock import MILLISECOND_NS, SECOND_NS
from market.events import BUY
from tests.simulated_messages import BTC, ETH, START_NS, Message, parsed


@dataclass
class Reader:
    """A plain reader of one symbol's messages, which asserts the simulator's laws as it goes."""

    depth: int
    bids: Any = field(default_factory=SortedDict)
    asks: Any = field(default_factory=SortedDict)
    left: dict[str, Any] = field(default_factory=dict)
    """What the trades since the last book message have left of the side that each taker meets."""
    ticker: dict[str, str] = field(default_factory=dict)
    update_id: int = -1
    seq: int = -1

    def read(self, message: Message) -> None:
        kind = message["topic"].partition(".")[0]
        if kind == "orderbook":
            self.read_book(message)
        elif kind == "publicTrade":
            self.read_trades(message["data"])
        elif kind == "tickers":
            self.read_ticker(message)

    def read_book(self, message: Message) -> None:
        book = message["data"]
        if message["type"] == "snapshot":
            self.bids, self.asks = SortedDict(), SortedDict()
        else:
            assert book["u"] == self.update_id + 1
            assert book["seq"] > self.seq + 1
            assert book["b"] or book["a"]
        self.update_id, self.seq = book["u"], book["seq"]
        for side, levels in ((self.bids, book["b"]), (self.asks, book["a"])):
            for price, size in levels:
                assert side.get(Decimal(price), Decimal(0)) != Decimal(size), "a level is sent only when it changed"
                if size == "0":
                    del side[Decimal(price)]
                else:
                    side[Decimal(price)] = Decimal(size)
        assert len(self.bids) == len(self.asks) == self.depth
        assert self.bids.peekitem(-1)[0] < self.asks.peekitem(0)[0]
        self.left = {"Buy": self.asks.copy(), "Sell": self.bids.copy()}

    def read_trades(self, trades: list[Message]) -> None:
        assert trades
        assert len({(trade["S"], trade["T"], trade["seq"]) for trade in trades}) == 1
        assert trades[0]["seq"] > self.seq
        self.seq = trades[0]["seq"]
        for trade in trades:
            side, price, size = self.left[trade["S"]], Decimal(trade["p"]), Decimal(trade["v"])
            assert price == side.peekitem(0 if trade["S"] == "Buy" else -1)[0], "a fill takes the best level left"
            assert 0 < size <= side[price]
            side[price] -= size
            if not side[price]:
                del side[price]

    def read_ticker(self, message: Message) -> None:
        assert message["type"] == ("delta" if self.ticker else "snapshot")
        changed = {name: text for name, text in message["data"].items() if name != "symbol"}
        assert changed
        assert all(self.ticker.get(name) != text for name, text in changed.items())
        self.ticker.update(changed)
        if self.bids:
            bid, ask = self.bids.peekitem(-1), self.asks.peekitem(0)
            assert (Decimal(self.ticker["bid1Price"]), Decimal(self.ticker["bid1Size"])) == bid
            assert (Decimal(self.ticker["ask1Price"]), Decimal(self.ticker["ask1Size"])) == ask


@pytest.mark.parametrize("symbol", DEFAULT_SYMBOLS)
def test_a_reader_can_follow_the_book_the_trades_and_the_tickers(
    market: list[TimedMessage], symbol: SimulatedSymbol
) -> None:
    messages = parsed(market, symbol.symbol)
    assert [m["topic"].partition(".")[0] for m in messages[:2]] == ["tickers", "orderbook"]
    reader = Reader(depth=200)
    for message in messages:
        reader.read(message)
    assert [m["type"] for m in parsed(market, symbol.symbol, "orderbook")].count("snapshot") == 1


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**64),
    depth=st.sampled_from([50, 200, 1000]),
    step_ms=st.sampled_from([10, 20, 100, 200]),
    # The cheapest price that is allowed, and a tick as coarse: the book has the least room there.
    coarse=st.booleans(),
)
def test_the_laws_hold_for_any_seed_depth_and_interval(*, seed: int, depth: int, step_ms: int, coarse: bool) -> None:
    symbol = SimulatedSymbol("XUSDT", str(10 * depth), "1", "1") if coarse else ETH
    reader = Reader(depth)
    messages = simulate(
        [symbol],
        seed=seed,
        start_ns=START_NS,
        duration_ns=2 * SECOND_NS,
        depth=depth,
        book_interval_ns=step_ms * MILLISECOND_NS,
    )
    for message in messages:
        reader.read(orjson.loads(message.body))
    assert reader.update_id >= 0


def test_the_trades_of_one_step_cannot_reach_the_end_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = [MarketOrder(phase=i / 10, taker=BUY, lots=10**9) for i in range(9)]
    monkeypatch.setattr(OrderFlow, "market_orders", lambda _flow: greedy)
    reader = Reader(depth=50)
    fills = []
    for message in simulate([BTC], seed=1, start_ns=START_NS, duration_ns=3 * SECOND_NS, depth=50):
        parsed_message = orjson.loads(message.body)
        reader.read(parsed_message)
        if parsed_message["topic"].startswith("publicTrade"):
            fills.append(len(parsed_message["data"]))
    assert fills == [MOST_FILLS] * 29
