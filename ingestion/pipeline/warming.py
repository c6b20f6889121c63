"""Warming: the engines of another version brought to where the tapes end, in a process of its own.

1. The process compiles the version's kernel, or finds that it does not compile, while the worker serves.
2. For each symbol it goes through the tape from the new set's horizon before the last minute on, and further as often
   as it is told of a place where the symbol stands by now.
3. Of the last minute it computes every row, which shows what one costs, and what a worker compares.
4. At the last place it gives the states. It stops when it is let go, and with the worker.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import numpy as np

from ingestion.pipeline.change import ChangeFailed, Mark, said
from ingestion.pipeline.closed_rows import ROWS_REMEMBERED
from ingestion.pipeline.marks import hole_records
from ingestion.pipeline.past_books import PastBook, newest_before
from ingestion.pipeline.resuming import last_snapshot_ns
from ingestion.venues.decoders import Decoders, venue_of
from market.clock import MINUTE_NS, SECOND_NS, floor_to, format_iso
from market.events import KIND_COUNT, ORDERBOOK
from market.instruments import Instrument
from market.markets import Market
from storage.instruments import InstrumentPins
from storage.tape import FIRST_SEQ, Frame, Hole, read_tape_and_holes, read_tape_from
from storage.tape.following import TapeFollower
from storage.tape.frames import read_frames
from storage.tape.segments import segments, tape_folder
from transforms.catalogue import set_horizon_ns, set_kinds
from transforms.engine import Engine
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows, FeatureSet, joined_rows

NICENESS: Final = 10
MARGIN_NS: Final = 10 * MINUTE_NS
"""Records wait so long before their tiles are closed: by far longer than a stream comes behind another."""
_NONE: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class WarmingPlan:
    """What is warmed up. kernel_cache: where compiled kernels are. grid_ns: the row grid."""

    feature_set: FeatureSet
    kernel_cache: Path
    raw_folder: Path
    market: Market
    grid_ns: int


@dataclass(frozen=True, slots=True)
class WarmEngine:
    """An engine at a mark: its state, the rows of the last minute, and what one cost, ms; 0 where none was due."""

    identity: str
    state: bytes
    rows: FeatureRows
    cost_ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Why the version cannot be served."""

    reason: str


def warm_up_engines(plan: WarmingPlan, connection: Connection) -> None:
    """The process: answers each ``(marks, is_last)`` with None, at last with a WarmEngine by symbol, or Failed."""
    os.nice(NICENESS)
    try:
        kernel = compile_kernel(plan.feature_set, plan.kernel_cache)
        kernel.warm_up()
        connection.send(None)
        warm: dict[str, Warmer] = {}
        is_last = False
        while not is_last:
            marks, is_last = connection.recv()
            for symbol, mark in marks.items():
                if symbol not in warm:
                    warm[symbol] = Warmer(plan, kernel, mark)
                warm[symbol].bring_to(mark)
            connection.send({symbol: each.engine() for symbol, each in warm.items()} if is_last else None)
    except (EOFError, BrokenPipeError):
        return  # the caller stopped waiting
    except Exception as error:  # noqa: BLE001  # the top of a process: whatever a version raises is why it is refused
        connection.send(Failed(said(error)))


