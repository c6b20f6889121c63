"""A lane: one symbol's way from a decoded message to its rows. Log first, then compute."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.own import control_message, part_message, restated_message
from ingestion.pipeline.arrivals import OWN_KINDS, Arrivals
from ingestion.pipeline.book_losses import BookLosses, reads_book
from ingestion.pipeline.closed_rows import ClosedRows
from ingestion.pipeline.follower import Follower
from ingestion.pipeline.lane_memory import LaneMemory, unpacked
from ingestion.pipeline.marks import GAP_REASON, RESTART_REASON, absence_marks, hole_records, kinds_changed
from ingestion.pipeline.merged_ticker import MergedTicker
from ingestion.pipeline.past_books import PastBooks
from ingestion.pipeline.silence import Silence
from ingestion.venues.decoders import Decoders
from market.clock import SECOND_NS, floor_to
from market.events import CONTROL, GAP, HISTORY, KIND_COUNT, KIND_NAMES, ORDERBOOK, START, TICKER, TRADE, Events
from market.instruments import Instrument
from storage.checkpoints import Checkpoint
from storage.tape import Frame, Hole, TapeWriter
from transforms.engine import Engine
from transforms.order_book import VALID
from transforms.rows import FeatureRows

_log = logging.getLogger(__name__)


class Lane:
    """The tape and the engine of one symbol."""

    def __init__(
        self,
        engine: Engine,
        tape: TapeWriter,
        decoders: Decoders,
        *,
        on_gap: Callable[[str], object] = lambda _symbol: None,
    ) -> None:
        """on_gap: called with the symbol when its order book was lost and announced on the tape."""
        self.messages = 0
        self.arrivals = Arrivals()
        self.ignored = 0
        """Order book messages of another depth or another stream than the one that is kept to."""
        self.lost = 0
        """Times that messages of a kind were missed or could not be used, each marked on the tape."""
        self.last_recv_ns: int | None = tape.last_recv_ns
        self.trace_id: str | None = None  # of the last message that had one
        self.engine = engine
        """Computes the rows; another version's after ``change_engine``."""
        self.tape = tape
        self._decoders = decoders
        self._on_gap = on_gap
        self._reads_book = reads_book(engine.kernel.feature_set)
        self.has_book_messages = False
        self.follower: Follower | None = None
        """The engine of another version that takes the same records."""
        self._last_frame: tuple[int, int] | None = None  # seq and recv_ns of the last one that the engine has taken
        self.memory = LaneMemory()
        self.ticker = MergedTicker()
        self.closed = ClosedRows()
        self.losses = BookLosses(engine)
        self.past = PastBooks()
        self.silence = Silence()

    def change_engine(self) -> None:
        """Compute from now on with the follower's engine, which has closed what the lane has; it changes places."""
        follower = self.follower
        assert follower is not None
        before, after = self.engine, follower.engine
        assert after.closed_ns == self.closed.until_ns, (after.closed_ns, self.closed.until_ns)
        self.losses.change_engine(after)
        self.engine = after
        self.follower = Follower(before)
        self._reads_book = reads_book(after.kernel.feature_set)
        self.closed.forget_remembered()

    @property
    def needs_snapshot(self) -> bool:
        """Whether the order book is not known although changes of it arrive."""
        is_wanted = self._reads_book and self.closed.last_row_ns is not None and self.has_book_messages
        return is_wanted and self.engine.book_validity != VALID

    def resume(
        self, symbol: str, frames: Iterator[Frame | Hole], *, checkpoint: Checkpoint | None = None, closed_ns: int = 0
    ) -> FeatureRows | None:
        """Bring the engine to where the tape ends, and close the rows up to there again.

        checkpoint: where to continue from, with the frame that ``frames`` begin with. closed_ns: the time of a row
        known to be closed, a tick of any grid: no message may come before it any more.

        None, with the engine as it was, when that frame is not the checkpoint's, or its memory is of another form.
        """
        last_ns = None
        if checkpoint is not None:
            first, memory = next(frames, None), unpacked(checkpoint.memory)
            last_ns = checkpoint.recv_ns
            if not isinstance(first, Frame) or (first.seq, first.recv_ns) != (checkpoint.seq, last_ns) or not memory:
                return None
            self.engine.restore(checkpoint.state)
            self.memory = memory
            self._last_frame = checkpoint.seq, last_ns
        hole: Hole | None = None
        for frame in frames:
            if isinstance(frame, Hole):
                hole = frame
                continue
            # A hole that nothing follows is marked on the tape by what goes on there.
            if hole is not None:
                self.engine.feed(hole_records(self._decoders, symbol, hole))
            hole = None
            decoded = self._decoders.decode(frame.body, frame.recv_ns)
            assert decoded is not None, "only messages with market data are logged"
            self.memory.note(decoded, frame.seq, frame.recv_ns)
            if decoded.kind < KIND_COUNT:
                self.engine.feed(decoded.stamped(frame.recv_ns, frame.seq))
            last_ns = frame.recv_ns
            self._last_frame = frame.seq, frame.recv_ns
        # On a coarser grid than that of the row, the tick after it.
        least_ns = closed_ns + -closed_ns % self.engine.grid_ns
        rows = self.silence.close(self.engine, max(least_ns, 0 if last_ns is None else floor_to(last_ns, SECOND_NS)))
        self.losses.settle()
        self.closed.until_ns = self.engine.closed_ns
        self.ticker.load(self.engine.ticker_fields, self.engine.waiting)
        self.closed.note_last(rows)
        return rows

    def pin(self, instrument: Instrument) -> None:
        """Take the symbol's scale, which no message needed before."""
        self.engine.pin(instrument)
        if self.follower is not None:
            self.follower.pin(instrument)

    def mark_restart(self, recv_ns: int) -> None:
        """Write on the tape that what came since its end, or since the last row, until now may have been missed."""
        until_ns = self.memory.stamp_ns(range(KIND_COUNT), recv_ns, self.engine.closed_ns)
        since_ns = max(self.last_recv_ns or until_ns, self.engine.closed_ns or 0)
        is_book_known = self.engine.book_validity == VALID
        for mark in absence_marks(since_ns, until_ns, grid_ns=self.engine.grid_ns, is_book_known=is_book_known):
            self._log_control(mark.field, recv_ns=mark.recv_ns, reason=RESTART_REASON, kind=mark.kind)

    def take(self, message: DecodedMessage, body: bytes, *, recv_ns: int) -> int:
        """Stamp a message, append its bytes to the tape, then compute with its records; returns its seq.

        A message that comes after its row was closed, or is stamped before the last of its kind, is raised to that time
        and counted. One that the tape holds already is counted and goes no further, nor does one of another order book
        stream; of a message with trades that the tape holds, the others are taken.
        """
        seen = self.memory.seen
        is_new = seen.is_new(message.event_id, message.trade_ids)
        if not is_new and (known_seq := seen.seq_of(message)) is not None:
            self.arrivals.note_repeated(message.kind, recv_ns)
            return known_seq
        stamped_ns = self.memory.stamp_ns(kinds_changed(message), recv_ns, self.engine.closed_ns)
        if not is_new:
            repeated = seen.repeated_trades(message)
            self.arrivals.note_repeated(TRADE, recv_ns, len(repeated))
            body = part_message(body, repeated, symbol=message.symbol)
            part = self._decoders.decode(body, stamped_ns)
            assert part is not None
            message = part
        if message.kind == ORDERBOOK:
            judged = self.memory.book.judge(message, stamped_ns)
            if judged.mark is not None:
                self._lose(judged.mark, kind=ORDERBOOK, recv_ns=stamped_ns, reason=judged.reason)
            if not judged.is_taken:
                self.ignored += 1
                return self.last_seq
        self.arrivals.note(message.kind, recv_ns, stamped_ns)
        seq = self.tape.append(stamped_ns, body)
        self.messages += message.kind not in OWN_KINDS
        self.last_recv_ns = stamped_ns
        self.trace_id = message.trace_id or self.trace_id
        self.has_book_messages |= message.kind == ORDERBOOK
        self.lost += message.kind == CONTROL and int(message.records["field"][0]) != HISTORY
        was_valid = self.memory.book.is_valid
        self._feed(message, stamped_ns, seq)
        if message.kind == ORDERBOOK and self.memory.book.is_valid != was_valid:
            self.losses.tell(self.memory.book, stamped_ns)
        if message.kind == TICKER and (known := self.ticker.due(stamped_ns)):
            self._log(restated_message(known, self.engine.instrument, event_ns=stamped_ns), stamped_ns)
        return seq

    def take_block(self, frames: memoryview, sizes: Sequence[int], stamps_ns: Sequence[int], records: Events) -> None:
        """Append the frames of messages that a ``LaneRun`` took, then compute with their records, which are stamped."""
        self.tape.append_block(frames, sizes, stamps_ns)
        self.messages += len(sizes)
        self.last_recv_ns = stamps_ns[-1]
        self.closed.add_messages(*stamps_ns)
        self._compute_with(records, self.last_seq, stamps_ns[-1], from_ns=min(stamps_ns))

    def lose(self, kind: int, *, recv_ns: int, reason: str) -> int:
        """A message of the kind could not be used, or some were missed: what they would have changed is unknown.

        It is marked on the tape, an order book's once after each message of it; returns the seq of the mark.
        """
        if kind != ORDERBOOK or not self.memory.book.is_lost:
            stamped_ns = self.memory.stamp_ns((kind,), recv_ns, self.engine.closed_ns)
            self._lose(GAP if kind == ORDERBOOK else START, kind=kind, recv_ns=stamped_ns, reason=reason)
        return self.last_seq

    def durability(self) -> Callable[[float], bool]:
        """A function that waits up to so many seconds for everything taken so far to be on the disk, and says whether.

        It may be called in another thread; it raises StoreUnavailable when the tape has failed.
        """
        return partial(self.tape.wait_durable, self.last_seq)

    @property
    def last_seq(self) -> int:
        """On the tape, durable or not; 0 before the first."""
        return self.tape.next_seq - 1

    def checkpoint(self) -> Checkpoint | None:
        """The state after the last message; None before the first. Of use once the tape is durable up to there.

        None as well when a message was logged and then failed in the engine: the tape says more than the state.
        """
        if self._last_frame is None or self._last_frame[0] != self.last_seq:
            return None
        engine, memory = self.engine, self.memory.packed()
        return Checkpoint(*self._last_frame, engine.identity, engine.checkpoint(), memory, self.tape.place)

    def compute(self, watermark_ns: int) -> FeatureRows:
        """Close the rows up to the watermark: those at whole seconds, and the newest tick when a message is in it.

        They are served once ``note_closed`` has them; until then the lane can continue with another engine.
        """
        has_changed = self.closed.lacks_message_before(floor_to(watermark_ns, self.engine.grid_ns))
        until_ns = watermark_ns if has_changed else floor_to(watermark_ns, SECOND_NS)
        return self.engine.advance(until_ns, without=self.silence.hours)

    def note_closed(self, rows: FeatureRows) -> None:
        """The rows that ``compute`` gave are served."""
        if (closed_ns := self.engine.closed_ns) is None:
            return
        self.closed.note(rows, closed_ns)
        self.past.note(self.engine, closed_ns, self.last_seq)
        # A gap that the engine met goes onto the tape, unless a snapshot that has come since repairs it.
        if self.losses.has_new(closed_ns) and self._reads_book and self.engine.is_book_broken:
            self._log_control(GAP, recv_ns=closed_ns, reason=GAP_REASON)
            self._on_gap(self.engine.instrument.symbol)
        self.arrivals.tell(self._log, self.engine.instrument.symbol, closed_ns, ended_ns=closed_ns)

    def tell_arrivals(self) -> None:
        """Log what the current minute has counted, which needs an open tape."""
        last_ns = max(self.engine.closed_ns or 0, self.last_recv_ns or 0)
        self.arrivals.tell(self._log, self.engine.instrument.symbol, last_ns)

    def close(self) -> None:
        self.tape.close()

    def _lose(self, field: int, *, kind: int, recv_ns: int, reason: str) -> None:
        symbol, was_valid = self.engine.instrument.symbol, self.memory.book.is_valid
        self.lost += 1
        if field == START or was_valid:
            _log.warning("%s %s: %s", symbol, KIND_NAMES[kind], reason)
        self.memory.last_stamp_ns[kind] = recv_ns
        self._log_control(field, recv_ns=recv_ns, reason=reason, kind=kind)
        if field == GAP and was_valid:
            self.losses.mark(recv_ns)
            if self._reads_book:
                self._on_gap(symbol)

    def _log_control(self, field: int, *, recv_ns: int, reason: str, kind: int = CONTROL) -> None:
        symbol = self.engine.instrument.symbol
        self._log(control_message(field, symbol=symbol, event_ns=recv_ns, reason=reason, kind=kind), recv_ns)

    def _log(self, body: bytes, recv_ns: int) -> None:
        """Write what the service itself says, and compute with it."""
        decoded = self._decoders.decode(body, recv_ns)
        assert decoded is not None
        self._feed(decoded, recv_ns, self.tape.append(recv_ns, body))

    def _feed(self, message: DecodedMessage, recv_ns: int, seq: int) -> None:
        """Let the engine have what is on the tape; the next tick after it has a row."""
        records = message.stamped(recv_ns, seq)
        self.memory.note(message, seq, recv_ns)
        if message.kind in (TICKER, CONTROL):
            self.ticker.note(records)
        if message.kind < KIND_COUNT:
            self.closed.add_messages(recv_ns)
        self._compute_with(records if message.kind < KIND_COUNT else records[:0], seq, recv_ns, from_ns=recv_ns)

    def _compute_with(self, records: Events, seq: int, recv_ns: int, *, from_ns: int) -> None:
        """Feed the records of messages up to ``seq``, received at ``recv_ns``, the earliest of them at ``from_ns``."""
        self.engine.feed(records, from_ns=from_ns)
        if (follower := self.follower) is not None:  # another thread may end it
            follower.take(records)
        self._last_frame = seq, recv_ns
