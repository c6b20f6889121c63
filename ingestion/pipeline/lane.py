"""A lane: one symbol's way from a decoded message to its rows. Log first, then compute."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.own import control_message, part_message, restated_message
from ingestion.pipeline.book_stream import BookStream
from ingestion.pipeline.follower import Follower
from ingestion.pipeline.merged_ticker import MergedTicker
from ingestion.pipeline.redelivery import SeenMessages
from ingestion.venues.decoders import Decoders
from market.clock import SECOND_NS, floor_to
from market.events import CONTROL, GAP, HISTORY, KIND_COUNT, KIND_NAMES, ORDERBOOK, START, TICKER, Events
from market.instruments import Instrument
from storage.checkpoints import Checkpoint
from storage.tape import Frame, Hole, TapeWriter
from transforms.catalogue import GROUPS, group_source
from transforms.declaration import Source
from transforms.engine import Engine
from transforms.held import HeldPast
from transforms.order_book import VALID
from transforms.rows import FeatureRows, FeatureSet
from transforms.status import STATUS_NAMES

RESTART_REASON: Final = "ingest restarted"
LOST_REASON: Final = "messages on the tape cannot be read"
GAP_REASON: Final = "order book lost its sequence"
ROWS_REMEMBERED: Final = 75
"""Of the newest rows at whole seconds, which another version's are compared with: a minute and what it takes longer."""

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
        self.rows = 0
        self.late_messages = 0
        self.redelivered = 0
        """Messages that the tape held already, and trades that came again in another one."""
        self.ignored = 0
        """Order book messages of another depth or another stream than the one that is kept to."""
        self.lost = 0
        """Times that messages of a kind were missed or could not be used, each marked on the tape."""
        self.crossed_ns: int | None = None
        """The tick at which the order book was last found crossed or locked; None when it never was."""
        self.last_recv_ns: int | None = tape.last_recv_ns
        self.trace_id: str | None = None
        """Of the last message that had one."""
        self.newest_in_row_ns: int | None = None
        """The latest stamp of the messages that the newest row has and the row before it had not; None without one."""
        self._engine = engine
        self._tape = tape
        self._decoders = decoders
        self._on_gap = on_gap
        self._book_at = book_group(engine.kernel.feature_set)
        self._has_book_messages = False
        self._last_row: tuple[int, npt.NDArray[np.int8], FeatureSet] | None = None
        self._remembered: deque[FeatureRows] = deque(maxlen=ROWS_REMEMBERED)
        self._follower: Follower | None = None
        self._closed_ns: int | None = None
        self._breaks = self._marked_gaps = self._crossed = 0
        # What engines before the present one had met more than it has.
        self._breaks_before = self._duplicates_before = 0
        self._last_stamp_ns: dict[int, int] = {}  # by kind
        self._unserved_ns: list[int] = []  # stamps of messages that are in no row yet
        self._last_frame: tuple[int, int] | None = None  # seq and recv_ns of the last one that the engine has taken
        self._lost_ns: int | None = None  # when the order book was lost that no snapshot has brought back yet
        self._seen = SeenMessages()
        self._book = BookStream()
        self.ticker = MergedTicker()
        """What is known of the fields of tickers."""

    @property
    def identity(self) -> str:
        """Of what the engine's state means something to."""
        return self._engine.identity

    @property
    def gaps(self) -> int:
        """How often the order book was lost: its sequence, a restart or a message, or it crossed or overflowed."""
        return self._engine_breaks + self._marked_gaps

    @property
    def _engine_breaks(self) -> int:
        return self._breaks_before + _breaks_of(self._engine)

    @property
    def duplicates(self) -> int:
        return self._duplicates_before + self._engine.book_counters.duplicates

    @property
    def next_row_ns(self) -> int | None:
        """Time of the row that will close next; None before the first message."""
        return self._engine.next_row_ns

    @property
    def last_row_ns(self) -> int | None:
        """Time of the newest closed row; None before the first."""
        return None if self._last_row is None else self._last_row[0]

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each feature group in the newest closed row; from any thread."""
        last_row = self._last_row
        if last_row is None:
            return {}
        # Of the row's own set: until its first row another version's engine is there already.
        _, found, of_set = last_row
        return {group.name: STATUS_NAMES[status] for group, status in zip(of_set.groups, found, strict=True)}

    @property
    def held(self) -> HeldPast:
        """What the engine holds of the past."""
        return self._engine.held

    @property
    def feature_set(self) -> FeatureSet:
        """Whose columns the rows have."""
        return self._engine.kernel.feature_set

    @property
    def instrument(self) -> Instrument:
        return self._engine.instrument

    @property
    def grid_ns(self) -> int:
        return self._engine.grid_ns

    @property
    def remembered(self) -> list[FeatureRows]:
        """The newest rows at whole seconds, at most ROWS_REMEMBERED of them, oldest first; from any thread."""
        return list(self._remembered)

    @property
    def served_until_ns(self) -> int | None:
        """The tick up to which rows were handed on, before which no record can come any more; None before the first."""
        return self._closed_ns

    @property
    def follower(self) -> Follower | None:
        """The engine of another version that takes the same records."""
        return self._follower

    def follow(self, follower: Follower | None) -> None:
        """Let a follower have every record from now on, in the place of one before; None ends it."""
        self._follower = follower

    def change_engine(self) -> None:
        """Compute from now on with the follower's engine, which has closed what the lane has; it changes places."""
        follower = self._follower
        assert follower is not None
        before, after = self._engine, follower.engine
        assert after.closed_ns == self._closed_ns, (after.closed_ns, self._closed_ns)
        # Not what ``before`` has met by now: where it failed, that may be more than was told of.
        self._breaks_before = self._breaks - _breaks_of(after)
        self._crossed = after.book_counters.crossed
        self._duplicates_before += before.book_counters.duplicates - after.book_counters.duplicates
        self._engine = after
        self._follower = Follower(before)
        self._book_at = book_group(after.kernel.feature_set)
        self._remembered.clear()

    @property
    def needs_snapshot(self) -> bool:
        """Whether the order book is not known although changes of it arrive."""
        is_wanted = self._book_at is not None and self._last_row is not None and self._has_book_messages
        return is_wanted and self._engine.book_validity != VALID

    def resume(
        self,
        symbol: str,
        frames: Iterable[Frame | Hole],
        *,
        checkpoint: Checkpoint | None = None,
        closed_ns: int = 0,
    ) -> FeatureRows | None:
        """Bring the engine to where the tape ends, and close the rows up to there again.

        checkpoint: where to go on from; ``frames`` begin no later than its own, and earlier where what is delivered
        again is to be recognised. closed_ns: the time of a row known to be closed, a tick of any grid: no message may
        come before it any more.

        Returns None, with the engine as it was, when the checkpoint's frame is not among them as it was.
        """
        is_due = checkpoint is not None
        last_ns = None
        hole: Hole | None = None
        for frame in frames:
            if isinstance(frame, Hole):
                hole = frame
                continue
            # A hole that nothing follows is marked on the tape by what goes on there.
            if hole is not None and not is_due:
                self._engine.feed(hole_records(self._decoders, symbol, hole))
            hole = None
            if is_due and checkpoint is not None and frame.seq > checkpoint.seq:
                return None
            decoded = self._decoders.decode(frame.body, frame.recv_ns)
            assert decoded is not None, "only messages with market data are logged"
            self._note(decoded, frame.seq, frame.recv_ns)
            if not is_due:
                if decoded.kind < KIND_COUNT:
                    self._engine.feed(decoded.stamped(frame.recv_ns, frame.seq))
            elif checkpoint is not None and (frame.seq, frame.recv_ns) == (checkpoint.seq, checkpoint.recv_ns):
                self._engine.restore(checkpoint.state)
                is_due = False
            last_ns = frame.recv_ns
            self._last_frame = frame.seq, frame.recv_ns
        if is_due:
            return None
        # On a coarser grid than that of the row, the tick after it.
        least_ns = closed_ns + -closed_ns % self._engine.grid_ns
        rows = self._engine.advance(max(least_ns, 0 if last_ns is None else floor_to(last_ns, SECOND_NS)))
        self._breaks, self._crossed = self._engine_breaks, self._engine.book_counters.crossed
        self._closed_ns = self._engine.closed_ns
        self.ticker.load(self._engine.ticker_fields, self._engine.waiting)
        self._note_last_row(rows)
        return rows

    def pin(self, instrument: Instrument) -> None:
        """Take the symbol's scale, which no message needed before."""
        self._engine.pin(instrument)
        if self._follower is not None:
            self._follower.pin(instrument)

    def mark_restart(self, recv_ns: int) -> None:
        """Write on the tape that messages before this one may have been missed."""
        self._log_control(START, recv_ns=self._stamp_ns(range(KIND_COUNT), recv_ns), reason=RESTART_REASON)

    def take(self, message: DecodedMessage, body: bytes, *, recv_ns: int) -> int:
        """Stamp a message, append its bytes to the tape, then compute with its records; returns its seq.

        A message that comes after its row was closed, or is stamped before the last of its kind, is raised to that time
        and counted: the past is not rewritten, and messages of a kind are applied in the order they came in. One that
        the tape holds already is counted and goes no further, nor does one of another order book stream; of a message
        with trades that the tape holds, the others are taken.
        """
        known_seq = self._seen.seq_of(message)
        if known_seq is not None:
            self.redelivered += 1
            return known_seq
        stamped_ns = self._stamp_ns(_kinds_changed(message), recv_ns)
        if repeated := self._seen.repeated_trades(message):
            self.redelivered += len(repeated)
            body = part_message(body, repeated, symbol=message.symbol)
            part = self._decoders.decode(body, stamped_ns)
            assert part is not None
            message = part
        if message.kind == ORDERBOOK:
            judged = self._book.judge(message, stamped_ns)
            if judged.mark is not None:
                self._lose(judged.mark, kind=ORDERBOOK, recv_ns=stamped_ns, reason=judged.reason)
            if not judged.is_taken:
                self.ignored += 1
                return self.last_seq
        self.late_messages += stamped_ns != recv_ns
        seq = self._tape.append(stamped_ns, body)
        self.messages += message.kind != CONTROL
        self.last_recv_ns = stamped_ns
        self.trace_id = message.trace_id or self.trace_id
        self._has_book_messages |= message.kind == ORDERBOOK
        self.lost += message.kind == CONTROL and int(message.records["field"][0]) != HISTORY
        was_valid = self._book.is_valid
        self._feed(message, stamped_ns, seq)
        if message.kind == ORDERBOOK and self._book.is_valid != was_valid:
            self._tell_of_the_book(stamped_ns)
        if message.kind == TICKER and (known := self.ticker.due(stamped_ns)):
            self._log(restated_message(known, self._engine.instrument, event_ns=stamped_ns), stamped_ns)
        return seq

    def lose(self, kind: int, *, recv_ns: int, reason: str) -> int:
        """A message of the kind could not be used, or some were missed: what they would have changed is unknown.

        It is marked on the tape, the order book's loss unless it is lost already; returns the seq of the mark.
        """
        if kind != ORDERBOOK or self._book.is_valid:
            stamped_ns = self._stamp_ns((kind,), recv_ns)
            self._lose(GAP if kind == ORDERBOOK else START, kind=kind, recv_ns=stamped_ns, reason=reason)
        return self.last_seq

    def when_durable(self, seq: int, callback: Callable[[], object]) -> None:
        """Call ``callback`` once the message with this seq is on the disk; see ``TapeWriter.when_durable``."""
        self._tape.when_durable(seq, callback)

    def durability(self) -> Callable[[float], bool]:
        """A function that waits up to so many seconds for everything taken so far to be on the disk, and says whether.

        It may be called in another thread; it raises StoreUnavailable when the tape has failed.
        """
        return partial(self._tape.wait_durable, self.last_seq)

    @property
    def last_seq(self) -> int:
        """Of the last message on the tape, durable or not; 0 before the first."""
        return self._tape.next_seq - 1

    def checkpoint(self) -> Checkpoint | None:
        """The state after the last message; None before the first. Of use once the tape is durable up to there.

        None as well when a message was logged and then failed in the engine: the tape says more than the state.
        """
        if self._last_frame is None or self._last_frame[0] != self.last_seq:
            return None
        seq, recv_ns = self._last_frame
        return Checkpoint(seq, recv_ns, self.identity, self._engine.checkpoint())

    @property
    def closed_ns(self) -> int | None:
        """The tick up to which every row is closed; None before the first message."""
        return self._engine.closed_ns

    def advance(self, watermark_ns: int) -> FeatureRows:
        """``compute``, and ``note_closed``."""
        rows = self.compute(watermark_ns)
        self.note_closed(rows)
        return rows

    def compute(self, watermark_ns: int) -> FeatureRows:
        """Close the rows up to the watermark: those at whole seconds, and the newest tick when a message is in it.

        They are served once ``note_closed`` has them; until then the lane can go on with another engine.
        """
        tick_ns = floor_to(watermark_ns, self._engine.grid_ns)
        has_changed = any(stamp_ns < tick_ns for stamp_ns in self._unserved_ns)
        return self._engine.advance(watermark_ns if has_changed else floor_to(watermark_ns, SECOND_NS))

    def note_closed(self, rows: FeatureRows) -> None:
        """The rows that ``compute`` gave are served."""
        closed_ns = self._closed_ns = self._engine.closed_ns
        if closed_ns is None:
            return
        self.newest_in_row_ns = max((stamp_ns for stamp_ns in self._unserved_ns if stamp_ns < closed_ns), default=None)
        self._unserved_ns = [stamp_ns for stamp_ns in self._unserved_ns if stamp_ns >= closed_ns]
        self._announce_a_gap(closed_ns)
        self.rows += int((rows.row_ns % SECOND_NS == 0).sum())
        self._note_last_row(rows)
        self._remember(rows)

    def close(self) -> None:
        """Sync and close the tape."""
        self._tape.close()

    def _announce_a_gap(self, recv_ns: int) -> None:
        """Write a gap on the tape when the engine lost the book, unless a snapshot that has come since repairs it."""
        if self._engine_breaks == self._breaks:
            return
        self._breaks = self._engine_breaks
        if (crossed := self._engine.book_counters.crossed) != self._crossed:
            self._crossed, self.crossed_ns = crossed, recv_ns
        if self._book_at is not None and self._engine.is_book_broken:
            self._log_control(GAP, recv_ns=recv_ns, reason=GAP_REASON)
            self._on_gap(self._engine.instrument.symbol)

    def _tell_of_the_book(self, recv_ns: int) -> None:
        """A line of the log: the book lost its sequence, or a snapshot brought it back."""
        symbol, missed = self._engine.instrument.symbol, self._book.missed
        if not self._book.is_valid and missed is not None:
            self._lost_ns = recv_ns
            _log.warning("%s orderbook: sequence gap of %d messages, u %d to %d", symbol, _length(missed), *missed)
        elif self._lost_ns is not None:
            after_s = (recv_ns - self._lost_ns) / SECOND_NS
            _log.warning("%s orderbook: brought back by a snapshot, %.3f s after it was lost", symbol, after_s)
            self._lost_ns = None

    def _lose(self, field: int, *, kind: int, recv_ns: int, reason: str) -> None:
        symbol = self._engine.instrument.symbol
        self.lost += 1
        _log.warning("%s %s: %s", symbol, KIND_NAMES[kind], reason)
        self._last_stamp_ns[kind] = recv_ns
        self._log_control(field, recv_ns=recv_ns, reason=reason, kind=CONTROL if field == GAP else kind)
        if field == GAP:
            self._marked_gaps += 1
            self._lost_ns = recv_ns
            if self._book_at is not None:
                self._on_gap(symbol)

    def _note(self, message: DecodedMessage, seq: int, recv_ns: int) -> None:
        """What a message on the tape says of those to come."""
        self._seen.remember(message, seq, recv_ns)
        self._last_stamp_ns[message.kind] = max(recv_ns, self._last_stamp_ns.get(message.kind, recv_ns))
        if message.kind == ORDERBOOK:
            self._book.note(message, recv_ns)
        elif message.kind == CONTROL and message.records["field"][0] == GAP:
            self._book.break_off()

    def _remember(self, rows: FeatureRows) -> None:
        whole = np.flatnonzero(rows.row_ns % SECOND_NS == 0)[-ROWS_REMEMBERED:]
        self._remembered.extend(part_of(rows, at) for at in whole.tolist())

    def _note_last_row(self, rows: FeatureRows) -> None:
        if len(rows) > 0:
            self._last_row = int(rows.row_ns[-1]), rows.status[-1].copy(), rows.feature_set

    def _stamp_ns(self, kinds: Iterable[int], recv_ns: int) -> int:
        """``recv_ns``, not before what is closed nor before the last message of any of the kinds."""
        last_ns = (self._last_stamp_ns[kind] for kind in kinds if kind in self._last_stamp_ns)
        return max(recv_ns, self._engine.closed_ns or recv_ns, *last_ns)

    def _log_control(self, field: int, *, recv_ns: int, reason: str, kind: int = CONTROL) -> None:
        symbol = self._engine.instrument.symbol
        self._log(control_message(field, symbol=symbol, event_ns=recv_ns, reason=reason, kind=kind), recv_ns)

    def _log(self, body: bytes, recv_ns: int) -> None:
        """Write what the service itself says, and compute with it."""
        decoded = self._decoders.decode(body, recv_ns)
        assert decoded is not None
        self._feed(decoded, recv_ns, self._tape.append(recv_ns, body))

    def _feed(self, message: DecodedMessage, recv_ns: int, seq: int) -> None:
        """Let the engine have what is on the tape; the next tick after it has a row."""
        records = message.stamped(recv_ns, seq)
        self._note(message, seq, recv_ns)
        if message.kind in (TICKER, CONTROL):
            self.ticker.note(records)
        if message.kind < KIND_COUNT:
            self._unserved_ns.append(recv_ns)
            self._engine.feed(records)
            follower = self._follower  # another thread may end it
            if follower is not None:
                follower.take(records)
        self._last_frame = seq, recv_ns


