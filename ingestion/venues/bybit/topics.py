"""Bybit's topics: the kind and the symbol of a message, said by its topic alone."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import UNSET
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.own import OWN, own_stated
from ingestion.decoding.stated import Stated
from ingestion.decoding.wire import UNDECODABLE
from ingestion.venues.bybit.wire import Head
from market.errors import UnknownTopic
from market.events import CANDLE, EXECUTION, FUNDING, KIND_COUNT, KLINE, ORDERBOOK, POSITION, TICKER, TRADE

BOOK: Final = "orderbook"
TRADES: Final = "publicTrade"
TICKERS: Final = "tickers"
KLINES: Final = "kline"
INTERVALS: Final = ("3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M")
"""Of klines other than those of a minute."""
FUNDINGS: Final = ("funding", "fundingRate")
ORDERS: Final = "order"
BOOK_DEPTHS: Final = ("50", "200", "500", "1000")

# Where a message is cut off or damaged, its topic may still stand at its beginning.
_TOPIC: Final = re.compile(rb'"topic"\s*:\s*"([^"\\]{1,100})"')
_UNCONFIRMED: Final = re.compile(rb'"confirm"\s*:\s*false')
_HEAD: Final = JsonDecoder(Head)


def route(topic: str) -> tuple[int, str]:
    """The kind of a topic and its symbol. Raises UnknownTopic for one that is not read."""
    name, _, rest = topic.partition(".")
    if name == TRADES:
        return TRADE, rest
    if name == TICKERS:
        return TICKER, rest
    if name == "position":
        return POSITION, rest
    part, _, symbol = rest.partition(".")
    if name == BOOK:
        if part in BOOK_DEPTHS:
            return ORDERBOOK, symbol
        if part == "1":
            raise UnknownTopic(f"topic: must have a depth of 50 or more, one level feeds no feature, was {topic!r}")
    elif name == KLINES:
        if part == "1":
            return KLINE, symbol
        if part in INTERVALS:
            return CANDLE, symbol
        raise UnknownTopic(f"topic: klines must be of an interval of the exchange, was {topic!r}")
    elif name in FUNDINGS:
        return FUNDING, rest
    elif name == ORDERS:
        return EXECUTION, rest
    raise UnknownTopic(
        f"topic: must be {BOOK}.{{{'|'.join(BOOK_DEPTHS)}}}, {TRADES}, {KLINES}, {TICKERS}, position, {ORDERS} or "
        f"{FUNDINGS[0]}, was {topic!r}"
    )


def routed_topic(topic: str) -> tuple[int, str] | None:
    """Kind and symbol of a topic, None of one that is not read."""
    try:
        return route(topic)
    except UnknownTopic:
        return None


@lru_cache(1024)
def depth_of(topic: str) -> int:
    """Levels a side of a topic like ``orderbook.200.BTCUSDT``."""
    return int(topic.split(".")[1])


def stated(body: bytes) -> Stated | None:
    """What the topic of a message says of it, of one that may be unusable otherwise; None where it names none."""
    topic = _named_topic(body)
    if topic is None:
        return None
    if topic.startswith(OWN):
        return own_stated(topic)
    routed = routed_topic(topic)
    symbol = topic.rpartition(".")[2]
    kind = None if routed is None else routed[0]
    # What no feature reads is missed by none, a bar that is lost is a hole; a candle that is not over is sent again.
    if kind is not None and (
        kind >= KIND_COUNT or kind == CANDLE or (kind == KLINE and _UNCONFIRMED.search(body) is not None)
    ):
        kind = None
    return Stated(symbol, topic.removesuffix(f".{symbol}"), kind)


def _named_topic(body: bytes) -> str | None:
    try:
        topic = _HEAD.decode(body).topic
    except UNDECODABLE:
        topic = UNSET
    if topic is not UNSET:
        return topic
    found = _TOPIC.search(body)
    return None if found is None else found[1].decode(errors="replace")
