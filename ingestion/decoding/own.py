"""The service's own messages on a tape: what it missed, asked later, took in part, restated, was answered, counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.decoded import DecodedMessage, checked_symbol
from ingestion.decoding.positions import held_position_records, read_position_answer
from ingestion.decoding.scales import Scales
from ingestion.decoding.stated import Stated
from ingestion.decoding.tickers import restated_element, restated_ticker
from ingestion.decoding.wire import (
    ArrivalsMessage,
    ControlMessage,
    HistoryMessage,
    KindArrivals,
    PartMessage,
    RestatedTicker,
    read_json,
)
from market.clock import MILLISECOND_NS
from market.errors import MalformedMessage, UnknownTopic
from market.events import (
    ARRIVALS,
    CONTROL,
    GAP,
    HISTORY,
    KIND_NAMES,
    KLINE,
    POSITION,
    START,
    TICKER,
    TRADE,
    empty_events,
    mark_message,
)
from market.instruments import Instrument

OWN: Final = "feature-service."
"""How the topics of the service's own messages begin; the topic of each ends with its symbol."""
CONTROL_NAMES: Final = {START: "start", GAP: "gap"}
_CONTROL_FIELDS: Final = {name: field for field, name in CONTROL_NAMES.items()}
_POSITION_ANSWER: Final = "position"
_PART: Final = "part"
_HISTORY: Final = "history"
_RESTATED: Final = "ticker"
_ARRIVALS: Final = "arrivals"
_KINDS: Final = {
    **dict.fromkeys((*_CONTROL_FIELDS, _HISTORY), CONTROL),
    _POSITION_ANSWER: POSITION,
    _PART: TRADE,
    _RESTATED: TICKER,
    _ARRIVALS: ARRIVALS,
}
_CONTROL: Final = JsonDecoder(ControlMessage)
_HISTORY_MESSAGE: Final = JsonDecoder(HistoryMessage)
_PART_MESSAGE: Final = JsonDecoder(PartMessage)
_RESTATED_TICKER: Final = JsonDecoder(RestatedTicker)
_ARRIVALS_MESSAGE: Final = JsonDecoder(ArrivalsMessage)


def own_stated(topic: str) -> Stated:
    """What a topic that begins with OWN says of its message, which may be unusable."""
    name, _, symbol = topic.removeprefix(OWN).partition(".")
    return Stated(symbol, f"{OWN}{name}", _KINDS.get(name))


class OwnMessages:
    """Decodes them; ``decode_venue`` decodes what one holds of the venue's."""

    def __init__(self, scales: Scales, decode_venue: Callable[[bytes], DecodedMessage | None]) -> None:
        self._scales = scales
        self._decode_venue = decode_venue

    def decode(self, body: bytes, topic: str) -> DecodedMessage:
        """The records of a message whose topic begins with OWN.

        Raises MalformedMessage, UnknownTopic, ScaleExceeded.
        """
        name, _, symbol = topic.removeprefix(OWN).partition(".")
        if name in _CONTROL_FIELDS:
            return _decode_control(body, _CONTROL_FIELDS[name], symbol)
        if name == _HISTORY:
            return _decode_history(body, symbol)
        if name == _PART:
            return self._decode_part(body)
        if name == _RESTATED:
            return self._decode_restated(body, topic, symbol)
        if name == _ARRIVALS:
            return _decode_arrivals(body, symbol)
        if name == _POSITION_ANSWER:
            return self._decode_position_answer(body, topic, symbol)
        raise UnknownTopic(f"topic: must be {OWN}{{{'|'.join(_KINDS)}}}, was {topic!r}")

    def _decode_part(self, body: bytes) -> DecodedMessage:
        """What was taken of a message of which some trades had been taken before."""
        part = read_json(_PART_MESSAGE, body, "part of a message")
        whole = self._decode_venue(bytes(part.message))
        if whole is None or whole.kind != TRADE or not set(part.left_out) < set(range(len(whole.records))):
            raise MalformedMessage(f"{part.topic}: must leave out some trades of a message, was {part.left_out}")
        kept = [at for at in range(len(whole.records)) if at not in part.left_out]
        records = whole.records[kept]
        records["flags"] = 0
        return whole._replace(records=mark_message(records), trade_ids=tuple(whole.trade_ids[at] for at in kept))

    def _decode_restated(self, body: bytes, topic: str, symbol: str) -> DecodedMessage:
        restated = read_json(_RESTATED_TICKER, body, topic)
        element = restated_element(restated.data, restated.ts * MILLISECOND_NS)
        records = mark_message(self._scales.to_records(checked_symbol(symbol), element))
        return DecodedMessage(symbol, TICKER, topic, None, None, records)

    def _decode_position_answer(self, body: bytes, topic: str, symbol: str) -> DecodedMessage:
        answer = read_position_answer(body)
        records = held_position_records(answer.position, answer.ts * MILLISECOND_NS)
        self._scales.need(symbol, None if answer.position is None else answer.position.average_entry_price)
        return DecodedMessage(symbol, POSITION, topic, None, None, mark_message(records))


