"""Decoding: what each message becomes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ingestion.decoding.own import control_message, part_message, restated_message
from ingestion.venues.bybit.decode import Decoder
from ingestion.venues.bybit.topics import stated
from market.errors import MalformedMessage
from market.events import (
    ASK,
    BID,
    BUY,
    CONFIRMED,
    CONTROL,
    FIRST,
    FUNDING_RATE,
    GAP,
    INDEX_PRICE,
    KLINE,
    KLINE_FIELD_COUNT,
    LAST,
    MARK_PRICE,
    NEXT_FUNDING,
    NO_LEVEL,
    NO_TICKER_FIELD,
    OPEN_INTEREST,
    ORDERBOOK,
    POSITION,
    SELL,
    SNAPSHOT,
    START,
    TICKER,
    TRADE,
    UNKNOWN,
)
from market.instruments import Instrument
from tests.bybit_messages import (
    BOOK,
    BTCUSDT,
    ENVELOPES,
    EXCHANGE_MESSAGES,
    KLINES,
    MS,
    TICKERS,
    TRADES,
    Json,
    PinnedScales,
    changed,
    column,
    decode,
    enveloped,
    putting,
)


def test_a_book_message_gives_bids_then_asks_in_message_order() -> None:
    decoded = decode(BOOK)
    assert (decoded.symbol, decoded.kind, decoded.topic) == ("BTCUSDT", ORDERBOOK, "orderbook.200.BTCUSDT")
    assert (decoded.received_ns, decoded.trace_id) == (None, None)
    assert column(decoded, "field") == [BID, BID, ASK]
    assert column(decoded, "px") == [65114200, 65114100, 65114300]
    assert column(decoded, "qty") == [5954000, 0, 10470000]
    assert column(decoded, "update_id") == [31, 31, 31]
    assert column(decoded, "flags") == [FIRST, 0, LAST]
    assert column(decoded, "seq") == column(decoded, "recv_ns") == [0, 0, 0]


def test_a_snapshot_is_marked_on_every_record() -> None:
    decoded = decode({**BOOK, "type": "snapshot"})
    assert column(decoded, "flags") == [SNAPSHOT | FIRST, SNAPSHOT, SNAPSHOT | LAST]


def test_a_book_happened_at_its_matching_time_and_without_one_when_it_was_sent() -> None:
    assert column(decode(BOOK), "event_ns") == [1786310818990 * MS] * 3
    assert column(decode(changed(BOOK, lambda m: m.pop("cts"))), "event_ns") == [1786310819000 * MS] * 3


def test_a_delta_without_levels_is_one_record_that_still_counts_its_update_id() -> None:
    decoded = decode(changed(BOOK, lambda m: m["data"].update(a=[], b=[])))
    assert column(decoded, "field") == [NO_LEVEL]
    assert column(decoded, "update_id") == [31]
    assert column(decoded, "flags") == [FIRST | LAST]
    assert column(decoded, "px") == column(decoded, "qty") == [0]


@pytest.mark.parametrize("depth", ["50", "200", "500", "1000"])
def test_every_depth_that_feeds_the_features_is_read(depth: str) -> None:
    assert decode({**BOOK, "topic": f"orderbook.{depth}.BTCUSDT"}).kind == ORDERBOOK


def test_each_trade_keeps_its_own_time_and_the_takers_side() -> None:
    decoded = decode(TRADES)
    assert decoded.kind == TRADE
    assert column(decoded, "field") == [SELL, BUY]
    assert column(decoded, "px") == [65114200, 65114300]
    assert column(decoded, "qty") == [4000, 1500000]
    assert column(decoded, "event_ns") == [1786310819680 * MS, 1786310819679 * MS]
    assert column(decoded, "update_id") == [0, 0]
    assert column(decoded, "flags") == [FIRST, LAST]


def test_a_candle_gives_its_six_values_and_its_start() -> None:
    decoded = decode(KLINES)
    assert decoded.kind == KLINE
    assert column(decoded, "field") == list(range(KLINE_FIELD_COUNT))
    assert column(decoded, "px") == [65119900, 65120000, 65114200, 65114300, 1576000, 102627995 * 10**6]
    assert column(decoded, "update_id") == [1786310760000 * MS] * 6
    assert column(decoded, "event_ns") == [1786310818440 * MS] * 6
    assert column(decoded, "flags") == [FIRST, 0, 0, 0, 0, LAST]


def test_several_candles_are_one_message() -> None:
    def add_confirmed(message: Json) -> None:
        message["data"].insert(
            0, {**message["data"][0], "start": 1786310700000, "timestamp": 1786310760100, "confirm": True}
        )

    decoded = decode(changed(KLINES, add_confirmed))
    assert column(decoded, "flags") == [CONFIRMED | FIRST, *[CONFIRMED] * 5, *[0] * 5, LAST]
    assert column(decoded, "update_id") == [1786310700000 * MS] * 6 + [1786310760000 * MS] * 6
    assert column(decoded, "event_ns") == [1786310760100 * MS] * 6 + [1786310818440 * MS] * 6
    assert column(decoded, "field") == [*range(6), *range(6)]


def test_the_turnover_of_a_busy_minute_is_exact_beyond_the_largest_mantissa() -> None:
    decoded = decode(changed(KLINES, lambda m: m["data"][0].update(turnover="912345678.123456789")))
    assert column(decoded, "px")[5] == 912345678_123456789


def test_a_turnover_that_does_not_fit_is_unknown_and_the_candle_is_taken() -> None:
    for turnover in ("9223372037", "1.0000000001"):
        decoded = decode(changed(KLINES, putting("data.0.turnover", turnover)))
        assert column(decoded, "px") == [65119900, 65120000, 65114200, 65114300, 1576000, UNKNOWN]


def test_a_ticker_gives_the_fields_it_states() -> None:
    decoded = decode(TICKERS)
    assert decoded.kind == TICKER
    assert dict(zip(column(decoded, "field"), column(decoded, "px"), strict=True)) == {
        FUNDING_RATE: -(10**8),
        NEXT_FUNDING: 1786320000000 * MS,
        OPEN_INTEREST: 59891732000,
        MARK_PRICE: 65117440,
        INDEX_PRICE: 65137760,
    }
    assert column(decoded, "event_ns") == [1786310817583 * MS] * 5


@pytest.mark.parametrize(
    "fields", [{"bid1Price": "65114.20"}, {"fundingRate": "", "nextFundingTime": "0"}, {"markPrice": ""}]
)
def test_a_ticker_that_states_nothing_read_still_proves_the_source_alive(fields: Json) -> None:
    decoded = decode({**TICKERS, "type": "delta", "data": {"symbol": "BTCUSDT", **fields}})
    assert column(decoded, "field") == [NO_TICKER_FIELD]
    assert column(decoded, "px") == [0]
    assert column(decoded, "flags") == [FIRST | LAST]


@pytest.mark.parametrize("message", EXCHANGE_MESSAGES, ids=lambda message: message["topic"])
def test_an_envelope_gives_the_records_of_its_element(message: Json) -> None:
    element = message["data"][:1] if isinstance(message["data"], list) else message["data"]
    direct, through_gateway = decode({**message, "data": element}), decode(enveloped(message))
    assert through_gateway.symbol == direct.symbol
    assert through_gateway.trace_id == "trace"
    assert through_gateway.received_ns == 1786310818 * 10**9
    if direct.kind in {ORDERBOOK, TICKER}:
        assert set(column(through_gateway, "event_ns")) == {1786310818130 * MS}
        direct.records["event_ns"] = 1786310818130 * MS
    np.testing.assert_array_equal(through_gateway.records, direct.records)


def test_an_envelopes_symbol_is_the_payloads_before_the_topics() -> None:
    instruments = PinnedScales(BTCUSDT, Instrument("ETHUSDT", 3, 6), Instrument("XRPUSDT", 3, 6))
    envelope = changed(ENVELOPES[3], lambda e: e["payload"].update(symbol="ETHUSDT", s="XRPUSDT"))
    assert decode(envelope, instruments).symbol == "ETHUSDT"
    envelope["payload"].pop("symbol")
    assert decode(envelope, instruments).symbol == "XRPUSDT"
    envelope["payload"].pop("s")
    assert decode(envelope, instruments).symbol == "BTCUSDT"


@pytest.mark.parametrize(("field", "name"), [(START, "start"), (GAP, "gap")])
def test_a_control_message_comes_back_as_its_record(field: int, name: str) -> None:
    body = control_message(field, symbol="NEW-USDT", event_ns=1786310818130 * MS + 7, reason="u jumped")
    assert json.loads(body)["reason"] == "u jumped"
    decoded = decode(body, PinnedScales())
    assert (decoded.symbol, decoded.kind) == ("NEW-USDT", CONTROL)
    assert decoded.topic == f"feature-service.{name}.NEW-USDT"
    assert decoded.records.tolist() == [(0, 1786310818130 * MS, 0, 0, 0, 0, CONTROL, field, FIRST | LAST)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"success":true,"ret_msg":"","conn_id":"x","op":"subscribe"}',
        b'{"success":true,"ret_msg":"pong","conn_id":"x","op":"ping"}',
        b'{"op":"pong"}',
    ],
)
def test_an_answer_carries_no_market_data(body: bytes) -> None:
    assert Decoder(PinnedScales()).decode(body) is None


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("markPrice", "65117.4412345", MARK_PRICE),
        ("indexPrice", "65137.1234", INDEX_PRICE),
        ("openInterest", "59891.7320001", OPEN_INTEREST),
        ("fundingRate", "0.0001000000001", FUNDING_RATE),
    ],
)
def test_a_field_of_a_ticker_that_does_not_fit_is_unknown_and_the_others_are_taken(
    name: str, text: str, field: int
) -> None:
    whole = decode(TICKERS)
    decoded = decode(changed(TICKERS, putting(f"data.{name}", text)))
    stated = dict(zip(column(decoded, "field"), column(decoded, "px"), strict=True))
    expected = dict(zip(column(whole, "field"), column(whole, "px"), strict=True))
    assert stated == {**expected, field: UNKNOWN}


def test_a_merged_ticker_comes_back_as_it_was_stated() -> None:
    stated = decode(TICKERS)
    fields = dict(zip(column(stated, "field"), column(stated, "px"), strict=True))
    decoded = decode(restated_message(fields, BTCUSDT, event_ns=1786910817583 * MS))
    assert decoded.kind == TICKER
    assert dict(zip(column(decoded, "field"), column(decoded, "px"), strict=True)) == fields
    assert column(decoded, "event_ns") == [1786910817583 * MS] * 5


def test_a_message_without_some_of_its_trades_is_its_other_trades_and_keeps_its_bytes() -> None:
    body = json.dumps(TRADES, separators=(",", ": ")).encode()
    whole = decode(body)
    part = part_message(body, [0], symbol="BTCUSDT")
    assert body in part
    decoded = decode(part)
    assert decoded.trade_ids == whole.trade_ids[1:]
    assert column(decoded, "px") == column(whole, "px")[1:]
    flags = column(decoded, "flags")
    assert flags[0] & FIRST
    assert flags[-1] & LAST
    for left_out in ([5], list(range(len(whole.records)))):
        with pytest.raises(MalformedMessage, match="must leave out some trades"):
            decode(part_message(body, left_out, symbol="BTCUSDT"))


def test_a_start_names_the_kind_that_it_is_of() -> None:
    for kind in (CONTROL, ORDERBOOK, TRADE, KLINE, TICKER, POSITION):
        decoded = decode(control_message(START, symbol="BTCUSDT", event_ns=MS, reason="test", kind=kind))
        assert (column(decoded, "field"), column(decoded, "px")) == ([START], [kind])


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"topic":"publicTrade.BTCUSDT","ts":1,"data":[{"T":', (TRADE, "BTCUSDT")),
        (b'{"recv_ns":1,"msg":{"topic":"orderbook.50.BTCUSDT","ts', (ORDERBOOK, "BTCUSDT")),
        (b'{"topic":"orderbook.1.BTCUSDT"}', None),
        (b'{"topic":"kline.5.BTCUSDT"}', None),
        (b'{"topic":"kline.1.BTCUSDT","data":[{"confirm": false}]}', None),
        (b'{"topic":"kline.1.BTCUSDT","data":[{"confirm": true}]}', (KLINE, "BTCUSDT")),
        (b'{"op":"pong"}', None),
        (b"%", None),
    ],
)
def test_the_topic_of_an_unusable_message_says_what_it_would_have_changed(
    body: bytes, changed: tuple[int, str] | None
) -> None:
    said = stated(body)
    assert (None if said is None or said.kind is None else (said.kind, said.symbol)) == changed
