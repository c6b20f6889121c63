"""A lane: one symbol's way from a decoded message to its rows. Log first, then compute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ingestion.decode import Decoder, control_message
from market.clock import SECOND_NS, floor_to
from market.events import GAP, START, Events
from storage.tape import Frame, TapeWriter
from transforms.engine import Engine
from transforms.rows import FeatureRows

RESTART_REASON: Final = "ingest restarted"
GAP_REASON: Final = "order book lost its sequence"


class Lane:
    """The tape and the engine of one symbol."""

    def __init__(self, engine: Engine, tape: TapeWriter, decoder: Decoder) -> None:
        self.late_messages = 0
        self._engine = engine
        self._tape = tape
        self._decoder = decoder
        self._breaks = 0

    @property
    def gaps(self) -> int:
        """How often the order book lost its sequence, crossed or overflowed."""
        counters = self._engine.book_counters
        return counters.gaps + counters.crossed + counters.overflows

    @property
    def duplicates(self) -> int:
        return self._engine.book_counters.duplicates

    def resume(self, frames: Iterable[Frame]) -> None:
        """Bring the engine to where the tape ends; its rows were served before, or are left to a rebuild."""
        last_ns = None
        for frame in frames:
            decoded = self._decoder.decode(frame.body)
            if decoded is not None:
                self._engine.feed(_stamp(decoded.records, frame.recv_ns, frame.seq))
                last_ns = frame.recv_ns
        if last_ns is not None:
            self._engine.advance(floor_to(last_ns, SECOND_NS))
            self._breaks = self.gaps

    def mark_restart(self, symbol: str, recv_ns: int) -> None:
        """Write on the tape that messages before this one may have been missed."""
        self._log_control(START, symbol=symbol, recv_ns=self._not_before_the_last_row(recv_ns), reason=RESTART_REASON)

    def take(self, records: Events, body: bytes, *, symbol: str, recv_ns: int) -> None:
        """Stamp a message, append its bytes to the tape, then compute with its records.

        A message that comes after its row was closed is raised to the boundary and counted: the past is not rewritten.
        """
        stamped_ns = self._not_before_the_last_row(recv_ns)
        self.late_messages += stamped_ns != recv_ns
        seq = self._tape.append(stamped_ns, body)
        self._engine.feed(_stamp(records, stamped_ns, seq))
        if self.gaps > self._breaks:
            self._breaks = self.gaps
            self._log_control(GAP, symbol=symbol, recv_ns=stamped_ns, reason=GAP_REASON)

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


def _stamp(records: Events, recv_ns: int, seq: int) -> Events:
    records["recv_ns"] = recv_ns
    records["seq"] = seq
    return records
