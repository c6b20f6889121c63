"""What is rejected and why, and that nothing but whole messages or rejections ever comes out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.decoding.own import control_message
from ingestion.venues.bybit.decode import Decoder
from market.errors import MalformedMessage, RejectedMessage, UnknownTopic
from market.events import (
    GAP,
)
from tests.bybit_messages import (
    BOOK,
    ENVELOPES,
    EXCHANGE_MESSAGES,
    KLINES,
    MS,
    TICKERS,
    TRADES,
    Json,
    PinnedScales,
    changed,
    check_whole_message,
    decode,
    putting,
)


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
        decode(changed(message, putting(path, value)))


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
        decode(changed(TICKERS, putting(f"data.{name}", text)))


def _decode_or_reject(body: bytes) -> None:
    try:
        decoded = Decoder(PinnedScales()).decode(body)
    except RejectedMessage as rejected:
        str(rejected).encode()  # what goes to the dead-letter must be writable there
        return
    if decoded is not None:
        check_whole_message(decoded)


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
