"""Messages of Bybit as the exchange sends them and as the gateway passes them on, to be decoded and changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from ingestion.decoding.decoded import DecodedMessage
from ingestion.venues.bybit.decode import Decoder
from market.events import (
    FIRST,
    LAST,
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


def putting(path: str, value: object) -> Callable[[Json], None]:
    def change(message: Json) -> None:
        *parents, key = path.split(".")
        target: Any = message
        for parent in parents:
            target = target[int(parent)] if parent.isdigit() else target[parent]
        target[int(key) if key.isdigit() else key] = value

    return change


def check_whole_message(decoded: DecodedMessage) -> None:
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
