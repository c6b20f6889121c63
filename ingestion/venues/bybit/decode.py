"""Decoding Bybit: the exact bytes of one message to event records, or to a reason why it is rejected.

A canonical message is read by compiled code (``ingestion.venues.bybit.canonical``). Of any other:

1. The head distinguishes responses, the service's own messages, gateway envelopes and exchange messages; the topic
   tells the kind.
2. The element (``data`` or ``payload``) is read as the wire type of its kind.
3. Its texts become mantissas at the symbol's scale. Only a message that could be read whole pins a new symbol's scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from msgspec import UNSET
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.batch import Batch
from ingestion.decoding.decoded import DecodedMessage, checked_symbol
from ingestion.decoding.elements import Element
from ingestion.decoding.own import OWN, OwnMessages
from ingestion.decoding.positions import position_update_records, read_position_update
from ingestion.decoding.scales import Instruments, Scales
from ingestion.decoding.wire import LAST_MILLISECOND, read_json
from ingestion.venues.bybit.canonical import CanonicalDecoder
from ingestion.venues.bybit.elements import Source, named_symbol, open_book, open_klines, open_trades
from ingestion.venues.bybit.kept import (
    gateway_order_records,
    manager_order_records,
    open_candles,
    open_funding,
    read_gateway_order,
    read_manager_order,
)
from ingestion.venues.bybit.positions import gateway_position_records, read_gateway_position
from ingestion.venues.bybit.tickers import open_ticker
from ingestion.venues.bybit.topics import ORDERS, route
from ingestion.venues.bybit.wire import BybitMessage, Envelope, Head
from market.clock import MILLISECOND_NS, parse_iso_ns, to_ns
from market.errors import MalformedMessage
from market.events import (
    CANDLE,
    EXECUTION,
    FUNDING,
    KLINE,
    ORDERBOOK,
    POSITION,
    TICKER,
    TRADE,
    mark_message,
)

OPEN_ELEMENT: Final[dict[int, Callable[[Source], Element]]] = {
    ORDERBOOK: open_book,
    TRADE: open_trades,
    KLINE: open_klines,
    TICKER: open_ticker,
    FUNDING: open_funding,
    CANDLE: open_candles,
}
"""How the element of a message is read, by kind. Raises MalformedMessage."""

_HEAD = JsonDecoder(Head)
_MESSAGE = JsonDecoder(BybitMessage)
_ENVELOPE = JsonDecoder(Envelope)


class Decoder:
    """Decodes messages of every symbol; holds no state but the texts it remembers."""

    def __init__(self, instruments: Instruments) -> None:
        self.compiled = 0
        """Messages that were canonical."""
        self.typed = 0
        """All others."""
        self._scales = Scales(instruments)
        self._own = OwnMessages(self._scales, self.decode)
        self._canonical = CanonicalDecoder(instruments)

    def decode(self, body: bytes) -> DecodedMessage | None:
        """The records of a message; None when it is well formed and carries no market data (an answer, a pong).

        Raises:
            MalformedMessage: it breaks its schema.
            UnknownTopic: its topic is not one that is read.
            ScaleExceeded: a number does not fit the symbol's scale, or the symbol has no scale and the message no
                price to pin one from; both ask for a look at the scale, after which the message is good.
        """
        canonical = self._canonical.decode(body)
        if canonical is not None:
            self.compiled += 1
            return canonical
        self.typed += 1
        return self.decode_typed(body)

    def read_batch(self, bodies: Sequence[bytes]) -> Batch | None:
        """Canonical messages in one call, of topics that ``decode`` has read; nothing is counted. Of one thread."""
        return self._canonical.read_batch(bodies)

    def decode_typed(self, body: bytes) -> DecodedMessage | None:
        """The same for any message, not read by compiled code; raises as ``decode``."""
        head = read_json(_HEAD, body, "message")
        if head.position_id is not UNSET:
            return self._decode_position_update(body)
        topic = head.topic
        if head.order_id is not UNSET and topic is UNSET:
            return self._decode_manager_order(body)
        if topic is UNSET:
            if head.op is UNSET and head.success is UNSET:
                raise MalformedMessage("message: must have a topic or be a response (op, success), was neither")
            return None
        if topic.startswith(OWN):
            return self._own.decode(body, topic)
        kind, rest = route(topic)
        if kind == POSITION:
            return self._decode_position(body, topic, rest)
        if kind == EXECUTION:
            return self._decode_gateway_order(body, topic, rest)
        source = _open_message(body, kind, topic) if head.payload is UNSET else _open_envelope(body)
        element = OPEN_ELEMENT[kind](source)
        symbol = checked_symbol(rest if element.symbol is None else element.symbol)
        records = mark_message(self._scales.to_records(symbol, element))
        return DecodedMessage(
            symbol,
            kind,
            topic,
            source.received_ns,
            source.trace_id,
            records,
            source.event_id,
            element.trade_ids,
            element.book,
        )

    def _decode_position_update(self, body: bytes) -> DecodedMessage:
        update = read_position_update(body)
        records = position_update_records(update, _time_ns(update.timestamp, "timestamp"))
        self._scales.need(update.asset, None)
        return DecodedMessage(update.asset, POSITION, update.event_type, None, update.trace_id, mark_message(records))

    def _decode_position(self, body: bytes, topic: str, rest: str) -> DecodedMessage:
        source = _open_envelope(body)
        position = read_gateway_position(source.data, topic)
        named = named_symbol(position)
        symbol = rest if named is None else named
        records = mark_message(gateway_position_records(position, source.event_ns))
        self._scales.need(symbol, position.mark_price or position.avg_price)
        return DecodedMessage(symbol, POSITION, topic, source.received_ns, source.trace_id, records, source.event_id)

    def _decode_gateway_order(self, body: bytes, topic: str, rest: str) -> DecodedMessage:
        source = _open_envelope(body)
        order = read_gateway_order(source.data, topic)
        named = named_symbol(order)
        symbol = rest if named is None else named
        records = mark_message(gateway_order_records(order, source.event_ns))
        self._scales.need(symbol, order.price)
        return DecodedMessage(symbol, EXECUTION, topic, source.received_ns, source.trace_id, records, source.event_id)

    def _decode_manager_order(self, body: bytes) -> DecodedMessage:
        order = read_manager_order(body)
        try:
            event_ns = parse_iso_ns(order.timestamp)
        except ValueError as error:
            raise MalformedMessage(f"order timestamp: must be a time, was {order.timestamp!r}") from error
        records = mark_message(manager_order_records(order, event_ns))
        self._scales.need(order.asset, order.price)
        return DecodedMessage(order.asset, EXECUTION, ORDERS, None, order.trace_id, records, order.event_id)


def _open_message(body: bytes, kind: int, topic: str) -> Source:
    message = read_json(_MESSAGE, body, topic)
    event_ms = message.cts if kind == ORDERBOOK and message.cts is not UNSET else message.ts
    return Source(topic, message.data, event_ms * MILLISECOND_NS, message.type)


def _open_envelope(body: bytes) -> Source:
    envelope = read_json(_ENVELOPE, body, "envelope")
    return Source(
        envelope.topic,
        envelope.payload,
        _time_ns(envelope.timestamp, "timestamp"),
        is_envelope=True,
        received_ns=_time_ns(envelope.received_at, "received_at"),
        trace_id=envelope.trace_id,
        event_id=envelope.event_id,
    )


def _time_ns(moment: datetime, thing: str) -> int:
    time_ns = to_ns(moment)
    if not 0 < time_ns <= LAST_MILLISECOND * MILLISECOND_NS:
        raise MalformedMessage(f"{thing}: must be after 1970 and fit int64 nanoseconds, was {moment.isoformat()}")
    return time_ns
