"""What the simulated market's messages say: fields, klines, prices, funding and marks as the exchange has them."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, SimulatedSymbol
from market.clock import MILLISECOND_NS, parse_iso_ns
from tests.simulated_messages import parsed

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