def _breaks_of(engine: Engine) -> int:
    counters = engine.book_counters
    return counters.gaps + counters.crossed + counters.overflows


def part_of(rows: FeatureRows, at: int) -> FeatureRows:
    """One of the rows, without the reasons."""
    chosen = slice(at, at + 1)
    return FeatureRows(rows.symbol, rows.feature_set, rows.row_ns[chosen], rows.values[chosen], rows.status[chosen])


def _length(missed: tuple[int, int]) -> int:
    return missed[1] - missed[0] + 1


def _kinds_changed(message: DecodedMessage) -> Iterable[int]:
    """The kinds of messages that a message must not come before, since it says something of what they brought."""
    if message.kind != CONTROL:
        return (message.kind,)
    if message.records["field"][0] == GAP:
        return (CONTROL, ORDERBOOK)
    kind = int(message.records["px"][0])
    return range(KIND_COUNT) if kind == CONTROL else (CONTROL, kind)


def book_group(feature_set: FeatureSet) -> int | None:
    """Where the first group that reads the order book stands in a set; None without one."""
    reading = (
        at
        for at, group in enumerate(feature_set.groups)
        if group.name in GROUPS and group_source(group.name) is Source.BOOK
    )
    return next(reading, None)


def hole_records(decoders: Decoders, symbol: str, hole: Hole) -> Events:
    """What stands in the place of a hole: a START, since messages before what follows are missing."""
    body = control_message(START, symbol=symbol, event_ns=hole.recv_ns, reason=LOST_REASON)
    decoded = decoders.decode(body, hole.recv_ns)
    assert decoded is not None
    return decoded.stamped(hole.recv_ns, hole.first_seq)