class Warmer:
    """One symbol's engine on its way along the tape.

    since_ns: the row after which rows are wanted; None is a minute before the first mark.
    """

    def __init__(self, plan: WarmingPlan, kernel: Kernel, mark: Mark, *, since_ns: int | None = None) -> None:
        self._plan = plan
        self._symbol = mark.symbol
        self._engine = Engine(kernel, mark.instrument, grid_ns=plan.grid_ns)
        self._decoders = Decoders(venue_of(plan.market), InstrumentPins(plan.raw_folder))
        self._since_ns = since_ns
        self._books = mark.books
        self._follower: TapeFollower | None = None
        self._unread: list[Frame | Hole] = []
        """What the follower gave from behind the last mark."""
        self._whole_from_ns = 0
        self._rows: deque[FeatureRows] = deque(maxlen=ROWS_REMEMBERED)
        self._costs: list[float] = []

    def bring_to(self, mark: Mark) -> FeatureRows | None:
        """Take what is on the tape up to the mark, and close what is closed there; the rows of it, if it has any."""
        if mark.through_seq < FIRST_SEQ:
            return None
        if self._follower is None:
            self._feed(self._first_frames(mark.closed_ns), mark.through_seq)
            self._follower = TapeFollower(self._plan.raw_folder, self._symbol, seq=mark.through_seq + 1)
        else:
            # What is behind the mark is given once, hence kept.
            self._unread = self._feed(chain(self._unread, self._follower.read()), mark.through_seq)
        if mark.closed_ns is None:
            return None
        self._close_silently(min(self._whole_from_ns, mark.closed_ns))
        begun_s = time.thread_time()
        rows = self._engine.advance(mark.closed_ns)
        spent_s = time.thread_time() - begun_s
        if len(rows):
            self._costs.append(1000 * spent_s / len(rows))
        whole = np.flatnonzero(rows.row_ns % SECOND_NS == 0)
        self._rows.extend(rows.only(slice(at, at + 1), reasons=False) for at in whole.tolist())
        return rows

    def pin(self, instrument: Instrument) -> None:
        """Take the symbol's scale, which no message needed before."""
        self._engine.pin(instrument)

    def engine(self) -> WarmEngine:
        """The engine in its current state."""
        rows = list(self._rows)
        empty = self._engine.advance(0)
        joined = joined_rows(rows) if rows else empty
        cost_ms = statistics.median(self._costs) if self._costs else 0.0
        return WarmEngine(self._engine.identity, self._engine.checkpoint(), joined, cost_ms)

    def _first_frames(self, closed_ns: int | None) -> Iterator[Frame | Hole]:
        """From where the rows of the last minute are whole. Raises ChangeFailed where the tape begins later."""
        plan, symbol = self._plan, self._symbol
        if closed_ns is None:
            return read_tape_and_holes(plan.raw_folder, symbol)
        since_ns = floor_to(closed_ns, SECOND_NS) - MINUTE_NS if self._since_ns is None else self._since_ns
        self._whole_from_ns = since_ns
        from_ns = self._whole_from_ns - set_horizon_ns(plan.feature_set)
        oldest = _oldest_frame(plan.raw_folder, symbol)
        if ORDERBOOK in set_kinds(plan.feature_set):
            past = newest_before(self._books, from_ns)
            if past is not None and oldest is not None and oldest.recv_ns <= past.book.closed_ns:
                return self._frames_after(past)
            from_ns = last_snapshot_ns(plan.raw_folder, symbol, self._decoders, from_ns) or from_ns
        frames = read_tape_and_holes(plan.raw_folder, symbol, from_ns=from_ns)
        first = next(frames, None)
        if oldest is None or first is None:
            return iter(())
        if oldest.recv_ns > from_ns and oldest.seq != FIRST_SEQ:
            raise ChangeFailed(
                f"tape of {symbol}: must reach back to {format_iso(from_ns)}, was from {format_iso(oldest.recv_ns)} on"
            )
        if oldest.recv_ns <= from_ns:
            self._engine = Engine(self._engine.kernel, self._engine.instrument, start_ns=from_ns, grid_ns=plan.grid_ns)
        return chain([first], frames)

    def _frames_after(self, past: PastBook) -> Iterator[Frame | Hole]:
        """Begin with a book that is known of before, and what came after it."""
        begin_ns = past.book.closed_ns
        self._engine = Engine(
            self._engine.kernel, self._engine.instrument, start_ns=begin_ns, grid_ns=self._plan.grid_ns
        )
        self._engine.begin_with(past.book)
        frames = read_tape_from(self._plan.raw_folder, self._symbol, past.first_seq)
        return (each for each in frames if isinstance(each, Hole) or each.recv_ns >= begin_ns)

    def _feed(self, frames: Iterator[Frame | Hole], through_seq: int) -> list[Frame | Hole]:
        """Feed what is up to the seq; what a follower has given from behind it."""
        hole: Hole | None = None
        close_ns = 0
        for frame in frames:
            if isinstance(frame, Hole):
                hole = frame
                continue
            if frame.seq > through_seq:
                return [*([hole] if hole is not None else []), frame, *(frames if self._follower is not None else ())]
            if hole is not None:
                self._engine.feed(hole_records(self._decoders, self._symbol, hole))
                hole = None
            decoded = self._decoders.decode(frame.body, frame.recv_ns)
            assert decoded is not None, "only messages with market data are logged"
            if decoded.kind < KIND_COUNT:
                self._engine.feed(decoded.stamped(frame.recv_ns, frame.seq))
            if frame.recv_ns - MARGIN_NS > close_ns:
                self._close_silently(min(frame.recv_ns - MARGIN_NS, self._whole_from_ns))
                close_ns = frame.recv_ns
        return [] if hole is None else [hole]

    def _close_silently(self, until_ns: int) -> None:
        """Bring the records up to there into the state, and compute no row that nothing needs."""
        self._engine.rows_at(_NONE, until_ns)


def _oldest_frame(raw_folder: Path, symbol: str) -> Frame | None:
    for segment in segments(tape_folder(raw_folder, symbol)):
        for found in read_frames(segment.path):
            if isinstance(found, Frame):
                return found
    return None


def warm_engines(
    kernel: Kernel, found: Mapping[str, WarmEngine], marks: Mapping[str, Mark], grid_ns: int
) -> dict[str, Engine]:
    """The engines at their marks, in this process. Raises ChangeFailed for those of other code."""
    engines = {}
    for symbol, mark in marks.items():
        engine = Engine(kernel, mark.instrument, grid_ns=grid_ns)
        if mark.through_seq < FIRST_SEQ:
            engines[symbol] = engine
            continue
        warm = found[symbol]
        if warm.identity != engine.identity:
            raise ChangeFailed(f"{symbol}: must be warmed up by the worker's own code, was by {warm.identity}")
        engine.restore(warm.state)
        engines[symbol] = engine
    return engines
