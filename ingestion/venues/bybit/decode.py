"""Decoding: the exact bytes of one message to event records, or to a reason why it is rejected.

1. The head tells answers, control messages, gateway envelopes and exchange messages apart; the topic tells the kind.
2. The element (``data`` or ``payload``) is read as the wire type of its kind.
3. Its texts become mantissas at the symbol's scale. Only a message that could be read whole pins a new symbol's scale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

import msgspec
from msgspec import UNSET
from msgspec.json import Decoder as JsonDecoder

from ingestion.venues.bybit.elements import (
    Element,
    Scale,
    Source,
    open_book,
    open_klines,
    open_trades,
    remembering_scale,
)
from ingestion.venues.bybit.positions import (
    gateway_position_records,
    held_position_records,
    position_update_records,
    read_gateway_position,
    read_position_answer,
    read_position_update,
)
from ingestion.venues.bybit.tickers import open_restated_ticker, open_ticker, restated_ticker
from ingestion.venues.bybit.wire import (
    LAST_MILLISECOND,
    UNDECODABLE,
    BybitMessage,
    ControlMessage,
    Envelope,
    Head,
    PartMessage,
    RestatedTicker,
    read_json,
)
from market.clock import MILLISECOND_NS, to_ns
from market.errors import MalformedMessage, ScaleExceeded, UnknownTopic
from market.events import (
    CONTROL,
    GAP,
    KIND_NAMES,
    KLINE,
    ORDERBOOK,
    POSITION,
    START,
    TICKER,
    TRADE,
    Events,
    empty_events,
    mark_message,
)
from market.instruments import Instrument, pin_scale

BOOK_DEPTHS: Final = ("50", "200", "500", "1000")
POSITION_ANSWER: Final = "position"
PART: Final = "part"
RESTATED: Final = "ticker"
OPEN_ELEMENT: Final[dict[int, Callable[[Source], Element]]] = {
    ORDERBOOK: open_book,
    TRADE: open_trades,
    KLINE: open_klines,
    TICKER: open_ticker,
}
"""How the element of a message is read, by kind. Raises MalformedMessage."""
CONTROL_NAMES: Final = {START: "start", GAP: "gap"}
_CONTROL_FIELDS = {name: field for field, name in CONTROL_NAMES.items()}
# Symbols become folder names, and readers of folders of Parquet pass over names that start with "." or "_".
SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9_.-]{0,39}")

# Where a message is cut off or damaged, its topic may still stand at its beginning.
_TOPIC = re.compile(rb'"topic"\s*:\s*"([^"\\]{1,100})"')

_HEAD = JsonDecoder(Head)
_MESSAGE = JsonDecoder(BybitMessage)
_ENVELOPE = JsonDecoder(Envelope)
_CONTROL = JsonDecoder(ControlMessage)
_PART = JsonDecoder(PartMessage)
_RESTATED = JsonDecoder(RestatedTicker)


class Instruments(Protocol):
    """Where the pinned scale of a symbol is kept."""

    def get(self, symbol: str) -> Instrument | None: ...

    def pin(self, symbol: str, price_text: str) -> Instrument: ...


@dataclass(frozen=True, slots=True)
class DecodedMessage:
    """One message as event records.

    kind: of ``market.events``; all records have it.
    received_ns: the gateway's ``received_at``; None when the message did not come through the gateway.
    records: EVENT (n >= 1,), in message order, marked FIRST and LAST; ``seq`` and ``recv_ns`` are 0, to be stamped.
        ``event_ns`` is each trade's and each candle's own, otherwise the message's.
    """

    symbol: str
    kind: int
    topic: str
    received_ns: int | None
    trace_id: str | None
    records: Events
    event_id: str | None = None
    """The gateway's, the same when the message is delivered again."""
    trade_ids: tuple[str | None, ...] = ()
    """The exchange's id of each trade of the message, None for one that states none."""
    book_seq: int | None = None
    """The exchange's ``seq`` of an order book message, which rises over restarts too."""

    def stamped(self, recv_ns: int, seq: int) -> Events:
        """The records, with the place on the tape that the message has."""
        self.records["recv_ns"] = recv_ns
        self.records["seq"] = seq
        return self.records


