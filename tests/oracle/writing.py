"""Messages as they come over the wire, written for a test: prices and quantities are texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from market.clock import MILLISECOND_NS, format_iso

SYMBOL: Final = "BTCUSDT"
Texts = Sequence[tuple[str, str]]


def _exchange(topic: str, event_ns: int, **rest: object) -> bytes:
    return json.dumps({"topic": topic, "ts": event_ns // MILLISECOND_NS, **rest}).encode()


def envelope(topic: str, payload: Mapping[str, Any], at_ns: int) -> bytes:
    """The same element as the gateway passes it on."""
    moment = format_iso(at_ns).removesuffix("Z")
    return json.dumps(
        {
            "event_id": "e",
            "event_type": topic.partition(".")[0],
            "topic": topic,
            "timestamp": moment,
            "received_at": moment,
            "payload": {**payload, "topic": topic},
            "trace_id": "t",
        }
    ).encode()


def book(event_ns: int, update_id: int, *, kind: str = "delta", bids: Texts = (), asks: Texts = ()) -> bytes:
    data = {"s": SYMBOL, "b": list(bids), "a": list(asks), "u": update_id, "seq": 7 * update_id}
    return _exchange(f"orderbook.200.{SYMBOL}", event_ns, type=kind, data=data)


def trades(event_ns: int, *stated: tuple[str, str, str]) -> bytes:
    """Each trade as (taker's side, price, quantity)."""
    stamp = event_ns // MILLISECOND_NS
    data = [
        {"T": stamp, "s": SYMBOL, "S": side, "v": qty, "p": px, "i": str(i)} for i, (side, px, qty) in enumerate(stated)
    ]
    return _exchange(f"publicTrade.{SYMBOL}", event_ns, data=data)


def kline(event_ns: int, start_ns: int, numbers: Sequence[str], *, confirm: bool = True, minutes: int = 1) -> bytes:
    """numbers: open, high, low, close, volume."""
    names = ("open", "high", "low", "close", "volume")
    candle = {
        "start": start_ns // MILLISECOND_NS,
        "end": start_ns // MILLISECOND_NS + minutes * 60_000 - 1,
        "interval": str(minutes),
        **dict(zip(names, numbers, strict=True)),
        "turnover": "0",
        "confirm": confirm,
        "timestamp": event_ns // MILLISECOND_NS,
    }
    return _exchange(f"kline.{minutes}.{SYMBOL}", event_ns, type="snapshot", data=[candle])


def ticker(event_ns: int, **fields: str) -> bytes:
    return _exchange(f"tickers.{SYMBOL}", event_ns, type="delta", data={"symbol": SYMBOL, **fields})


def gateway_position(event_ns: int, **fields: str | None) -> bytes:
    return envelope(f"position.{SYMBOL}", {"symbol": SYMBOL, "mode": "one-way", **fields}, event_ns)


def position_update(event_ns: int, **fields: str | None) -> bytes:
    stated = {"event_type": "position_updated", "position_id": "p", "asset": SYMBOL, "mode": "one-way", "trace_id": "t"}
    return json.dumps({**stated, "timestamp": format_iso(event_ns), **fields}).encode()
