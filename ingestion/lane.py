"""A lane: one symbol's way from a decoded message to its rows. Log first, then compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ingestion.decode import DecodedMessage, Decoder, control_message
from ingestion.redelivery import SeenMessages
from market.clock import SECOND_NS, floor_to
from market.events import GAP, START, Events
from storage.tape import Frame, Hole, TapeWriter
from transforms.engine import Engine
from transforms.rows import FeatureRows

RESTART_REASON: Final = "ingest restarted"
LOST_REASON: Final = "messages on the tape cannot be read"
GAP_REASON: Final = "order book lost its sequence"


class Lane:
    """The tape and the engine of one symbol."""

    def __init__(self, engine: Engine, tape: TapeWriter, decoder: Decoder) -> None:
        self.late_messages = 0
        self.redelivered = 0
        self._engine = engine
        self._tape = tape
        self._decoder = decoder
        self._breaks = 0
        self._seen = SeenMessages()

    @property
    def gaps(self) -> int:
        """How often the order book lost its sequence, crossed or overflowed."""
        counters = self._engine.book_counters
        return counters.gaps + counters.crossed + counters.overflows

    @property
    def duplicates(self) -> int:
        return self._engine.book_counters.duplicates

    def resume(self, symbol: str, frames: Iterable[Frame | Hole]) -> None:
        """Bring the engine to where the tape ends; its rows were served before, or are left to a rebuild."""
        last_ns = None
        for frame in frames:
            if isinstance(frame, Hole):
                self._engine.feed(hole_records(self._decoder, symbol, frame))
                continue
            decoded = self._decoder.decode(frame.body)
            if decoded is not None:
                self._seen.remember(decoded, frame.seq)
                self._engine.feed(_stamp(decoded.records, frame.recv_ns, frame.seq))
                last_ns = frame.recv_ns
        if last_ns is not None:
            self._engine.advance(floor_to(last_ns, SECOND_NS))
            self._breaks = self.gaps

    def mark_restart(self, symbol: str, recv_ns: int) -> None:
        """Write on the tape that messages before this one may have been missed."""
        self._log_control(START, symbol=symbol, recv_ns=self._not_before_the_last_row(recv_ns), reason=RESTART_REASON)

    def take(self, message: DecodedMessage, body: bytes, *, recv_ns: int) -> int:
        """Stamp a message, append its bytes to the tape, then compute with its records; returns its seq.

        A message that comes after its row was closed is raised to the boundary and counted: the past is not rewritten.
        One that the tape holds already is counted and goes no further.
        """
        known_seq = self._seen.seq_of(message)
        if known_seq is not None:
            self.redelivered += 1
            return known_seq
        stamped_ns = self._not_before_the_last_row(recv_ns)
        self.late_messages += stamped_ns != recv_ns
        seq = self._tape.append(stamped_ns, body)
        self._seen.remember(message, seq)
        self._engine.feed(_stamp(message.records, stamped_ns, seq))
        if self.gaps > self._breaks:
            self._breaks = self.gaps
            self._log_control(GAP, symbol=message.symbol, recv_ns=stamped_ns, reason=GAP_REASON)
        return seq

    def when_durable(self, seq: int, callback: Callable[[], object]) -> None:
        """Call ``callback`` once the message with this seq is on the disk; see ``TapeWriter.when_durable``."""
        self._tape.when_durable(seq, callback)

    def advance(self, watermark_ns: int) -> FeatureRows:
        """Close the rows up to the watermark."""
        return self._engine.advance(watermark_ns)

    def peek(self) -> FeatureRows:
        """The provisional row."""
        return self._engine.peek()

    def close(self) -> None:
        """Sync and close the tape."""
        self._tape.close()

    def _not_before_the_last_row(self, recv_ns: int) -> int:
        next_row_ns = self._engine.next_row_ns
        return recv_ns if next_row_ns is None else max(recv_ns, next_row_ns - SECOND_NS)

    def _log_control(self, field: int, *, symbol: str, recv_ns: int, reason: str) -> None:
        body = control_message(field, symbol=symbol, event_ns=recv_ns, reason=reason)
        decoded = self._decoder.decode(body)
        assert decoded is not None
        self._engine.feed(_stamp(decoded.records, recv_ns, self._tape.append(recv_ns, body)))


def hole_records(decoder: Decoder, symbol: str, hole: Hole) -> Events:
    """What stands in the place of a hole: a START, since messages before what follows are missing."""
    body = control_message(START, symbol=symbol, event_ns=hole.recv_ns, reason=LOST_REASON)
    decoded = decoder.decode(body)
    assert decoded is not None
    return _stamp(decoded.records, hole.recv_ns, hole.first_seq)


def _stamp(records: Events, recv_ns: int, seq: int) -> Events:
    records["recv_ns"] = recv_ns
    records["seq"] = seq
    return records