class Decoder:
    """Decodes messages of every symbol; holds no state but the texts it remembers."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._scales: dict[str, Scale] = {}

    def decode(self, body: bytes) -> DecodedMessage | None:
        """The records of a message; None when it is well formed and carries no market data (an answer, a pong).

        Raises:
            MalformedMessage: it breaks its schema.
            UnknownTopic: its topic is not one that is read.
            ScaleExceeded: a number does not fit the symbol's scale, or the symbol has no scale and the message no
                price to pin one from; both ask for a look at the scale, after which the message is good.
        """
        head = read_json(_HEAD, body, "message")
        if head.position_id is not UNSET:
            return self._decode_position_update(body)
        if head.topic is UNSET:
            if head.op is UNSET and head.success is UNSET:
                raise MalformedMessage("message: must have a topic or be an answer (op, success), was neither")
            return None
        kind, part, rest = _route(head.topic)
        if part == PART:
            return self._decode_part(body)
        if part == RESTATED:
            return self._decode_restated(body, head.topic, rest)
        if kind == CONTROL:
            return _decode_control(body, _CONTROL_FIELDS[part], rest)
        if kind == POSITION:
            return self._decode_position(body, part, head.topic, rest)
        source = _open_message(body, kind, head.topic) if head.payload is UNSET else _open_envelope(body)
        element = OPEN_ELEMENT[kind](source)
        named = element.named
        symbol = _checked_symbol(next((name for name in (named.symbol, named.s) if name is not UNSET), rest))
        records = mark_message(self._to_records(symbol, element))
        return DecodedMessage(
            symbol,
            kind,
            head.topic,
            source.received_ns,
            source.trace_id,
            records,
            source.event_id,
            element.trade_ids,
            element.book_seq,
        )

    def _decode_part(self, body: bytes) -> DecodedMessage:
        """What was taken of a message of which some trades had been taken before."""
        part = read_json(_PART, body, "part of a message")
        whole = self.decode(bytes(part.message))
        if whole is None or whole.kind != TRADE or not set(part.left_out) < set(range(len(whole.records))):
            raise MalformedMessage(f"{part.topic}: must leave out some trades of a message, was {part.left_out}")
        kept = [at for at in range(len(whole.records)) if at not in part.left_out]
        records = whole.records[kept]
        records["flags"] = 0
        return replace(whole, records=mark_message(records), trade_ids=tuple(whole.trade_ids[at] for at in kept))

    def _decode_restated(self, body: bytes, topic: str, symbol: str) -> DecodedMessage:
        restated = read_json(_RESTATED, body, topic)
        element = open_restated_ticker(Source(topic, restated.data, restated.ts * MILLISECOND_NS))
        records = mark_message(self._to_records(_checked_symbol(symbol), element))
        return DecodedMessage(symbol, TICKER, topic, None, None, records)

    def _decode_position_update(self, body: bytes) -> DecodedMessage:
        update = read_position_update(body)
        records = position_update_records(update, _time_ns(update.timestamp, "timestamp"))
        self._need_scale(update.asset, None)
        return DecodedMessage(update.asset, POSITION, update.event_type, None, update.trace_id, mark_message(records))

    def _decode_position(self, body: bytes, part: str, topic: str, rest: str) -> DecodedMessage:
        if part == POSITION_ANSWER:
            answer = read_position_answer(body)
            records = held_position_records(answer.position, answer.ts * MILLISECOND_NS)
            price_text = None if answer.position is None else answer.position.average_entry_price
            self._need_scale(rest, price_text)
            return DecodedMessage(rest, POSITION, topic, None, None, mark_message(records))
        source = _open_envelope(body)
        position = read_gateway_position(source.data, topic)
        symbol = next((name for name in (position.symbol, position.s) if name is not UNSET), rest)
        records = gateway_position_records(position, source.event_ns)
        price_text = position.mark_price or position.avg_price
        self._need_scale(symbol, price_text)
        records = mark_message(records)
        return DecodedMessage(symbol, POSITION, topic, source.received_ns, source.trace_id, records, source.event_id)

    def _need_scale(self, symbol: str, price_text: str | None) -> None:
        """A position needs no scale itself, but the rows of its symbol do."""
        if self._instruments.get(_checked_symbol(symbol)) is not None:
            return
        if not price_text:
            raise ScaleExceeded(f"{symbol}: must have a pinned scale or come with a price to pin one, was neither")
        try:
            self._instruments.pin(symbol, price_text)
        except ValueError as error:
            raise MalformedMessage(str(error)) from error

    def _to_records(self, symbol: str, element: Element) -> Events:
        instrument = self._instruments.get(symbol)
        if instrument is not None:
            return element.to_records(self._scale(instrument))
        if element.first_price is None:
            if not element.has_numbers:
                return element.to_records(remembering_scale(Instrument(symbol, 0, 0)))
            raise ScaleExceeded(f"{symbol}: must have a pinned scale or come with a price to pin one, was neither")
        try:
            trial = pin_scale(symbol, element.first_price)
        except ValueError as error:
            raise MalformedMessage(str(error)) from error
        records = element.to_records(remembering_scale(trial))
        instrument = self._instruments.pin(symbol, element.first_price)
        return records if instrument == trial else element.to_records(self._scale(instrument))

    def _scale(self, instrument: Instrument) -> Scale:
        scale = self._scales.get(instrument.symbol)
        if scale is None:
            scale = self._scales[instrument.symbol] = remembering_scale(instrument)
        return scale


def control_message(field: int, *, symbol: str, event_ns: int, reason: str, kind: int = CONTROL) -> bytes:
    """The bytes of a START or GAP message, cut to whole milliseconds. Raises MalformedMessage on a bad symbol.

    kind: of the messages that a START is of; CONTROL is all of them.
    """
    topic = f"feature-service.{CONTROL_NAMES[field]}.{_checked_symbol(symbol)}"
    document: dict[str, object] = {"topic": topic, "ts": event_ns // MILLISECOND_NS, "reason": reason}
    return msgspec.json.encode(document if kind == CONTROL else {**document, "kind": KIND_NAMES[kind]})


def part_message(message: bytes, left_out: Sequence[int], *, symbol: str) -> bytes:
    """The bytes for the tape of a message of trades of which some are left out, with its own bytes in it."""
    topic = f"feature-service.{PART}.{_checked_symbol(symbol)}"
    return msgspec.json.encode(PartMessage(topic=topic, left_out=list(left_out), message=msgspec.Raw(message)))


def restated_message(fields: Mapping[int, int], instrument: Instrument, *, event_ns: int) -> bytes:
    """The bytes for the tape of a merged ticker's known fields, given as mantissas."""
    topic = f"feature-service.{RESTATED}.{_checked_symbol(instrument.symbol)}"
    data = restated_ticker(fields, instrument)
    return msgspec.json.encode({"topic": topic, "ts": event_ns // MILLISECOND_NS, "data": data})


def position_answer(symbol: str, *, event_ns: int, answer: bytes) -> bytes:
    """The bytes of a position manager's answer for the tape: its JSON body, or ``null`` where it found no position."""
    topic = f"feature-service.{POSITION_ANSWER}.{_checked_symbol(symbol)}"
    return msgspec.json.encode({"topic": topic, "ts": event_ns // MILLISECOND_NS, "position": msgspec.Raw(answer)})


def stated_symbol(body: bytes) -> str | None:
    """The symbol that the topic of a message names, of one that may be unusable otherwise; None where it names none."""
    topic = _named_topic(body)
    return None if topic is None else topic.rpartition(".")[2]


def stated_topic(body: bytes) -> tuple[int, str] | None:
    """Kind and symbol of the topic that a message names, of one that may be unusable otherwise.

    None where it names none, or one that is not read: nothing depends on such a message.
    """
    topic = _named_topic(body)
    return None if topic is None else routed_topic(topic)


def routed_topic(topic: str) -> tuple[int, str] | None:
    """Kind and symbol of a topic, None of one that is not read."""
    try:
        kind, _, symbol = _route(topic)
    except UnknownTopic:
        return None
    return kind, symbol


def _named_topic(body: bytes) -> str | None:
    try:
        topic = _HEAD.decode(body).topic
    except UNDECODABLE:
        topic = UNSET
    if topic is not UNSET:
        return topic
    found = _TOPIC.search(body)
    return None if found is None else found[1].decode(errors="replace")


def _route(topic: str) -> tuple[int, str, str]:
    """The kind of a topic, its middle part and its symbol."""
    name, _, rest = topic.partition(".")
    if name == "publicTrade":
        return TRADE, "", rest
    if name == "tickers":
        return TICKER, "", rest
    if name == "position":
        return POSITION, "", rest
    part, _, symbol = rest.partition(".")
    if name == "orderbook":
        if part in BOOK_DEPTHS:
            return ORDERBOOK, part, symbol
        if part == "1":
            raise UnknownTopic(f"topic: must have a depth of 50 or more, one level feeds no feature, was {topic!r}")
    elif name == "kline":
        if part == "1":
            return KLINE, part, symbol
        raise UnknownTopic(f"topic: klines must be of one minute, longer ones are made of those, was {topic!r}")
    elif name == "feature-service" and part in _CONTROL_FIELDS:
        return CONTROL, part, symbol
    elif name == "feature-service" and part == POSITION_ANSWER:
        return POSITION, part, symbol
    elif name == "feature-service" and part == PART:
        return TRADE, part, symbol
    elif name == "feature-service" and part == RESTATED:
        return TICKER, part, symbol
    raise UnknownTopic(
        f"topic: must be orderbook.{{{'|'.join(BOOK_DEPTHS)}}}, publicTrade, kline.1, tickers or position, "
        f"was {topic!r}"
    )


def _checked_symbol(symbol: str) -> str:
    if SYMBOL.fullmatch(symbol) is None:
        raise MalformedMessage(f"symbol: must match {SYMBOL.pattern}, was {symbol[:80]!r}")
    return symbol


def _decode_control(body: bytes, field: int, symbol: str) -> DecodedMessage:
    message = read_json(_CONTROL, body, "control message")
    records = empty_events(1)
    records["event_ns"] = message.ts * MILLISECOND_NS
    records["kind"] = CONTROL
    records["field"] = field
    records["px"] = CONTROL if message.kind is UNSET else KIND_NAMES.index(message.kind)
    return DecodedMessage(_checked_symbol(symbol), CONTROL, message.topic, None, None, mark_message(records))


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
