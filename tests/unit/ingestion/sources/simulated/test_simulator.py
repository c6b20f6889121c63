"""The simulated market as a reader of its messages sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.order_flow import MOST_FILLS, MarketOrder, OrderFlow
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, SimulatedSymbol, simulate
from market.clock import MILLISECOND_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidSettings
from market.events import BUY

BTC, ETH = DEFAULT_SYMBOLS
START_NS = parse_iso_ns("2026-08-09T07:59:25.250")
FUNDING_MS = parse_iso_ns("2026-08-09T08:00:00") // MILLISECOND_NS
EIGHT_HOURS_MS = 8 * 3600 * 1000
MINUTE_MS = 60_000

# The fields of the recorded messages in the exchange's order, without its tickers' two of single-sided open interest.
FIELDS = {
    "orderbook": (["topic", "type", "ts", "data", "cts"], ["s", "b", "a", "u", "seq"]),
    "publicTrade": (["topic", "type", "ts", "data"], ["T", "s", "S", "v", "p", "L", "i", "BT", "RPI", "seq"]),
    "kline": (
        ["topic", "data", "ts", "type"],
        [
            *("start", "end", "interval", "open", "close", "high", "low", "volume", "turnover"),
            *("confirm", "timestamp"),
        ],
    ),
    "tickers": (
        ["topic", "type", "data", "cs", "ts"],
        [
            *("symbol", "tickDirection", "price24hPcnt", "lastPrice", "prevPrice24h", "highPrice24h", "lowPrice24h"),
            *("prevPrice1h", "markPrice", "indexPrice", "openInterest", "openInterestValue", "turnover24h"),
            *("volume24h", "fundingIntervalHour", "fundingCap", "nextFundingTime", "fundingRate"),
            *("bid1Price", "bid1Size", "ask1Price", "ask1Size", "preOpenPrice", "preQty", "curPreListingPhase"),
        ],
    ),
}

Message = dict[str, Any]


@pytest.fixture(scope="module")
def market() -> list[TimedMessage]:
    """Both default symbols for 200 s, across a funding time and three ends of minutes."""
    return list(simulate(DEFAULT_SYMBOLS, seed=7, start_ns=START_NS, duration_ns=200 * SECOND_NS))


def parsed(messages: Iterable[TimedMessage], symbol: str = "", kind: str = "") -> list[Message]:
    loaded = [orjson.loads(message.body) for message in messages]
    return [m for m in loaded if m["topic"].startswith(kind) and m["topic"].endswith(symbol)]


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


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def first_seconds(seed: int) -> list[TimedMessage]:
        return list(simulate(DEFAULT_SYMBOLS, seed=seed, start_ns=START_NS, duration_ns=3 * SECOND_NS))

    assert first_seconds(1) == first_seconds(1)
    ours, theirs = ({message.body for message in first_seconds(seed)} for seed in (1, 2))
    assert not ours & theirs


def test_the_first_bytes_of_a_seed_never_change() -> None:
    message = next(simulate([BTC], seed=1, start_ns=START_NS, duration_ns=SECOND_NS))
    ticker = orjson.loads(message.body)["data"]
    assert (message.recv_ns - START_NS, ticker["openInterest"], ticker["bid1Size"], ticker["ask1Price"]) == (
        19041253,
        "41104.568",
        "0.008",
        "65000.10",
    )


def test_a_longer_simulation_begins_with_the_shorter_one() -> None:
    short = list(simulate([BTC], seed=3, start_ns=START_NS, duration_ns=2 * SECOND_NS))
    longer = list(simulate([BTC], seed=3, start_ns=START_NS, duration_ns=4 * SECOND_NS))
    assert longer[: len(short)] == short


def test_adding_a_symbol_changes_nothing_for_the_others(market: list[TimedMessage]) -> None:
    alone = simulate([BTC], seed=7, start_ns=START_NS, duration_ns=200 * SECOND_NS)
    assert list(alone) == [message for message in market if b"BTCUSDT" in message.body]


def test_messages_arrive_in_order_1_to_40_ms_after_they_are_sent(market: list[TimedMessage]) -> None:
    assert all(a.recv_ns <= b.recv_ns for a, b in pairwise(market))
    for message in market:
        sent = orjson.loads(message.body)
        event_ms = sent["data"][0]["T"] if sent["topic"].startswith("publicTrade") else sent["ts"]
        assert event_ms + 1 <= message.recv_ns / MILLISECOND_NS <= event_ms + 41


@pytest.mark.parametrize("kind", FIELDS)
def test_every_message_has_the_fields_of_the_recorded_ones(market: list[TimedMessage], kind: str) -> None:
    outer, inner = FIELDS[kind]
    messages = parsed(market, kind=kind)
    assert messages
    for message in messages:
        assert list(message) == outer
        elements = message["data"] if isinstance(message["data"], list) else [message["data"]]
        for element in elements:
            if message["type"] == "delta" and kind == "tickers":
                assert set(element) <= set(inner)
            else:
                assert list(element) == inner


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


@pytest.mark.parametrize("symbol", DEFAULT_SYMBOLS)
def test_every_kline_is_that_of_the_trades_sent_before_it(market: list[TimedMessage], symbol: SimulatedSymbol) -> None:
    trades: list[tuple[int, Decimal, Decimal]] = []
    last = Decimal(symbol.start_price)
    seen = 0
    for message in parsed(market, symbol.symbol):
        if message["topic"].startswith("publicTrade"):
            trades += [(t["T"], Decimal(t["p"]), Decimal(t["v"])) for t in message["data"]]
        if not message["topic"].startswith("kline"):
            continue
        for kline in message["data"]:
            before = [price for at_ms, price, _ in trades if at_ms < kline["start"]]
            inside = [(price, size) for at_ms, price, size in trades if kline["start"] <= at_ms <= kline["end"]]
            opened = before[-1] if before else last
            prices = [opened, *(price for price, _ in inside)]
            assert Decimal(kline["open"]) == opened
            assert Decimal(kline["high"]) == max(prices)
            assert Decimal(kline["low"]) == min(prices)
            assert Decimal(kline["close"]) == prices[-1]
            assert Decimal(kline["volume"]) == sum(size for _, size in inside)
            assert Decimal(kline["turnover"]) == sum(price * size for price, size in inside)
            seen += len(inside)
    assert seen > 1000


@pytest.mark.parametrize("symbol", DEFAULT_SYMBOLS)
def test_each_minute_is_confirmed_once_and_soon_after_its_end(
    market: list[TimedMessage], symbol: SimulatedSymbol
) -> None:
    messages = parsed(market, symbol.symbol, "kline")
    confirmed = [(m["ts"], k) for m in messages for k in m["data"] if k["confirm"]]
    first_minute_ms = FUNDING_MS - MINUTE_MS
    assert [k["start"] for _, k in confirmed] == [first_minute_ms + i * MINUTE_MS for i in range(3)]
    assert all(100 <= at_ms - (k["end"] + 1) <= 1000 for at_ms, k in confirmed)
    assert all(b["ts"] - a["ts"] <= 3600 for a, b in pairwise(messages))
    assert all(k["start"] <= m["ts"] <= k["end"] for m in messages for k in m["data"] if not k["confirm"])


def test_trade_ids_are_unique(market: list[TimedMessage]) -> None:
    ids = [trade["i"] for message in parsed(market, kind="publicTrade") for trade in message["data"]]
    assert len(ids) == len(set(ids)) > 500


@pytest.mark.parametrize("symbol", DEFAULT_SYMBOLS)
def test_prices_and_sizes_are_whole_ticks_and_lots_with_their_decimals(
    market: list[TimedMessage], symbol: SimulatedSymbol
) -> None:
    steps = {"price": Decimal(symbol.tick_size), "size": Decimal(symbol.lot_size)}
    for message in parsed(market, symbol.symbol):
        found: list[tuple[str, str]] = []
        if message["topic"].startswith("publicTrade"):
            found = [pair for t in message["data"] for pair in (("price", t["p"]), ("size", t["v"]))]
        elif message["topic"].startswith("orderbook"):
            levels = message["data"]["b"] + message["data"]["a"]
            found = [pair for price, size in levels for pair in (("price", price), ("size", size)) if pair[1] != "0"]
        for name, text in found:
            assert Decimal(text) % steps[name] == 0
            assert Decimal(text).as_tuple().exponent == steps[name].as_tuple().exponent


@pytest.mark.parametrize("symbol", DEFAULT_SYMBOLS)
def test_funding_time_moves_only_at_its_boundary_and_the_rate_now_and_then(
    market: list[TimedMessage], symbol: SimulatedSymbol
) -> None:
    tickers = parsed(market, symbol.symbol, "tickers")
    moves = [(m["ts"], int(m["data"]["nextFundingTime"])) for m in tickers if "nextFundingTime" in m["data"]]
    assert [to_ms for _, to_ms in moves] == [FUNDING_MS, FUNDING_MS + EIGHT_HOURS_MS]
    assert FUNDING_MS <= moves[1][0] <= FUNDING_MS + 500
    rates = [Decimal(m["data"]["fundingRate"]) for m in tickers if "fundingRate" in m["data"]]
    assert 2 <= len(rates) <= 20
    assert all(0 < abs(b - a) < Decimal("0.00001") for a, b in pairwise(rates))


@pytest.mark.parametrize("symbol", DEFAULT_SYMBOLS)
def test_mark_and_index_stay_near_the_book_and_change_in_some_tickers_only(
    market: list[TimedMessage], symbol: SimulatedSymbol
) -> None:
    ticker: dict[str, str] = {}
    tickers = parsed(market, symbol.symbol, "tickers")
    for message in tickers:
        ticker.update(message["data"])
        bid = Decimal(ticker["bid1Price"])
        assert abs(Decimal(ticker["markPrice"]) / bid - 1) < Decimal("0.0005")
        assert abs(Decimal(ticker["indexPrice"]) / bid - 1) < Decimal("0.0005")
    assert 0.1 < sum("markPrice" in message["data"] for message in tickers) / len(tickers) < 0.5


def test_the_rates_are_those_of_a_busy_instrument(market: list[TimedMessage]) -> None:
    for symbol in DEFAULT_SYMBOLS:
        deltas = [m["data"] for m in parsed(market, symbol.symbol, "orderbook")[1:]]
        levels = sum(len(d["b"]) + len(d["a"]) for d in deltas) / len(deltas)
        trades = sum(len(m["data"]) for m in parsed(market, symbol.symbol, "publicTrade"))
        assert 8 <= len(deltas) / 200 <= 10
        assert 8 <= levels <= 24
        assert 2 <= trades / 200 <= 8
        assert 3 <= len(parsed(market, symbol.symbol, "tickers")) / 200 <= 10


def test_messages_are_made_only_as_they_are_asked_for() -> None:
    century_ns = 100 * 365 * 86_400 * SECOND_NS
    messages = simulate(DEFAULT_SYMBOLS, seed=1, start_ns=START_NS, duration_ns=century_ns)
    assert [orjson.loads(next(messages).body)["type"] for _ in range(4)] == ["snapshot"] * 4


def test_everything_wrong_with_the_arguments_is_named_at_once() -> None:
    cheap = SimulatedSymbol("XUSDT", "1", "0.01", "1")
    with pytest.raises(InvalidSettings) as caught:
        simulate(
            [cheap, cheap],
            seed=-1,
            start_ns=-1,
            duration_ns=0,
            depth=1,
            book_interval_ns=SECOND_NS,
            mean_activity=0.0,
        )
    named = [problem.partition(":")[0] for problem in caught.value.problems]
    assert named == ["symbols", "seed", "start_ns", "duration_ns", "depth", "book_interval_ns", "mean_activity"]
    with pytest.raises(InvalidSettings, match=r"XUSDT.start_price: must be at least 500 ticks at depth 50, was 100"):
        simulate([cheap], seed=0, start_ns=0, duration_ns=1, depth=50)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (("1900.00", "0", "0.01"), "tick_size: must be positive"),
        (("1900.00", "0.01", "-1"), "lot_size: must be positive"),
        (("1900.001", "0.01", "0.01"), "start_price: must have at most 2 decimals"),
        (("1900.03", "0.05", "0.01"), "start_price: must be a positive multiple of 0.05"),
        (("0.00", "0.01", "0.01"), "start_price: must be a positive multiple"),
        (("abc", "0.01", "0.01"), "start_price: must be a plain decimal number"),
    ],
)
def test_a_symbol_that_cannot_be_traded_is_refused(texts: tuple[str, str, str], problem: str) -> None:
    with pytest.raises(InvalidSettings, match=problem):
        SimulatedSymbol("XUSDT", *texts)
