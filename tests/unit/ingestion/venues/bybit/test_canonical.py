"""What compiled code reads of a message is what the typed decoder reads of it, to the byte; else it reads nothing."""

from __future__ import annotations

import json
import os
import random
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.decoding.decoded import DecodedMessage
from ingestion.venues.bybit.canonical import CanonicalDecoder
from ingestion.venues.bybit.decode import Decoder
from market.errors import RejectedMessage
from market.events import EVENT
from market.instruments import Instrument, pin_scale
from tests.bybit_messages import BOOK, Json

TRADE: Json = {"T": 1786310819680, "s": "BTCUSDT", "S": "Sell", "v": "0.004", "p": "65114.20", "i": "a", "BT": False}
TRADES: Json = {
    "topic": "publicTrade.BTCUSDT",
    "type": "snapshot",
    "ts": 1786310819681,
    "data": [TRADE, {**TRADE, "S": "Buy", "i": "b", "seq": 7}],
}
KLINE: Json = {
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
KLINES: Json = {"topic": "kline.1.BTCUSDT", "ts": 1786310818440, "data": [KLINE, {**KLINE, "confirm": True}]}
TICKERS: Json = {
    "topic": "tickers.BTCUSDT",
    "type": "snapshot",
    "ts": 1786310817583,
    "cs": 753843900397,
    "data": {
        "symbol": "BTCUSDT",
        "price24hPcnt": "-0.001",
        "lastPrice": "65114.30",
        "markPrice": "65117.44",
        "indexPrice": "65137.76",
        "openInterest": "59891.732",
        "nextFundingTime": "1786320000000",
        "fundingRate": "-0.0001",
        "preQty": "",
    },
}


def enveloped(message: Json) -> Json:
    """What the gateway makes of the first element of a message."""
    element = message["data"][0] if isinstance(message["data"], list) else message["data"]
    payload = {**element, "topic": message["topic"]}
    if message is BOOK:
        payload["type"] = "snapshot"
    return {
        "event_id": "00000000-0000-0000-0000-000000000001",
        "event_type": "any",
        "topic": message["topic"],
        "timestamp": "2026-08-09T21:26:58.130000",
        "received_at": "2026-08-09T21:26:58",
        "payload": payload,
        "trace_id": "trace",
    }


MESSAGES = (BOOK, TRADES, KLINES, TICKERS, *(enveloped(message) for message in (BOOK, TRADES, KLINES, TICKERS)))
VALUES: tuple[object, ...] = (
    *("", "0", "-0", "1", "-1", "1.", ".5", "-.5", "007", "1e5", "65114.30001", "65114.3000000", "9" * 19, "9" * 65),
    *("281474976710.655", "281474976710.656", "9007199254.740991", "9007199254.740992", "4611686018.5", "-", " 1"),
    *(
        "Buy",
        "Sell",
        "snapshot",
        "delta",
        "snapshots",
        "BTCUSDT",
        "ETHUSDT",
        "é",
        'a"b',
        "a\\b",
        "x" * 101,
        "1786320000000",
    ),
    *(
        "2026-02-29T00:00:00",
        "2024-02-29T23:59:59.9",
        "2026-08-09T21:26:58Z",
        "2026-08-09 21:26:58",
        "1969-12-31T00:00:00",
    ),
    *("2026-08-09T21:26:58.1234567", "2026-08-09T24:00:00", "2026-13-01T00:00:00", "2026-08-09T21:26:58.", "null"),
    *(None, True, False, 0, 1, -1, 1.5, 60_000, 2**53, 2**63 - 1, 2**63, 9_223_372_036_854, 9_223_372_036_855),
    *([], {}, [["1", "2"]], [["1", "2", "3"]], [["1"]], [[1, 2]], [["65114.2", "1"]] * 3, {"a": 1}),
)
KEYS = (
    "s",
    "symbol",
    "topic",
    "type",
    "u",
    "i",
    "seq",
    "op",
    "payload",
    "data",
    "cts",
    "lastPrice",
    "é",
    "",
    "x" * 17,
    "order_id",
)


class Scales:
    def __init__(self) -> None:
        self.by_symbol = {"BTCUSDT": Instrument("BTCUSDT", 3, 6), "ETHUSDT": Instrument("ETHUSDT", 4, 5)}

    def get(self, symbol: str) -> Instrument | None:
        return self.by_symbol.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        return self.by_symbol.setdefault(symbol, pin_scale(symbol, price_text))


def same(left: DecodedMessage, right: DecodedMessage) -> bool:
    without = [message._replace(records=np.empty(0, EVENT)) for message in (left, right)]
    beside = [tuple(value for value in message if not isinstance(value, np.ndarray)) for message in without]
    return beside[0] == beside[1] and left.records.tobytes() == right.records.tobytes()


class Pair:
    """Both decoders over the same scales."""

    def __init__(self) -> None:
        scales = Scales()
        self.canonical = CanonicalDecoder(scales)
        self._typed = Decoder(scales)

    def check(self, body: bytes) -> bool:
        """Whether the message is canonical. It is read alike then."""
        found = self.canonical.decode(body)
        if found is None:
            return False
        try:
            expected = self._typed.decode_typed(body)
        except RejectedMessage as error:
            pytest.fail(f"{body!r}: must be declined as it is rejected, was read: {error}")
        assert expected is not None
        assert same(found, expected), (body, found, expected)
        return True


PAIR = Pair()


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("number", range(len(MESSAGES)))
def test_what_the_exchange_and_the_gateway_send_is_canonical(number: int, separators: tuple[str, str]) -> None:
    assert PAIR.check(json.dumps(MESSAGES[number], separators=separators).encode())


def test_a_decoder_counts_what_compiled_code_read_and_what_it_left() -> None:
    decoder = Decoder(Scales())
    decoder.decode(json.dumps(BOOK).encode())
    decoder.decode(json.dumps({**BOOK, "new": {}}).encode())
    assert (decoder.compiled, decoder.typed) == (1, 1)


def test_a_message_of_a_symbol_without_a_scale_is_declined_until_it_has_one() -> None:
    scales = Scales()
    del scales.by_symbol["BTCUSDT"]
    decoder = Decoder(scales)
    for _ in range(2):
        decoder.decode(json.dumps(BOOK).encode())
    assert (decoder.compiled, decoder.typed) == (1, 1)


def test_a_message_with_more_records_than_there_is_room_for_is_declined() -> None:
    levels = [[str(60_000 + place), "1"] for place in range(4097)]
    for count, is_read in ((4096, True), (4097, False)):
        body = json.dumps({**BOOK, "data": {**BOOK["data"], "b": levels[:count], "a": []}}).encode()
        assert PAIR.check(body) == is_read


def _places(value: object, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys or places."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        found.append((value, key))
        _places(each, found)
    return found


def mutated(rng: random.Random) -> bytes:
    """A message with some of its values, keys, order or bytes changed."""
    message = json.loads(json.dumps(rng.choice(MESSAGES)))
    for _ in range(rng.choice((0, 1, 1, 2))):
        container, key = rng.choice(_places(message, []))
        match rng.randrange(4):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, dict):
                container[rng.choice(KEYS)] = deepcopy(rng.choice(VALUES))
            case _:
                container[key] = deepcopy(rng.choice(VALUES))
        if not isinstance(message.get("data", message.get("payload", {})), dict | list):
            break
    if rng.random() < 0.3:
        message = dict(rng.sample(list(message.items()), len(message)))
    body = json.dumps(
        message, separators=rng.choice(((",", ":"), (", ", ": "), (" , ", " : "))), ensure_ascii=rng.random() < 0.5
    ).encode()
    if rng.random() < 0.25:
        changed, at = bytearray(body), rng.randrange(len(body))
        match rng.randrange(3):
            case 0:
                changed[at] = rng.choice(b'\x00\x1f "\\{}[],:.-0129aeT\x7f\xff')
            case 1:
                del changed[at : at + rng.randrange(1, 4)]
            case _:
                begin = rng.randrange(len(body))
                changed[at:at] = body[begin : begin + rng.randrange(1, 60)]
        body = bytes(changed)
    return body


def fuzzed(seed: int, count: int) -> int:
    """Check so many messages; returns how many were canonical."""
    rng = random.Random(seed)
    return sum(PAIR.check(mutated(rng)) for _ in range(count))


def test_changed_messages_are_read_alike_or_declined() -> None:
    canonical = fuzzed(seed=1, count=20_000)
    assert 5_000 < canonical < 15_000, "the changes must leave both kinds"


@pytest.mark.soak
def test_a_million_changed_messages_are_read_alike_or_declined() -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    assert fuzzed(seed, 1_000_000) > 0


@given(st.binary(max_size=200), st.sampled_from(range(len(MESSAGES))), st.integers(0, 400))
def test_bytes_put_anywhere_are_read_alike_or_declined(piece: bytes, number: int, at: int) -> None:
    body = json.dumps(MESSAGES[number]).encode()
    PAIR.check(body[:at] + piece + body[at:])


@given(st.decimals(min_value=0, max_value=10**7, places=8), st.decimals(min_value=0, max_value=10**10, places=6))
def test_prices_and_sizes_are_read_alike(price: object, size: object) -> None:
    data = {**BOOK["data"], "b": [[str(price), str(size)]]}
    PAIR.check(json.dumps({**BOOK, "data": data}).encode())
