"""The pipeline: every symbol's messages to the tape, the engine and the sinks.

1. A message is decoded; one that cannot be goes to the dead-letter with its reason, and nothing else is affected.
2. Its symbol's lane stamps it, appends its bytes to the tape and feeds the engine.
3. ``advance`` closes the rows that the watermark has passed and hands them to every sink: at whole seconds those of
   all symbols, at a tick of the row grid between two seconds those of the symbols that have changed.
4. Another registry version comes in the place of the one before at a whole second, for all symbols; see ``change``.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from ingestion.decoding.decoded import SYMBOL
from ingestion.decoding.scales import Instruments
from ingestion.decoding.stated import Stated
from ingestion.messages import RejectedLine, TimedMessage
from ingestion.pipeline.change import EngineChange, said
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.lane import Lane
from ingestion.pipeline.own_symbols import ForeignSymbol, OwnInstruments
from ingestion.pipeline.resuming import VersionBefore, resume, rows_after, rows_before_change
from ingestion.pipeline.watermark import GRACE_NS
from ingestion.venues.decoders import Decoders, venue_of
from market.clock import HOUR_NS, SECOND_NS, floor_to
from market.errors import InvalidRequest, MalformedMessage, RejectedMessage, StoreUnavailable
from market.events import CONTROL, KLINE, ORDERBOOK, TICKER, TRADE
from market.instruments import Instrument
from market.markets import DEFAULT_MARKET, Market
from storage.checkpoints import Checkpoint, write_checkpoint
from storage.tape import DEFAULT_SYNC_MS, Hole, TapeWriter, read_tape_and_holes, tape_symbols
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, FeatureSet

LOSABLE: Final = frozenset((ORDERBOOK, TRADE, KLINE, TICKER))
"""Kinds of which what a message would have changed can be unknown; a position has defaults and is asked for again."""
LONGEST_REASON: Final = 200
ROWS_AT_ONCE: Final = 86_400
"""Rows at whole seconds that are closed before the sinks have them: a day of one symbol, an hour of two dozen."""
_log = logging.getLogger(__name__)

Availability = Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.int64]]
"""From row times and the present time to when each row could be read."""


@dataclass(frozen=True, slots=True)
class ServedRows:
    """Rows of one symbol with the time at which each could be read by a model, int64 ns (n,).

    trace_id: of the last message before them that had one. newest_recv_ns: the latest stamp of the messages that are in
    no row before them, None without one.
    wait_durable: waits up to so many seconds for the messages of the rows to be on the disk and says whether they are;
        raises StoreUnavailable when they never will be.
    """

    rows: FeatureRows
    available_ns: npt.NDArray[np.int64]
    trace_id: str | None = None
    newest_recv_ns: int | None = None
    wait_durable: Callable[[float], bool] = lambda _timeout_s: True

    def only(self, chosen: slice | npt.NDArray[np.int64]) -> ServedRows:
        """The chosen ones of the rows."""
        rows = self.rows
        reasons = None if rows.reasons is None else rows.reasons[chosen]
        kept = FeatureRows(
            rows.symbol, rows.feature_set, rows.row_ns[chosen], rows.values[chosen], rows.status[chosen], reasons
        )
        return replace(self, rows=kept, available_ns=self.available_ns[chosen])

    def whole_seconds(self) -> ServedRows:
        """Those at whole seconds, which the feature log holds."""
        is_whole = self.rows.row_ns % SECOND_NS == 0
        return self if is_whole.all() else self.only(np.flatnonzero(is_whole))


class RowSink(Protocol):
    """A place that closed rows go to."""

    def write(self, served: Sequence[ServedRows]) -> None: ...

    def close(self) -> None: ...


class History(Protocol):
    """What is kept of a symbol's past beside its tape, for a pipeline that goes on where another one ended.

    It saves checkpoints too, each after the rows before it were kept.
    """

    def last_row_ns(self, symbol: str, feature_set: FeatureSet) -> int | None:
        """Time of the newest row of a set that was kept."""
        ...

    def last_given_ns(self, symbol: str) -> int | None:
        """Time of the newest row that is known to have been given to readers."""
        ...

    def write_again(self, served: ServedRows) -> None:
        """Keep rows that were closed before the restart and did not reach the disk."""
        ...

    def is_whole(self, symbol: str) -> bool:
        """Whether the messages to come go on where the tape ended, with nothing missed."""
        ...


@dataclass(slots=True)
class Counters:
    """What the pipeline has met since it began; ``foreign`` messages are of symbols that it was not given.

    rows are at whole seconds, tick_rows between.
    """

    messages: int = 0
    answers: int = 0
    foreign: int = 0
    rejected: int = 0
    rows: int = 0
    tick_rows: int = 0


def available_now(row_ns: npt.NDArray[np.int64], now_ns: int) -> npt.NDArray[np.int64]:
    """A live row can be read from now on."""
    return np.full(len(row_ns), now_ns, np.int64)


def available_as_if_live(row_ns: npt.NDArray[np.int64], now_ns: int) -> npt.NDArray[np.int64]:
    """A replayed row could be read when its clock closed it: at the next message, or after the grace."""
    return np.minimum(row_ns + GRACE_NS, now_ns)


class Pipeline:
    """Log first, then compute, then hand to the sinks, for any number of symbols."""

    def __init__(
        self,
        kernel: Kernel,
        instruments: Instruments,
        *,
        raw_folder: Path,
        dead_letter: DeadLetter,
        sinks: Sequence[RowSink],
        availability: Availability,
        grid_ns: int = SECOND_NS,
        tape_sync_ms: int = DEFAULT_SYNC_MS,
        tape_segment_ns: int = HOUR_NS,
        market: Market = DEFAULT_MARKET,
        symbols: Collection[str] | None = None,
        history: History | None = None,
        on_gap: Callable[[str], object] = lambda _symbol: None,
        claim: Callable[[str], object] = lambda _symbol: None,
        withhold: Callable[[FeatureRows], FeatureRows] = lambda rows: rows,
        before: VersionBefore | None = None,
    ) -> None:
        """grid_ns: the row grid. tape_sync_ms: how long a message may wait to become durable.

        tape_segment_ns: how long a segment of the tape is. market: of every message. symbols: those to take, None is
            all. history: what a symbol goes on from beside its tape; without it a checkpoint is saved at the end.
            on_gap: called with a symbol whose order book was lost. claim: called with a symbol before its tape is
            opened; raises what forbids it. withhold: what becomes of rows before anybody gets them. before: the
            version that was served before this one, if any was.
        """
        self.counters = Counters()
        self._kernel = kernel
        self._instruments = instruments
        self._market = market
        self.decoders = Decoders(
            venue_of(market), instruments if symbols is None else OwnInstruments(instruments, symbols)
        )
        self._raw_folder = raw_folder
        self._dead_letter = dead_letter
        self._sinks = tuple(sinks)
        self._availability = availability
        self._grid_ns = grid_ns
        self._tape_sync_ms = tape_sync_ms
        self._tape_segment_ns = tape_segment_ns
        self._symbols = None if symbols is None else frozenset(symbols)
        self._history = history
        self._on_gap = on_gap
        self._claim = claim
        self._withhold = withhold
        self._before = before
        self._lanes: dict[str, Lane] = {}
        self._change: EngineChange | None = None
        self._unscaled: set[str] = set()
        self._rejected: Counter[tuple[str, str]] = Counter()
        self.first_rejection: str | None = None
        """Why the first unusable message was unusable."""

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The lane of each symbol that has one."""
        return self._lanes

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._lanes)

    @property
    def feature_set(self) -> FeatureSet:
        """Whose columns the next rows have."""
        return self._kernel.feature_set

    def begin_change(self, change: EngineChange) -> None:
        """Change to another version as ``change`` says; from any thread. One at a time."""
        self._change = change

    def rejected_of(self, symbol: str) -> int:
        """Messages whose topic names the symbol and that could not be used."""
        return sum(count for (of_symbol, _), count in list(self._rejected.items()) if of_symbol == symbol)

    @property
    def rejected_by_error(self) -> dict[str, dict[str, int]]:
        """Messages that could not be used by symbol and class of error; "" is those that name no symbol of ours."""
        found: dict[str, dict[str, int]] = {}
        for (symbol, error), count in list(self._rejected.items()):
            found.setdefault(symbol, {})[error] = count
        return found

    @property
    def gaps(self) -> int:
        return sum(lane.gaps for lane in self._lanes.values())

    @property
    def late_messages(self) -> int:
        return sum(lane.late_messages for lane in self._lanes.values())

    @property
    def duplicates(self) -> int:
        return sum(lane.duplicates for lane in self._lanes.values())

    @property
    def ignored(self) -> int:
        return sum(lane.ignored for lane in self._lanes.values())

    @property
    def redelivered(self) -> int:
        return sum(lane.redelivered for lane in self._lanes.values())

    def handle(self, message: TimedMessage, *, on_durable: Callable[[], object] | None = None) -> None:
        """Take one message; a rejected one is kept in the dead-letter and counted.

        on_durable: called once when the message may be acknowledged, now or later in another thread: its bytes are on
            the disk, on the tape or in the dead-letter, or it is one that is not kept. Must not raise, nor call the
            pipeline.

        Raises StoreUnavailable when the tape or the dead-letter cannot be written; from then on always.
        """
        self.counters.messages += 1
        try:
            decoded = self.decoders.decode(message.body, message.recv_ns)
        except ForeignSymbol:
            self._pass_over(on_durable)
            return
        except RejectedMessage as error:
            if self._is_foreign(message.body):
                self._pass_over(on_durable)
                return
            self._refuse(message, error, on_durable)
            return
        is_foreign = decoded is not None and self._symbols is not None and decoded.symbol not in self._symbols
        if decoded is None or is_foreign:
            self.counters.answers += decoded is None
            self.counters.foreign += is_foreign
            if on_durable is not None:
                on_durable()
            return
        lane = self._lanes.get(decoded.symbol)
        if lane is None:
            if decoded.kind == CONTROL and not self.go_on(decoded.symbol, now_ns=message.recv_ns):
                if on_durable is not None:
                    on_durable()
                return  # nothing is known of the symbol that could be missing
            lane = self._lanes.get(decoded.symbol) or self._open_lane(decoded.symbol, message.recv_ns)
        if decoded.symbol in self._unscaled:
            self._pin(decoded.symbol, lane)
        if decoded.kind == TICKER and (objection := lane.ticker.objection(decoded.records, message.recv_ns)):
            self._refuse(message, objection, on_durable)
            return
        seq = lane.take(decoded, message.body, recv_ns=message.recv_ns)
        if on_durable is not None:
            lane.when_durable(seq, on_durable)

    def _refuse(self, message: TimedMessage, error: RejectedMessage, on_durable: Callable[[], object] | None) -> None:
        name = type(error).__name__
        self.reject(message.body, recv_ns=message.recv_ns, reason=str(error), error=name, on_durable=on_durable)

    def _is_foreign(self, body: bytes) -> bool:
        """Whether a message that could not be decoded is of a symbol that the pipeline was not given."""
        stated = None if self._symbols is None else self.decoders.stated(body)
        return (
            stated is not None
            and SYMBOL.fullmatch(stated.symbol) is not None
            and stated.symbol not in (self._symbols or ())
        )

    def _pass_over(self, on_durable: Callable[[], object] | None) -> None:
        self.counters.foreign += 1
        if on_durable is not None:
            on_durable()

    def reject_line(self, line: RejectedLine, *, recv_ns: int) -> None:
        """Keep a recording's line that states no message; ``recv_ns`` is the time of the message before it."""
        self.counters.messages += 1
        reason = f"line {line.line_number}: {line.reason}"
        self.reject(line.body, recv_ns=recv_ns, reason=reason, error=type(line).__name__)

    def reject_stamp(self, body: bytes, *, recv_ns: int, stamp_ns: int) -> None:
        """Keep a message whose receive time is none: it would set its symbol's time to it for good."""
        self.counters.messages += 1
        reason = f"received_at: must be a time since which the service can have run, was {stamp_ns} ns"
        self.reject(body, recv_ns=recv_ns, reason=reason, error=MalformedMessage.__name__)

    def reject(
        self,
        body: bytes,
        *,
        recv_ns: int,
        reason: str,
        error: str,
        on_durable: Callable[[], object] | None = None,
    ) -> None:
        """Keep what cannot be used, with its reason; what it would have changed is unknown from then on.

        on_durable: called once both are on the disk; see ``handle``.
        """
        self.counters.rejected += 1
        self.first_rejection = self.first_rejection or reason
        self._dead_letter.append(recv_ns=recv_ns, reason=reason, error=error, body=body)
        stated = self.decoders.stated(body)
        lane = None if stated is None else self._lose(stated, recv_ns=recv_ns, reason=reason)
        symbol = "" if stated is None else stated.symbol
        is_ours = symbol in self._lanes or symbol in (self._symbols or ())
        self._rejected[symbol if is_ours else "", error] += 1
        if on_durable is None:
            return
        if lane is None:
            self._dead_letter.when_durable(on_durable)
        else:
            self._dead_letter.when_durable(partial(lane.when_durable, lane.last_seq, on_durable))

    def _lose(self, stated: Stated, *, recv_ns: int, reason: str) -> Lane | None:
        """Make unknown what a rejected message would have changed; returns the lane of its symbol, if it has one."""
        if stated.kind is None:
            return None
        lane = self._lane_of(stated.symbol, recv_ns)
        if lane is not None and stated.kind in LOSABLE:
            lane.lose(stated.kind, recv_ns=recv_ns, reason=f"a message was rejected: {reason}"[:LONGEST_REASON])
        return lane

    def steps_to(self, watermark_ns: int) -> Iterator[int]:
        """Watermarks to ``advance`` to, one after the other, the last one ``watermark_ns``.

        More than one after a long silence alone, of which every second has a row: each closes at most some
        ROWS_AT_ONCE, so that memory does not grow with the silence.
        """
        closed_ns = [each for lane in self._lanes.values() if (each := lane.closed_ns) is not None]
        if closed_ns:
            step_ns = max(1, ROWS_AT_ONCE // len(closed_ns)) * SECOND_NS
            yield from range(floor_to(min(closed_ns), SECOND_NS) + step_ns, watermark_ns, step_ns)
        yield watermark_ns

    def advance(self, watermark_ns: int, *, now_ns: int) -> int:
        """Close every symbol's rows up to the watermark and hand them to the sinks; returns how many.

        now_ns: the present time, from which the rows' availability follows.
        """
        change = self._change
        if change is None:
            return self._close(watermark_ns, now_ns)
        lanes = self._lanes
        count = 0
        boundary_ns = change.boundary_ns(lanes, watermark_ns)
        if boundary_ns is not None:
            count = self._close(boundary_ns, now_ns)
            change.cross(lanes, boundary_ns)
            self._kernel = change.serving
        count += self._close(watermark_ns, now_ns)
        change.note_served(lanes, watermark_ns)
        if change.is_over:
            self._change = None
        return count

    def _close(self, watermark_ns: int, now_ns: int) -> int:
        lanes = list(self._lanes.values())
        served = []
        for lane, rows in zip(lanes, self._computed(lanes, watermark_ns), strict=True):
            lane.note_closed(rows)
            if len(rows) > 0:
                served.append(self._served(lane, rows, now_ns))
        if not served:
            return 0
        for sink in self._sinks:
            sink.write(served)
        count = sum(len(each.rows) for each in served)
        seconds = sum(int((each.rows.row_ns % SECOND_NS == 0).sum()) for each in served)
        self.counters.rows += seconds
        self.counters.tick_rows += count - seconds
        return count

    def _computed(self, lanes: Sequence[Lane], watermark_ns: int) -> list[FeatureRows]:
        """The next rows of each lane, of the version before where the one that came in its place fails at them."""
        change = self._change
        if change is None or not change.is_on_probation:
            return [lane.compute(watermark_ns) for lane in lanes]
        begun_s = time.thread_time()
        try:
            computed = [lane.compute(watermark_ns) for lane in lanes]
        except Exception as error:  # noqa: BLE001  # what a version raises ends that version, and no row is missed
            change.take_back(self._lanes, f"a row after the change: {said(error)}")
            self._kernel = change.serving
            return [lane.compute(watermark_ns) for lane in lanes]
        change.note_cost(time.thread_time() - begun_s, sum(map(len, computed)))
        return computed

    def _lane_of(self, symbol: str, recv_ns: int) -> Lane | None:
        """The lane of a symbol that has one, or a tape to go on from."""
        if symbol not in self._lanes and (self._symbols is None or symbol in self._symbols):
            with suppress(InvalidRequest):
                self.go_on(symbol, now_ns=recv_ns)
        return self._lanes.get(symbol)

    def go_on(self, symbol: str, *, now_ns: int) -> bool:
        """Go on where the symbol's tape ended, before its first message; False when it has none to go on from."""
        if symbol in self._lanes:
            return True
        if symbol not in tape_symbols(self._raw_folder):
            return False
        self._open_lane(symbol, now_ns)
        return True

    def close(self) -> None:
        """Flush and close everything the pipeline writes to; each is closed whatever the others do."""
        with ExitStack() as stack:
            stack.callback(self._dead_letter.close)
            for sink in self._sinks:
                stack.callback(sink.close)
            for symbol, lane in self._lanes.items():
                stack.callback(lane.close)
                if (
                    self._history is None
                    and symbol not in self._unscaled
                    and (checkpoint := lane.checkpoint()) is not None
                ):
                    lane.when_durable(checkpoint.seq, partial(self._save_checkpoint, symbol, checkpoint))

    def _served(self, lane: Lane, rows: FeatureRows, now_ns: int) -> ServedRows:
        return ServedRows(
            self._withhold(rows),
            self._availability(rows.row_ns, now_ns),
            trace_id=lane.trace_id,
            newest_recv_ns=lane.newest_in_row_ns,
            wait_durable=lane.durability(),
        )

    def _open_lane(self, symbol: str, recv_ns: int) -> Lane:
        pinned = self._instruments.get(symbol) or self._pinned_by_tape(symbol)
        instrument = pinned or Instrument(symbol, 0, 0)
        self._claim(symbol)
        tape = TapeWriter(
            self._raw_folder, symbol, sync_ms=self._tape_sync_ms, segment_ns=self._tape_segment_ns, market=self._market
        )
        try:
            engine = Engine(self._kernel, instrument, grid_ns=self._grid_ns)
            lane = Lane(engine, tape, self.decoders, on_gap=self._on_gap)
            if tape.last_recv_ns is not None:
                self._resume(symbol, lane, tape, recv_ns)
            elif tape.is_end_lost:
                lane.mark_restart(recv_ns)
        except BaseException:
            tape.close()
            raise
        if self._change is not None:
            self._change.join(lane, is_new=tape.last_recv_ns is None)
        self._lanes[symbol] = lane
        if pinned is None:
            self._unscaled.add(symbol)
        return lane

    def _pinned_by_tape(self, symbol: str) -> Instrument | None:
        """The scale by the first price on a tape whose pin was lost; None where it has no price, or nothing."""
        if symbol not in tape_symbols(self._raw_folder):
            return None
        for frame in read_tape_and_holes(self._raw_folder, symbol):
            if not isinstance(frame, Hole):
                self.decoders.decode(frame.body, frame.recv_ns)
            if (pinned := self._instruments.get(symbol)) is not None:
                return pinned
        return None

    def _pin(self, symbol: str, lane: Lane) -> None:
        """Give a lane its scale once there is one: an empty order book, with which a market opens, needs none."""
        instrument = self._instruments.get(symbol)
        if instrument is not None:
            lane.pin(instrument)
            self._unscaled.discard(symbol)

    def _resume(self, symbol: str, lane: Lane, tape: TapeWriter, recv_ns: int) -> None:
        history = self._history
        kept_ns = (None if history is None else history.last_row_ns(symbol, self.feature_set)) or 0
        given_ns = (None if history is None else history.last_given_ns(symbol)) or 0
        since_ns = self._go_on_before(symbol, lane, recv_ns, max(kept_ns, given_ns))
        rows = resume(
            lane,
            tape,
            raw_folder=self._raw_folder,
            symbol=symbol,
            kernel=self._kernel,
            decoders=self.decoders,
            closed_ns=max(kept_ns, given_ns),
            since_ns=since_ns,
        )
        if tape.is_end_lost or history is None or not history.is_whole(symbol):
            lane.mark_restart(recv_ns)
        if history is not None:
            self._write_again(lane, rows_after(rows, max(kept_ns, since_ns)), recv_ns)

    def _go_on_before(self, symbol: str, lane: Lane, recv_ns: int, closed_ns: int) -> int:
        """Keep what the version before had served and the disk had not; the last row of it, 0 where there was none."""
        before, history = self._before, self._history
        if before is None or history is None:
            return 0
        rows = rows_before_change(
            before, lane, raw_folder=self._raw_folder, symbol=symbol, decoders=self.decoders, closed_ns=closed_ns
        )
        if rows is None:
            return 0
        self._write_again(lane, rows_after(rows, history.last_row_ns(symbol, rows.feature_set) or 0), recv_ns)
        return before.until_ns

    def _write_again(self, lane: Lane, rows: FeatureRows, recv_ns: int) -> None:
        unkept = self._served(lane, rows, recv_ns).whole_seconds()
        if self._history is not None and len(unkept.rows) > 0:
            self._history.write_again(unkept)

    def _save_checkpoint(self, symbol: str, checkpoint: Checkpoint) -> None:
        try:
            write_checkpoint(self._raw_folder, symbol, checkpoint)
        except StoreUnavailable as error:
            _log.warning("%s: no checkpoint, a restart will replay more of the tape: %s", symbol, error)