def control_message(field: int, *, symbol: str, event_ns: int, reason: str, kind: int = CONTROL) -> bytes:
    """The bytes of a START or GAP message, cut to whole milliseconds. Raises MalformedMessage on a bad symbol.

    kind: of the messages that a START is of; CONTROL is all of them.
    """
    topic = f"{OWN}{CONTROL_NAMES[field]}.{checked_symbol(symbol)}"
    document: dict[str, object] = {"topic": topic, "ts": event_ns // MILLISECOND_NS, "reason": reason}
    return msgspec.json.encode(document if kind == CONTROL else {**document, "kind": KIND_NAMES[kind]})


def history_message(symbol: str, *, event_ns: int, since_ns: int, reason: str) -> bytes:
    """The bytes that say that every candle from ``since_ns`` on is on the tape. Raises MalformedMessage."""
    topic = f"{OWN}{_HISTORY}.{checked_symbol(symbol)}"
    ts, since = event_ns // MILLISECOND_NS, since_ns // MILLISECOND_NS
    return msgspec.json.encode(HistoryMessage(topic=topic, ts=ts, reason=reason, kind="kline", since=since))


def part_message(message: bytes, left_out: Sequence[int], *, symbol: str) -> bytes:
    """The bytes for the tape of a message of trades of which some are left out, with its own bytes in it."""
    topic = f"{OWN}{_PART}.{checked_symbol(symbol)}"
    return msgspec.json.encode(PartMessage(topic=topic, left_out=list(left_out), message=msgspec.Raw(message)))


def restated_message(fields: Mapping[int, int], instrument: Instrument, *, event_ns: int) -> bytes:
    """The bytes for the tape of a merged ticker's known fields, given as mantissas."""
    topic = f"{OWN}{_RESTATED}.{checked_symbol(instrument.symbol)}"
    data = restated_ticker(fields, instrument)
    return msgspec.json.encode({"topic": topic, "ts": event_ns // MILLISECOND_NS, "data": data})


def arrivals_message(symbol: str, minute_ns: int, kinds: Sequence[KindArrivals]) -> bytes:
    """The bytes that say what of a minute came late or again. Raises MalformedMessage on a bad symbol."""
    topic = f"{OWN}{_ARRIVALS}.{checked_symbol(symbol)}"
    return msgspec.json.encode(ArrivalsMessage(topic=topic, ts=minute_ns // MILLISECOND_NS, kinds=list(kinds)))


def position_answer(symbol: str, *, event_ns: int, answer: bytes) -> bytes:
    """The bytes of a position manager's answer for the tape: its JSON body, or ``null`` where it found no position."""
    topic = f"{OWN}{_POSITION_ANSWER}.{checked_symbol(symbol)}"
    return msgspec.json.encode({"topic": topic, "ts": event_ns // MILLISECOND_NS, "position": msgspec.Raw(answer)})


def _decode_control(body: bytes, field: int, symbol: str) -> DecodedMessage:
    message = read_json(_CONTROL, body, "control message")
    records = empty_events(1)
    records["event_ns"] = message.ts * MILLISECOND_NS
    records["kind"] = CONTROL
    records["field"] = field
    records["px"] = CONTROL if message.kind is UNSET else KIND_NAMES.index(message.kind)
    return DecodedMessage(checked_symbol(symbol), CONTROL, message.topic, None, None, mark_message(records))


def _decode_history(body: bytes, symbol: str) -> DecodedMessage:
    message = read_json(_HISTORY_MESSAGE, body, "history message")
    records = empty_events(1)
    records["event_ns"] = message.ts * MILLISECOND_NS
    records["kind"] = CONTROL
    records["field"] = HISTORY
    records["px"] = KLINE
    records["update_id"] = message.since * MILLISECOND_NS
    return DecodedMessage(checked_symbol(symbol), CONTROL, message.topic, None, None, mark_message(records))


def _decode_arrivals(body: bytes, symbol: str) -> DecodedMessage:
    message = read_json(_ARRIVALS_MESSAGE, body, "arrivals message")
    records = empty_events(len(message.kinds))
    records["event_ns"] = message.ts * MILLISECOND_NS
    records["kind"] = ARRIVALS
    for record, counted in zip(records, message.kinds, strict=True):
        record["field"] = KIND_NAMES.index(counted.kind)
        record["px"], record["qty"], record["update_id"] = counted.late, counted.repeated, counted.most_late_ns
    return DecodedMessage(checked_symbol(symbol), ARRIVALS, message.topic, None, None, mark_message(records))
