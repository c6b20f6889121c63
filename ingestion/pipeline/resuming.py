"""Resuming: a symbol's engine brought to where its tape ends, when ingest starts again.

1. From the last checkpoint, when it is of this tape, this feature set and this code: the frames after it are replayed.
2. Otherwise from the last order book snapshot that lies the horizon before the end of the tape, as a rebuild begins;
   from the horizon alone when no feature reads the book, or the tape holds no snapshot.
3. Rows that an outage left out of the log are made in the same way, beside the lane that goes on.
4. Where the process before ended soon after another version was served, or was decided for, its rows that did not
   reach the disk are computed with the version that they were of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from ingestion.pipeline.lane import Lane
from ingestion.pipeline.marks import hole_records
from ingestion.venues.decoders import Decoders
from market.clock import MINUTE_NS, SECOND_NS, floor_to, format_iso
from market.errors import InvalidRegistry, NotFound, RejectedMessage
from market.events import KIND_COUNT, ORDERBOOK
from storage.checkpoints import Checkpoint, KnownFrame, read_checkpoint
from storage.tape import FIRST_SEQ, Frame, Hole, TapeWriter, read_tape_and_holes, read_tape_from
from storage.tape.frames import read_frames
from storage.tape.segments import segments, tape_folder
from transforms.catalogue import set_horizon_ns, set_kinds
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, joined_rows

LATELY_NS: Final = 10 * MINUTE_NS
"""A change that is longer ago has left its checkpoints: they follow it with the next row."""
MARGIN_NS: Final = 10 * MINUTE_NS
"""Records wait so long before their rows are closed: by far longer than a stream comes behind another."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VersionBefore:
    """The version that was served up to the row ``until_ns``, before the one that is gone on with."""

    kernel: Callable[[], Kernel]
    until_ns: int


def resume(
    lane: Lane,
    tape: TapeWriter,
    *,
    raw_folder: Path,
    symbol: str,
    kernel: Kernel,
    decoders: Decoders,
    closed_ns: int = 0,
    since_ns: int = 0,
) -> FeatureRows:
    """Bring a lane to where its tape ends; returns the rows closed on the way whose whole horizon was seen.

    closed_ns: a row known to be closed: no message may come before it any more. since_ns: where that was lately, the
        rows after it are among them even without a checkpoint.

    Raises CorruptStore when seq falls on the tape.
    """
    last_recv_ns = tape.last_recv_ns
    assert last_recv_ns is not None, "there is a tape to go on from"
    checkpoint = read_checkpoint(raw_folder, symbol, lane.engine.identity)
    if checkpoint is not None:
        frames = _frames_from(checkpoint, raw_folder, symbol)
        rows = lane.resume(symbol, frames, checkpoint=checkpoint, closed_ns=closed_ns)
        if rows is not None:
            return rows
        _log.warning("%s: the checkpoint is of another tape or form, replaying from a snapshot", symbol)
    whole_from_ns = since_ns if last_recv_ns - LATELY_NS < since_ns < last_recv_ns else last_recv_ns
    from_ns = whole_from_ns - set_horizon_ns(kernel.feature_set)
    if ORDERBOOK in set_kinds(kernel.feature_set):
        from_ns = last_snapshot_ns(raw_folder, symbol, decoders, from_ns) or from_ns
    _log.info("%s: replaying the tape from %s", symbol, format_iso(from_ns))
    frames = read_tape_and_holes(raw_folder, symbol, from_ns=from_ns)
    first = next(frames, None)
    rows = lane.resume(symbol, frames if first is None else chain([first], frames), closed_ns=closed_ns)
    assert rows is not None, "without a checkpoint there is none to miss"
    # From the beginning of the tape every row is what it was; from later on once the horizon has passed.
    return rows if isinstance(first, Frame) and first.seq == FIRST_SEQ else rows_after(rows, whole_from_ns)


def rows_before_change(  # as ``resume``
    before: VersionBefore, lane: Lane, *, raw_folder: Path, symbol: str, decoders: Decoders, closed_ns: int = 0
) -> FeatureRows | None:
    """The rows of the version before, from its last checkpoint on, or from a tape's beginning that is as young.

    None where there is neither.

    closed_ns: as in ``resume``.
    """
    if lane.last_recv_ns is None or lane.last_recv_ns - LATELY_NS > before.until_ns:
        return None
    try:
        engine = Engine(before.kernel(), lane.engine.instrument, grid_ns=lane.engine.grid_ns)
    except (NotFound, InvalidRegistry) as error:
        _log.warning("%s: rows of the previous version that are not in the log cannot be computed: %s", symbol, error)
        return None
    checkpoint = read_checkpoint(raw_folder, symbol, engine.identity)
    if checkpoint is None:
        frames = read_tape_and_holes(raw_folder, symbol)
        begins = FIRST_SEQ, before.until_ns - LATELY_NS
    else:
        frames = _frames_from(checkpoint, raw_folder, symbol)
        begins = checkpoint.seq, checkpoint.recv_ns
    first = next(frames, None)
    if not isinstance(first, Frame) or first.seq != begins[0] or first.recv_ns < begins[1]:
        return None
    if checkpoint is not None and first.recv_ns != checkpoint.recv_ns:
        return None
    if checkpoint is None:
        frames = chain([first], frames)
    else:
        engine.restore(checkpoint.state)
    last_ns = max(_fed(engine, frames, decoders, symbol), default=first.recv_ns)
    return engine.advance(floor_to(min(before.until_ns, max(closed_ns, last_ns)), SECOND_NS))


