"""Records of a day of history: its messages decoded, stamped and of that day, in pieces of whole messages.

An archive's order book has lines by the hundred thousand: compiled code reads a block of them in one call, and stops at
a line that it declines, which is decoded alone, as any other message is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from backfill.bybit.messages import AVAILABILITY_NS
from backfill.fetching import Fetched, SymbolDay
from backfill.held import KIND, Held
from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.own import control_message
from ingestion.decoding.scales import Instruments
from ingestion.messages import TimedMessage
from ingestion.sources.played.recordings import archived_message, read_archive
from ingestion.venues.bybit.canonical_lines import BookLines
from ingestion.venues.bybit.decode import Decoder
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import Decoders
from market.clock import DAY_NS, MILLISECOND_NS, SECOND_NS, format_iso
from market.errors import MalformedMessage, UnreadableRecording
from market.events import CONTROL, GAP, ORDERBOOK, Events
from storage.raw.streams import backfill_seq
from transforms import tape_order

RECORDS_A_PIECE: Final = 100_000
BOOK_STALE_NS: Final = 10 * SECOND_NS
"""An order book that is silent for longer than this before its day ends is unknown from there."""
_CLOCKS_APART_NS: Final = SECOND_NS
"""Clocks of an archive differ by less."""


def records_of(instruments: Instruments, asked: SymbolDay, held: Held, found: Fetched) -> Iterator[Events]:
    """The records of a day that was fetched, but for what is held. Raises as the two below."""
    if found.book is not None:
        return book_records(instruments, asked, found.book)
    return message_records(instruments, asked, held, iter(found.messages))


def message_records(
    instruments: Instruments, asked: SymbolDay, held: Held, messages: Iterator[TimedMessage]
) -> Iterator[Events]:
    """The records of what is not held. Raises RejectedMessage."""
    decoders = Decoders(BYBIT, instruments)
    is_kline = asked.data_type == "klines"
    delay_ns = AVAILABILITY_NS["trades"] if asked.data_type == "trades" else 0
    may_be_held = bool(held.ranges) and not is_kline
    pieces = _Pieces(asked)
    for message in messages:
        if may_be_held and held.has(message.recv_ns - delay_ns):
            continue
        decoded = _decoded(decoders, asked, message)
        if is_kline and int(decoded.records["update_id"][0]) in held.minutes:
            continue
        pieces.add(decoded, message.recv_ns)
        if pieces.waiting >= RECORDS_A_PIECE:
            yield pieces.take()
    if pieces.waiting:
        yield pieces.take()


def book_records(instruments: Instruments, asked: SymbolDay, path: Path) -> Iterator[Events]:
    """The records of an archive's order book, and a GAP where it ends before its day does.

    Raises UnreadableRecording, RejectedMessage.
    """
    decoders = Decoders(BYBIT, instruments)
    may_be_compiled = isinstance(decoders.of(asked.day_ns), Decoder)
    pieces = _Pieces(asked)
    lines: BookLines | None = None
    recv_ns = None
    blocks = read_archive(path)
    for block in blocks:
        at = 0
        while at < len(block):
            if lines is not None:
                records, count, at = lines.read(block, at, seq=pieces.seq + pieces.messages)
                if count:
                    if pieces.waiting:
                        yield pieces.take()
                    pieces.seq += count
                    blocks.line_number += count
                    recv_ns = int(records["recv_ns"][-1])
                    yield records
                if at == len(block):
                    break
            begin, end = at, block.find(b"\n", at)
            at = len(block) if end < 0 else end + 1
            line = block[begin:at]
            number = blocks.line_number
            blocks.line_number += 1
            if line.isspace():
                continue
            try:
                archived = archived_message(line)
            except MalformedMessage as error:
                raise UnreadableRecording(f"{path.name} line {number}: {error}") from error
            _check_day(asked, archived.recv_ns)  # before the delay, with which it need not fit int64
            recv_ns = archived.recv_ns + AVAILABILITY_NS["orderbook"]
            decoded = _decoded(decoders, asked, TimedMessage(recv_ns, archived.body))
            pieces.add(decoded, recv_ns)
            if pieces.waiting >= RECORDS_A_PIECE:
                yield pieces.take()
            if may_be_compiled and decoded.kind == ORDERBOOK and (lines is None or lines.topic != decoded.topic):
                instrument = instruments.get(asked.symbol)
                assert instrument is not None, "decoding pinned a scale"
                offset = line.find(decoded.topic.encode())
                lines = BookLines(
                    instrument,
                    decoded.topic,
                    offset,
                    delay_ns=AVAILABILITY_NS["orderbook"],
                    from_ms=asked.start_ms - _CLOCKS_APART_NS // MILLISECOND_NS,
                    to_ms=asked.end_ms + _CLOCKS_APART_NS // MILLISECOND_NS,
                )
    if recv_ns is not None and recv_ns < asked.day_ns + DAY_NS - BOOK_STALE_NS:
        body = control_message(GAP, symbol=asked.symbol, event_ns=recv_ns, reason="the archive of the day ends here")
        pieces.add(_decoded(decoders, asked, TimedMessage(recv_ns, body)), recv_ns)
    if pieces.waiting:
        yield pieces.take()


class _Pieces:
    """Decoded messages of a day that wait to be a piece. seq: of the first of them."""

    def __init__(self, asked: SymbolDay) -> None:
        self._asked = asked
        self.seq = backfill_seq(asked.data_type, asked.day_ns // DAY_NS)
        self.waiting = 0
        """How many records."""
        self._records: list[Events] = []

    @property
    def messages(self) -> int:
        """How many wait."""
        return len(self._records)

    def add(self, decoded: DecodedMessage, recv_ns: int) -> None:
        self._records.append(decoded.stamped(recv_ns, self.seq + len(self._records)))
        self.waiting += len(decoded.records)

    def take(self) -> Events:
        """All of them; raises MalformedMessage for one of another day."""
        events = tape_order.joined(self._records)
        self.seq += len(self._records)
        self._records, self.waiting = [], 0
        return _of_day(self._asked, events)


def _decoded(decoders: Decoders, asked: SymbolDay, message: TimedMessage) -> DecodedMessage:
    decoded = decoders.decode(message.body, message.recv_ns)
    if decoded is None or decoded.symbol != asked.symbol or decoded.kind not in (CONTROL, KIND[asked.data_type]):
        raise MalformedMessage(f"{asked}: must hold nothing else, was {message.body[:80]!r}")
    return decoded


def _of_day(asked: SymbolDay, events: Events) -> Events:
    times = events["event_ns"]
    _check_day(asked, int(times.min()))
    _check_day(asked, int(times.max()))
    return events


def _check_day(asked: SymbolDay, at_ns: int) -> None:
    # A candle ends when its day does.
    if not -_CLOCKS_APART_NS <= at_ns - asked.day_ns <= DAY_NS + _CLOCKS_APART_NS:
        raise MalformedMessage(f"{asked}: must be of its day, was at {format_iso(at_ns)}")
