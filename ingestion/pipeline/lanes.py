"""The lanes of a pipeline: each is opened where the tape of its symbol ended, and leaves a checkpoint behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ingestion.decoding.scales import Instruments
from ingestion.pipeline.change import EngineChange
from ingestion.pipeline.lane import Lane
from ingestion.pipeline.resuming import VersionBefore, resume, rows_after, rows_before_change, rows_between
from ingestion.pipeline.served_rows import ServedRows
from ingestion.venues.decoders import Decoders
from market.errors import StoreUnavailable
from market.instruments import Instrument
from market.markets import Market
from storage.checkpoints import Checkpoint, write_checkpoint
from storage.raw.published import Published
from storage.tape import Hole, TapeDisk, TapeWriter, has_tape, read_tape_and_holes
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, FeatureSet

_log = logging.getLogger(__name__)

Serve = Callable[[Lane, FeatureRows, int], ServedRows]
"""Makes of a lane's rows, with the present time, what sinks are given."""


class History(Protocol):
    """A symbol's past as kept next to its tape, for a pipeline that continues where another one ended.

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
        """Whether the next messages continue where the tape ended, with nothing missed."""
        ...


@dataclass(frozen=True, slots=True)
class LaneRules:
    """What is the same for every lane.

    grid_ns: the row grid. sync_ms: how long a message may wait to become durable. segment_ns: how long a segment of the
    tape is. market: of every message. history: what a symbol continues from, in addition to its tape; without it a
    checkpoint is saved at the end. on_gap: called with a symbol whose order book was lost. claim: called with a symbol
    before its tape is opened; raises what forbids it. before: the version that was served before this one, if any was.
    published: of raw Parquet; None is that of the raw folder.
    """

    raw_folder: Path
    grid_ns: int
    sync_ms: int
    segment_ns: int
    market: Market
    history: History | None
    on_gap: Callable[[str], object]
    claim: Callable[[str], object]
    before: VersionBefore | None
    published: Published | None = None


class Lanes:
    """Every lane by symbol; ``kernel`` is of the next rows, ``change`` the change of version in progress."""

    def __init__(
        self, kernel: Kernel, instruments: Instruments, decoders: Decoders, rules: LaneRules, *, serve: Serve
    ) -> None:
        self.kernel = kernel
        self.change: EngineChange | None = None
        self.by_symbol: dict[str, Lane] = {}
        self._instruments = instruments
        self._decoders = decoders
        self._rules = rules
        self._disk = TapeDisk(rules.raw_folder, sync_ms=rules.sync_ms)
        self._serve = serve
        self.unscaled: set[str] = set()
        """Symbols whose lane waits for its scale."""

    def go_on(self, symbol: str, *, now_ns: int) -> bool:
        """Continue where the symbol's tape ended, before its first message; False if it has none."""
        if symbol in self.by_symbol:
            return True
        if not has_tape(self._rules.raw_folder, symbol):
            return False
        self.open(symbol, now_ns)
        return True

    def pin(self, symbol: str, lane: Lane) -> None:
        """Give a lane its scale once there is one: an empty order book, with which a market opens, needs none."""
        if symbol not in self.unscaled:
            return
        instrument = self._instruments.get(symbol)
        if instrument is not None:
            lane.pin(instrument)
            self.unscaled.discard(symbol)

    def close(self, stack: ExitStack) -> None:
        """Let ``stack`` close every lane and save its checkpoint, each whatever the others do."""
        for symbol, lane in self.by_symbol.items():
            stack.callback(lane.close)
            if self._rules.history is not None or symbol in self.unscaled:
                continue
            if (checkpoint := lane.checkpoint()) is not None:
                lane.tape.when_durable(checkpoint.seq, partial(self._save_checkpoint, symbol, checkpoint))
        # Called in the reverse order: each lane tells what it has counted, then all tapes end together.
        stack.callback(self._disk.close)
        for lane in self.by_symbol.values():
            stack.callback(lane.tell_arrivals)

    def open(self, symbol: str, recv_ns: int) -> Lane:
        """Open the lane of a symbol, which continues where its tape ended if it has one."""
        pinned = self._instruments.get(symbol) or self._pinned_by_tape(symbol)
        instrument = pinned or Instrument(symbol, 0, 0)
        self._rules.claim(symbol)
        tape = TapeWriter(
            self._rules.raw_folder,
            symbol,
            disk=self._disk,
            segment_ns=self._rules.segment_ns,
            market=self._rules.market,
            published=self._rules.published,
        )
        try:
            engine = Engine(self.kernel, instrument, grid_ns=self._rules.grid_ns)
            lane = Lane(engine, tape, self._decoders, on_gap=self._rules.on_gap)
            if tape.last_recv_ns is not None:
                self._resume(symbol, lane, tape, recv_ns)
            elif tape.is_end_lost:
                lane.mark_restart(recv_ns)
        except BaseException:
            tape.close()
            raise
        if self.change is not None:
            self.change.join(lane, is_new=tape.last_recv_ns is None)
        self.by_symbol[symbol] = lane
        if pinned is None:
            self.unscaled.add(symbol)
        return lane

    def rows_again(self, symbol: str, kernel: Kernel, between_ns: tuple[int, int], now_ns: int) -> ServedRows | None:
        """What the log lacks of rows that were closed between two times; from any thread. As ``rows_between``."""
        lane = self.by_symbol[symbol]
        rows = rows_between(
            kernel,
            lane,
            raw_folder=self._rules.raw_folder,
            symbol=symbol,
            decoders=Decoders(self._decoders.venue, self._instruments),  # one is for one thread
            first_ns=between_ns[0],
            last_ns=between_ns[1],
        )
        return None if rows is None else self._serve(lane, rows, now_ns).whole_seconds()

    def _pinned_by_tape(self, symbol: str) -> Instrument | None:
        """The scale by the first price on a tape whose pin was lost; None where it has no price, or nothing."""
        if not has_tape(self._rules.raw_folder, symbol):
            return None
        for frame in read_tape_and_holes(self._rules.raw_folder, symbol):
            if not isinstance(frame, Hole):
                self._decoders.decode(frame.body, frame.recv_ns)
            if (pinned := self._instruments.get(symbol)) is not None:
                return pinned
        return None

    def _resume(self, symbol: str, lane: Lane, tape: TapeWriter, recv_ns: int) -> None:
        history = self._rules.history
        kept_ns = (None if history is None else history.last_row_ns(symbol, self.kernel.feature_set)) or 0
        given_ns = (None if history is None else history.last_given_ns(symbol)) or 0
        since_ns = self._go_on_before(symbol, lane, recv_ns, max(kept_ns, given_ns))
        rows = resume(
            lane,
            tape,
            raw_folder=self._rules.raw_folder,
            symbol=symbol,
            kernel=self.kernel,
            decoders=self._decoders,
            closed_ns=max(kept_ns, given_ns),
            since_ns=since_ns,
        )
        if tape.is_end_lost or history is None or not history.is_whole(symbol):
            lane.mark_restart(recv_ns)
        if history is not None:
            self._write_again(lane, rows_after(rows, max(kept_ns, since_ns)), recv_ns)

    def _go_on_before(self, symbol: str, lane: Lane, recv_ns: int, closed_ns: int) -> int:
        """Keep what the version before had served and the disk had not; the last row of it, 0 where there was none."""
        before, history = self._rules.before, self._rules.history
        if before is None or history is None:
            return 0
        rows = rows_before_change(
            before, lane, raw_folder=self._rules.raw_folder, symbol=symbol, decoders=self._decoders, closed_ns=closed_ns
        )
        if rows is None:
            return 0
        self._write_again(lane, rows_after(rows, history.last_row_ns(symbol, rows.feature_set) or 0), recv_ns)
        return before.until_ns

    def _write_again(self, lane: Lane, rows: FeatureRows, recv_ns: int) -> None:
        unkept = self._serve(lane, rows, recv_ns).whole_seconds()
        if self._rules.history is not None and len(unkept.rows) > 0:
            self._rules.history.write_again(unkept)

    def _save_checkpoint(self, symbol: str, checkpoint: Checkpoint) -> None:
        try:
            write_checkpoint(self._rules.raw_folder, symbol, checkpoint)
        except StoreUnavailable as error:
            _log.warning("%s: no checkpoint, a restart will replay more of the tape: %s", symbol, error)
