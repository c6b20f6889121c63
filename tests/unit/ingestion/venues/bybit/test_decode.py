"""Decoding: what each message becomes, what is rejected and why, and that nothing else ever comes out."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.own import control_message, part_message, restated_message
from ingestion.venues.bybit.decode import Decoder
from ingestion.venues.bybit.topics import stated
from market.errors import MalformedMessage, RejectedMessage, ScaleExceeded, UnknownTopic
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
from market.instruments import Instrument, pin_scale

Json = dict[str, Any]
MS = 1_000_000

BOOK: Json = {
    "topic": "orderbook.200.BTCUSDT",
    "type": "delta",
    "ts": 1786310819000,
    "data": {
        "s": "BTCUSDT",
        "b": [["65114.20", "5.954"], ["65114.10", "0"]],
        "a": [["65114.30", "10.470"]],
        "u": 31,
        "seq": 753843900397,
    },
    "cts": 1786310818990,
}
TRADES: Json = {
    "topic": "publicTrade.BTCUSDT",
    "type": "snapshot",
    "ts": 1786310819681,
    "data": [
        {"T": 1786310819680, "s": "BTCUSDT", "S": "Sell", "v": "0.004", "p": "65114.20", "i": "a", "BT": False},
        {"T": 1786310819679, "s": "BTCUSDT", "S": "Buy", "v": "1.5", "p": "65114.30", "i": "b", "BT": False},
    ],
}
KLINES: Json = {
    "topic": "kline.1.BTCUSDT",
    "type": "snapshot",
    "ts": 1786310818440,
    "data": [
        {
            "start": 1786310760000,
            "end": 1786310819999,
            "interval": "1",
            "open": "65119.9",
            "close": "65114.3",
            "high": "65120",
            "low": "65114.2",
            "volume": "1.576",
            "turnover": "102627.995",
            "confirm": False,
            "timestamp": 1786310818440,
        }
    ],
}
TICKERS: Json = {
    "topic": "tickers.BTCUSDT",
    "type": "snapshot",
    "ts": 1786310817583,
    "cs": 753843900397,
    "data": {
        "symbol": "BTCUSDT",
        "lastPrice": "65114.30",
        "markPrice": "65117.44",
        "indexPrice": "65137.76",
        "openInterest": "59891.732",
        "nextFundingTime": "1786320000000",
        "fundingRate": "-0.0001",
        "preQty": "",
    },
}
EXCHANGE_MESSAGES = (BOOK, TRADES, KLINES, TICKERS)


def enveloped(message: Json, index: int = 0) -> Json:
    """What the gateway makes of one element of a message."""
    element = message["data"][index] if isinstance(message["data"], list) else message["data"]
    payload = {**element, "topic": message["topic"]}
    if message["topic"].startswith("orderbook"):
        payload["type"] = message["type"]
    return {
        "event_id": "00000000-0000-0000-0000-000000000001",
        "event_type": message["topic"].partition(".")[0],
        "topic": message["topic"],
        "timestamp": "2026-08-09T21:26:58.130000",
        "received_at": "2026-08-09T21:26:58",
        "payload": payload,
        "trace_id": "trace",
    }


ENVELOPES = tuple(enveloped(message) for message in EXCHANGE_MESSAGES)


class PinnedScales:
    """Scales kept in a dictionary."""

    def __init__(self, *instruments: Instrument) -> None:
        self.by_symbol = {instrument.symbol: instrument for instrument in instruments}

    def get(self, symbol: str) -> Instrument | None:
        return self.by_symbol.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        self.by_symbol[symbol] = pin_scale(symbol, price_text)
        return self.by_symbol[symbol]


BTCUSDT = Instrument("BTCUSDT", 3, 6)


def decode(message: Json | bytes, instruments: PinnedScales | None = None) -> DecodedMessage:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    decoded = Decoder(PinnedScales(BTCUSDT) if instruments is None else instruments).decode(body)
    assert decoded is not None
    return decoded


def column(decoded: DecodedMessage, name: str) -> list[int]:
    values: list[int] = decoded.records[name].tolist()
    return values


def changed(message: Json, change: Callable[[Json], None]) -> Json:
    copy = deepcopy(message)
    change(copy)
    return copy


def _set(path: str, value: object) -> Callable[[Json], None]:
    def change(message: Json) -> None:
        *parents, key = path.split(".")
        target: Any = message
        for parent in parents:
            target = target[int(parent)] if parent.isdigit() else target[parent]
        target[int(key) if key.isdigit() else key] = value

    return change


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
        decoded = decode(changed(KLINES, _set("data.0.turnover", turnover)))
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
    ("topic", "reason"),
    [
        ("orderbook.1.BTCUSDT", "one level feeds no feature"),
        ("orderbook.25.BTCUSDT", "orderbook.{50"),
        ("kline.7.BTCUSDT", "interval of the exchange"),
        ("allLiquidation.BTCUSDT", "orderbook.{50"),
        ("wallet", "orderbook.{50"),
        ("feature-service.stop.BTCUSDT", "feature-service.{start|gap"),
        ("", "orderbook.{50"),
    ],
)
def test_a_topic_that_is_not_read_is_rejected_with_the_reason(topic: str, reason: str) -> None:
    for message in (BOOK, ENVELOPES[0]):
        with pytest.raises(UnknownTopic) as rejected:
            decode({**message, "topic": topic})
        assert reason in str(rejected.value)
        assert repr(topic) in str(rejected.value)


@pytest.mark.parametrize(
    ("message", "path", "value"),
    [
        (BOOK, "data.b.0.1", "-1"),
        (BOOK, "data.b.0.1", "1e3"),
        (BOOK, "data.b.0.1", "abc"),
        (BOOK, "data.b.0.0", "0"),
        (BOOK, "data.b.0.0", 65114.2),
        (BOOK, "data.b.0", ["65114.20"]),
        (BOOK, "data.b.0", ["65114.20", "1", "2"]),
        (BOOK, "data.b", None),
        (BOOK, "data.u", 1.5),
        (BOOK, "data.u", True),
        (BOOK, "data.u", 2**63),
        (BOOK, "data.u", -1),
        (BOOK, "ts", 0),
        (BOOK, "cts", 2**63 // MS + 1),
        (BOOK, "type", "update"),
        (BOOK, "data.s", "btcusdt"),
        (BOOK, "data.s", ".."),
        (BOOK, "data.s", "../X"),
        (BOOK, "data.s", "A" * 41),
        (TRADES, "data", []),
        (TRADES, "data.1.s", "ETHUSDT"),
        (TRADES, "data.0.S", "buy"),
        (TRADES, "data.0.v", "0"),
        (TRADES, "data.0.p", ""),
        (TRADES, "data.0.p", "٦"),
        (TRADES, "data.0.p", "1" * 5000),
        (KLINES, "data", []),
        (KLINES, "data.0.high", "65119.8"),
        (KLINES, "data.0.low", "65114.4"),
        (KLINES, "data.0.turnover", "-0.5"),
        (KLINES, "data.0.turnover", "1.-5"),
        (KLINES, "data.0.volume", "-1"),
        (KLINES, "data.0.start", 1786310760001),
        (KLINES, "data.0.confirm", "true"),
        (TICKERS, "data.fundingRate", 0.0001),
        (TICKERS, "data.nextFundingTime", "-1"),
        (TICKERS, "data.nextFundingTime", "9223372036855"),
        (TICKERS, "data.markPrice", None),
        (ENVELOPES[0], "timestamp", "yesterday"),
        (ENVELOPES[0], "timestamp", "1969-12-31T23:59:59"),
        (ENVELOPES[0], "received_at", "9999-12-31T23:59:59-14:00"),
        (ENVELOPES[0], "payload", None),
        (ENVELOPES[0], "event_id", 5),
    ],
)
def test_a_message_that_breaks_its_schema_is_malformed(message: Json, path: str, value: object) -> None:
    with pytest.raises(MalformedMessage):
        decode(changed(message, _set(path, value)))


def _required_keys() -> Iterator[Any]:
    for message in EXCHANGE_MESSAGES:
        elements = message["data"] if isinstance(message["data"], list) else [message["data"]]
        optional = {"cts", "cs", "seq", "i", "BT", "s", "end", "interval"} | set(TICKERS["data"])
        for owner, keys in ((None, {"ts", "data"}), (0, set(elements[0]) - optional)):
            for key in sorted(keys):
                yield pytest.param(message, owner, key, id=f"{message['topic']}-{key}")
    for key in ENVELOPES[0]:
        if key not in {"topic", "payload"}:
            yield pytest.param(ENVELOPES[0], None, key, id=f"envelope-{key}")


@pytest.mark.parametrize(("message", "owner", "key"), list(_required_keys()))
def test_a_missing_key_is_never_replaced_by_an_invented_value(message: Json, owner: int | None, key: str) -> None:
    def drop(copy: Json) -> None:
        if owner is None:
            del copy[key]
        else:
            element = copy["data"][0] if isinstance(copy["data"], list) else copy["data"]
            del element[key]

    with pytest.raises(MalformedMessage):
        decode(changed(message, drop))


def test_a_book_without_its_type_is_malformed() -> None:
    with pytest.raises(MalformedMessage, match="type"):
        decode(changed(BOOK, lambda m: m.pop("type")))
    with pytest.raises(MalformedMessage, match="type"):
        decode(changed(ENVELOPES[0], lambda e: e["payload"].pop("type")))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"topic":null}',
        b'{"topic":"\xff"}',
        b'{"topic":"\\ud800"}',
        b'{"topic":"tickers.BTCUSDT","ts":1,"data":NaN}',
        b'{"topic":"tickers.BTCUSDT","ts":1,"data":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"topic":"' + b"x" * 101 + b'"}',
    ],
    ids=range(10),
)
def test_bytes_that_are_no_message_are_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Decoder(PinnedScales()).decode(body)


def test_too_many_decimals_are_rejected_and_never_rounded() -> None:
    with pytest.raises(ScaleExceeded, match="at most 3 decimals"):
        decode(changed(BOOK, _set("data.a.0.0", "65114.3001")))
    with pytest.raises(ScaleExceeded, match="at most 6 decimals"):
        decode(changed(TRADES, _set("data.1.v", "0.0000001")))


@pytest.mark.parametrize(
    ("message", "price"), [(BOOK, "65114.20"), (TRADES, "65114.20"), (KLINES, "65119.9"), (TICKERS, "65114.30")]
)
def test_the_first_price_of_a_new_symbol_pins_its_scale(message: Json, price: str) -> None:
    instruments = PinnedScales()
    decoded = decode(message, instruments)
    assert instruments.by_symbol == {"BTCUSDT": pin_scale("BTCUSDT", price)}
    np.testing.assert_array_equal(decoded.records, decode(message, instruments).records)


def test_a_book_of_asks_alone_pins_from_an_ask() -> None:
    instruments = PinnedScales()
    decode(changed(BOOK, _set("data.b", [])), instruments)
    assert instruments.by_symbol["BTCUSDT"] == BTCUSDT


def test_a_ticker_without_a_last_price_pins_from_the_mark_price() -> None:
    instruments = PinnedScales()
    decode(changed(TICKERS, _set("data.lastPrice", "")), instruments)
    assert instruments.by_symbol["BTCUSDT"] == BTCUSDT


def test_a_message_with_numbers_and_no_price_cannot_open_a_new_symbol() -> None:
    message = {**TICKERS, "data": {"symbol": "BTCUSDT", "openInterest": "5"}}
    with pytest.raises(ScaleExceeded, match="pinned scale or come with a price"):
        decode(message, PinnedScales())
    assert decode(message).symbol == "BTCUSDT"


@pytest.mark.parametrize(
    "message",
    [
        {**TICKERS, "data": {"symbol": "BTCUSDT", "fundingRate": "0.0001"}},
        changed(BOOK, lambda m: m["data"].update(a=[], b=[])),
        {**changed(BOOK, lambda m: m["data"].update(a=[], b=[])), "type": "snapshot"},
    ],
)
def test_a_message_that_needs_no_scale_is_taken_before_there_is_one_and_pins_none(message: Json) -> None:
    instruments = PinnedScales()
    before = decode(message, instruments)
    assert instruments.by_symbol == {}
    assert before.records.tolist() == decode(message).records.tolist()


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
    decoded = decode(changed(TICKERS, _set(f"data.{name}", text)))
    stated = dict(zip(column(decoded, "field"), column(decoded, "px"), strict=True))
    expected = dict(zip(column(whole, "field"), column(whole, "px"), strict=True))
    assert stated == {**expected, field: UNKNOWN}


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("fundingRate", "1.5", "fundingRate: must be from -1 to 1"),
        ("fundingRate", "-77", "fundingRate: must be from -1 to 1"),
        ("nextFundingTime", "1999999999999", "nextFundingTime: must be within 7 days"),
        ("nextFundingTime", "1", "nextFundingTime: must be within 7 days"),
        ("markPrice", "0", "markPrice: must be positive"),
        ("indexPrice", "-65137.76", "indexPrice: must be positive"),
        ("markPrice", "6511744", "prices of one ticker must be within 10 times"),
        ("indexPrice", "0.01", "prices of one ticker must be within 10 times"),
        ("openInterest", "-1", "openInterest: must not be negative"),
        ("markPrice", "1e5", "markPrice: must be a plain decimal number"),
    ],
)
def test_a_ticker_with_a_value_of_no_market_is_rejected(name: str, text: str, rule: str) -> None:
    with pytest.raises(MalformedMessage, match=rule):
        decode(changed(TICKERS, _set(f"data.{name}", text)))


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


def test_a_rejected_message_pins_nothing() -> None:
    instruments = PinnedScales()
    for bad in ("-1", "1e3"):
        with pytest.raises(MalformedMessage):
            decode(changed(BOOK, _set("data.a.0.1", bad)), instruments)
    assert instruments.by_symbol == {}


def test_the_records_are_at_the_scale_that_the_pin_returned() -> None:
    class Configured(PinnedScales):
        def pin(self, symbol: str, price_text: str) -> Instrument:
            return Instrument(symbol, 2, 5) if price_text == "65114.20" else BTCUSDT

    assert column(decode(BOOK, Configured()), "px") == [6511420, 6511410, 6511430]
    assert column(decode(BOOK, Configured()), "qty") == [595400, 0, 1047000]


def test_one_decoder_keeps_the_scales_of_its_symbols_apart() -> None:
    decoder = Decoder(PinnedScales(BTCUSDT, Instrument("ETHUSDT", 4, 5)))
    for symbol, px in (("BTCUSDT", 65114200), ("ETHUSDT", 651142000), ("BTCUSDT", 65114200)):
        decoded = decoder.decode(json.dumps(changed(BOOK, _set("data.s", symbol))).encode())
        assert decoded is not None
        assert column(decoded, "px")[0] == px


def _assert_whole_message(decoded: DecodedMessage) -> None:
    records = decoded.records
    ends = np.zeros(len(records), np.int8)
    ends[0] |= FIRST
    ends[-1] |= LAST
    assert (records["flags"] & (FIRST | LAST)).tolist() == ends.tolist()
    assert (records["kind"] == decoded.kind).all()
    assert (records["event_ns"] > 0).all()
    assert (records["qty"] >= 0).all()
    assert not records["seq"].any()
    assert not records["recv_ns"].any()


def _decode_or_reject(body: bytes) -> None:
    try:
        decoded = Decoder(PinnedScales()).decode(body)
    except RejectedMessage as rejected:
        str(rejected).encode()  # what goes to the dead-letter must be writable there
        return
    if decoded is not None:
        _assert_whole_message(decoded)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0", "-0", "-1", ".5", "1.", "1e9", "9" * 30, "0.000000000001", "٣", "NaN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


CONTROL_MESSAGE: Json = json.loads(control_message(GAP, symbol="BTCUSDT", event_ns=MS, reason="test"))
ALL_MESSAGES = (*EXCHANGE_MESSAGES, *ENVELOPES, CONTROL_MESSAGE)


@given(st.data())
def test_a_message_with_one_part_dropped_or_replaced_is_read_or_rejected(data: st.DataObject) -> None:
    message = deepcopy(data.draw(st.sampled_from(ALL_MESSAGES)))
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, key = data.draw(st.sampled_from(list(_paths(message))))
        target: Any = message
        for parent in parents:
            target = target[parent]
        if data.draw(st.booleans()):
            del target[key]
        else:
            target[key] = data.draw(JSON_VALUES)
        if not message:
            break
    _decode_or_reject(json.dumps(message).encode())


@given(
    st.sampled_from([json.dumps(message).encode() for message in ALL_MESSAGES]),
    st.floats(0, 1, exclude_max=True),
    st.binary(max_size=3),
    st.integers(0, 3),
)
def test_a_message_with_bytes_cut_or_overwritten_is_read_or_rejected(
    body: bytes, where: float, inserted: bytes, skipped: int
) -> None:
    at = int(where * len(body))
    _decode_or_reject(body[:at] + inserted + body[at + skipped :])
    if at > 0:
        with pytest.raises(MalformedMessage):
            Decoder(PinnedScales()).decode(body[:at])


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_read_or_rejected(body: bytes) -> None:
    _decode_or_reject(body)


@given(JSON_VALUES)
def test_arbitrary_json_under_a_known_topic_is_read_or_rejected(value: object) -> None:
    for message in EXCHANGE_MESSAGES:
        _decode_or_reject(json.dumps({**message, "data": value}).encode())
        _decode_or_reject(json.dumps({**ENVELOPES[0], "topic": message["topic"], "payload": value}).encode())


@given(
    st.decimals(min_value="0.001", max_value="9000000", places=3),
    st.decimals(min_value=0, max_value="900000", places=6),
)
def test_prices_and_sizes_are_exact(price: Decimal, size: Decimal) -> None:
    decoded = decode(changed(BOOK, _set("data.b.0", [f"{price:f}", f"{size:f}"])))
    assert Decimal(column(decoded, "px")[0]).scaleb(-3) == price
    assert Decimal(column(decoded, "qty")[0]).scaleb(-6) == size


def _real_messages(folder: Path) -> Iterator[Json]:
    for name in (
        "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz",
        "reencoded/BTCUSDT_20240718-19.jsonl.gz",
    ):
        with gzip.open(folder / name) as file:
            for line in file:
                yield json.loads(line)["msg"]
    with (
        zipfile.ZipFile(folder / "bybit/2024-12-01_XRPUSDT_ob500.data.zip") as archive,
        archive.open(archive.namelist()[0]) as file,
    ):
        for line in file:
            yield json.loads(line)


def test_every_recorded_message_gives_its_own_numbers(recorded_data: Path) -> None:
    instruments = PinnedScales()
    decoder = Decoder(instruments)
    counts = dict.fromkeys((ORDERBOOK, TRADE, KLINE, TICKER), 0)
    for message in _real_messages(recorded_data):
        decoded = decoder.decode(json.dumps(message).encode())
        assert decoded is not None
        _assert_whole_message(decoded)
        counts[decoded.kind] += 1
        scale = instruments.by_symbol[decoded.symbol]
        data = message["data"]
        if decoded.kind == ORDERBOOK:
            levels = [*data["b"], *data["a"]]
            expected = [(Decimal(px), Decimal(qty)) for px, qty in levels] or [(Decimal(0), Decimal(0))]
        elif decoded.kind == TRADE:
            expected = [(Decimal(trade["p"]), Decimal(trade["v"])) for trade in data]
        else:
            continue
        assert [
            (Decimal(px).scaleb(-scale.price_exponent), Decimal(qty).scaleb(-scale.quantity_exponent))
            for px, qty in zip(column(decoded, "px"), column(decoded, "qty"), strict=True)
        ] == expected
    assert counts == {ORDERBOOK: 835 + 8989 + 50, TRADE: 28 + 10701, KLINE: 34 + 8, TICKER: 401}
    assert decoder.typed == 3, "the first message of each symbol, which pins its scale"