def rows_between(  # as ``resume``
    kernel: Kernel,
    lane: Lane,
    *,
    raw_folder: Path,
    symbol: str,
    decoders: Decoders,
    first_ns: int,
    last_ns: int,
) -> FeatureRows | None:
    """The rows at whole seconds between two times, both included, that a lane has closed; from any thread.

    kernel: of the version that they were of. The last checkpoint must lie before them, and is used where it is of that
    version; no more than MARGIN_NS of records is held.

    None where the tape or its horizon does not reach back so far. Raises CorruptStore.
    """
    engine = Engine(kernel, lane.engine.instrument, grid_ns=lane.engine.grid_ns)
    checkpoint = read_checkpoint(raw_folder, symbol, engine.identity)
    if checkpoint is not None:
        frames = _frames_from(checkpoint, raw_folder, symbol)
        first = next(frames, None)
        if not isinstance(first, Frame) or (first.seq, first.recv_ns) != (checkpoint.seq, checkpoint.recv_ns):
            return None
        engine.restore(checkpoint.state)
    else:
        from_ns = first_ns - set_horizon_ns(kernel.feature_set)
        snapshot_ns = last_snapshot_ns(raw_folder, symbol, decoders, from_ns)
        reads_book = ORDERBOOK in set_kinds(kernel.feature_set)
        if reads_book and snapshot_ns is not None:
            from_ns = snapshot_ns
        frames = read_tape_and_holes(raw_folder, symbol, from_ns=from_ns)
        first = next(frames, None)
        if not isinstance(first, Frame) or (first.seq != FIRST_SEQ and reads_book and snapshot_ns is None):
            return None
        frames = chain([first], frames)
    made: list[FeatureRows] = []
    closed_ns = 0
    for recv_ns in _fed(engine, frames, decoders, symbol):
        until_ns = floor_to(min(recv_ns - MARGIN_NS, last_ns), SECOND_NS)
        if until_ns >= closed_ns + MINUTE_NS:
            closed_ns = until_ns
            made.append(rows_after(engine.advance(until_ns), first_ns - 1))
        if recv_ns > last_ns + MARGIN_NS:
            break
    made.append(rows_after(engine.advance(last_ns), first_ns - 1))
    return joined_rows(made, reasons=True)


def _frames_from(checkpoint: Checkpoint, raw_folder: Path, symbol: str) -> Iterator[Frame | Hole]:
    """The tape from a checkpoint's frame on, which comes first where the checkpoint is of this tape."""
    known = KnownFrame(checkpoint.seq, checkpoint.recv_ns, checkpoint.place)
    return read_tape_from(raw_folder, symbol, checkpoint.seq, known=known)


def _fed(engine: Engine, frames: Iterator[Frame | Hole], decoders: Decoders, symbol: str) -> Iterator[int]:
    """Feed an engine with the tape; yields ``recv_ns`` of each frame that it has."""
    hole: Hole | None = None
    for frame in frames:
        if isinstance(frame, Hole):
            hole = frame
            continue
        if hole is not None:
            engine.feed(hole_records(decoders, symbol, hole))
            hole = None
        decoded = decoders.decode(frame.body, frame.recv_ns)
        assert decoded is not None, "only messages with market data are logged"
        if decoded.kind < KIND_COUNT:
            engine.feed(decoded.stamped(frame.recv_ns, frame.seq))
        yield frame.recv_ns


def rows_after(rows: FeatureRows, row_ns: int) -> FeatureRows:
    """Those later than ``row_ns``."""
    at = int(np.searchsorted(rows.row_ns, row_ns, side="right"))
    return rows.only(slice(at, None))


def last_snapshot_ns(raw_folder: Path, symbol: str, decoders: Decoders, latest_ns: int) -> int | None:
    """``recv_ns`` of the newest message on the tape, up to ``latest_ns``, that replaces the book; None without one.

    Reads the tape backwards, segment by segment.
    """
    for segment in reversed(segments(tape_folder(raw_folder, symbol))):
        newest: int | None = None
        for found in read_frames(segment.path):
            if isinstance(found, Frame) and found.recv_ns <= latest_ns and _replaces_book(decoders, found):
                newest = found.recv_ns if newest is None else max(newest, found.recv_ns)
        if newest is not None:
            return newest
    return None


def _replaces_book(decoders: Decoders, frame: Frame) -> bool:
    if not decoders.may_replace_book(frame.body):
        return False
    try:
        decoded = decoders.decode(frame.body, frame.recv_ns)
    except RejectedMessage:
        return False
    return decoded is not None and decoded.book is not None and decoded.book.replaces
