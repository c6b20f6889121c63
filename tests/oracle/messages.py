"""What messages state, told to the oracle straight from their JSON: no code of ingest is used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any, Final

from market.clock import MILLISECOND_NS
from quality.oracle.candles import Candle
from quality.oracle.market import SLOT_NS, TICKER_FIELDS, Oracle
from quality.oracle.rows import OracleRow

SOURCES: Final = {
    "orderbook": "BOOK",
    "publicTrade": "TRADES",
    "kline": "KLINES",
    "tickers": "TICKERS",
    "position": "POSITIONS",
}
KINDS: Final = {"orderbook": "BOOK", "trade": "TRADES", "kline": "KLINES", "ticker": "TICKERS"}
"""Of a START, by the name that it states."""


def oracle_rows(messages: Iterable[tuple[int, bytes]], wanted: Iterable[int]) -> Iterator[OracleRow]:
    """The wanted rows, ascending, of messages as (recv_ns, body) in order of arrival."""
    arrived = list(messages)
    oracle = Oracle()
    oracle.begin(arrived[0][0])
    by_slot: dict[int, list[tuple[int, bytes]]] = {}
    for recv_ns, body in arrived:
        by_slot.setdefault(recv_ns // SLOT_NS, []).append((recv_ns, body))
    slots = sorted(by_slot)
    for row_ns in sorted(wanted):
        while slots and slots[0] < row_ns // SLOT_NS:
            slot = slots.pop(0)
            for recv_ns, body in by_slot[slot]:
                tell(oracle, recv_ns, json.loads(body))
            oracle.end_slot(slot)
        yield oracle.row(row_ns)


def tell(oracle: Oracle, recv_ns: int, message: Mapping[str, Any]) -> None:
    """Tell the oracle what a message states."""
    if "position_id" in message:
        oracle.heard("POSITIONS", recv_ns)
        is_flat = message["size"] and abs(Decimal(message["size"])) <= Decimal("0.5e-9")
        _tell_position(
            oracle,
            recv_ns,
            {
                "size": message["size"],
                "entry": "0" if is_flat else None,
                "unrealized": message.get("unrealized_pnl"),
                "realized": message.get("realized_pnl"),
            },
        )
        return
    topic = message["topic"].partition(".")[0]
    minutes = _minutes(message["topic"]) if topic == "kline" else 1
    if topic in SOURCES:
        oracle.heard(SOURCES[topic] if minutes == 1 else f"BARS {minutes}", recv_ns)
    elements: Any = [message["payload"]] if "payload" in message else message.get("data")
    if topic == "orderbook":
        data = message["payload"] if "payload" in message else {**message["data"], "type": message["type"]}
        bids, asks = (((Decimal(price), Decimal(qty)) for price, qty in data[side]) for side in "ba")
        is_snapshot = data["type"] == "snapshot"
        oracle.book.apply(recv_ns // SLOT_NS, replaces=is_snapshot, update_id=data["u"], bids=bids, asks=asks)
    elif topic == "publicTrade":
        for trade in elements:
            oracle.trade(recv_ns, Fraction(trade["p"]), Fraction(trade["v"]), buy=trade["S"] == "Buy")
    elif topic == "kline":
        for kline in elements:
            if kline["confirm"]:
                numbers = (Fraction(kline[name]) for name in ("open", "high", "low", "close", "volume"))
                oracle.candle(kline["start"] * MILLISECOND_NS, Candle(recv_ns, *numbers), minutes)
    elif topic == "tickers":
        _tell_ticker(oracle, recv_ns, message["payload"] if "payload" in message else message["data"])
    else:
        _tell_rest(oracle, recv_ns, message)


def _minutes(topic: str) -> int:
    """Of a kline's topic; of days and longer, which no feature is of, 0."""
    interval = topic.split(".")[1]
    return int(interval) if interval.isdecimal() else 0


def _tell_ticker(oracle: Oracle, recv_ns: int, fields: Mapping[str, str]) -> None:
    for name in TICKER_FIELDS:
        is_none = name == "nextFundingTime" and fields.get(name) == "0"
        if fields.get(name) and not is_none:
            unit = MILLISECOND_NS if name == "nextFundingTime" else 1
            oracle.state(name, recv_ns, Fraction(fields[name]) * unit)


def _tell_rest(oracle: Oracle, recv_ns: int, message: Mapping[str, Any]) -> None:
    """Positions, and what the service itself says."""
    topic, _, rest = message["topic"].partition(".")
    if topic == "position":
        held = message["payload"]
        size = held["size"]
        if size and held.get("side") == "Sell":
            size = f"-{size}"
        fields = {"unrealized": "unrealised_pnl", "realized": "realised_pnl", "entry": "avg_price"}
        _tell_position(oracle, recv_ns, {"size": size} | {name: held.get(key) for name, key in fields.items()})
    elif rest.startswith("position."):
        oracle.heard("POSITIONS", recv_ns)
        held = message["position"]
        if held is None:
            _tell_position(oracle, recv_ns, {"size": "0", "unrealized": "0", "entry": "0"})
        else:
            fields = {"unrealized": "unrealized_pnl", "realized": "realized_pnl", "entry": "average_entry_price"}
            stated = {"size": held["size"]} | {name: held.get(key) for name, key in fields.items()}
            _tell_position(oracle, recv_ns, stated)
    elif rest.startswith("gap."):
        oracle.book.give_up(recv_ns // SLOT_NS)
    elif rest.startswith("start."):
        oracle.begin(recv_ns, KINDS[message["kind"]] if "kind" in message else None)
    else:
        raise AssertionError(f"the oracle cannot read topic {message['topic']}")


def _tell_position(oracle: Oracle, recv_ns: int, texts: Mapping[str, str | None]) -> None:
    for name, text in texts.items():
        if text:
            oracle.state(name, recv_ns, Fraction(Decimal(text).quantize(Decimal("1e-9"), ROUND_HALF_EVEN)))
