"""Reading a tape: its frames in order of seq, and the holes where frames are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from market.clock import DAY_NS
from market.errors import CorruptStore, NotFound
from storage.checkpoints import KnownFrame
from storage.tape.frames import FIRST_SEQ, Damage, Frame, frame_offset, read_frames
from storage.tape.segment_log import SegmentLog, end_seq, read_segment_log
from storage.tape.segments import Segment, known_offset, segments, tape_folder


@dataclass(frozen=True, slots=True)
class Hole:
    """Frames that were written and cannot be read: seq from ``first_seq`` up to, not including, ``next_seq``.

    next_seq: ``first_seq`` where the head of a segment is damaged, which costs no frame; None when nothing says how far
    the hole reaches. recv_ns: of the frame after the hole, or of the last one before it. reason: names the file and
    what is wrong with it.
    """

    first_seq: int
    next_seq: int | None
    recv_ns: int
    reason: str

    def __str__(self) -> str:
        if self.next_seq == self.first_seq:
            return f"before seq {self.first_seq}: {self.reason}"
        last = "the end" if self.next_seq is None else str(self.next_seq - 1)
        return f"seq {self.first_seq} to {last}: {self.reason}"


def read_tape(root: Path, symbol: str, *, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Frame]:
    """The frames with ``from_ns <= recv_ns < to_ns`` in order of seq; a live tape is read up to its last whole frame.

    Raises:
        NotFound: the symbol has no tape.
        CorruptStore: while iterating, at a hole.
        InvalidRequest: the symbol cannot name a folder.
    """
    return _without_holes(read_tape_and_holes(root, symbol, from_ns=from_ns, to_ns=to_ns))


def read_tape_and_holes(
    root: Path, symbol: str, *, from_ns: int | None = None, to_ns: int | None = None
) -> Iterator[Frame | Hole]:
    """What ``read_tape`` reads, with each hole in its place instead of an error.

    Raises:
        NotFound: the symbol has no tape.
        CorruptStore: while iterating, when seq falls.
        InvalidRequest: the symbol cannot name a folder.
    """
    folder = tape_folder(root, symbol)
    if not folder.is_dir():
        raise NotFound(f"tape {symbol}: must exist, was no folder {folder}; feature-service tape stats lists the tapes")
    log = read_segment_log(folder)
    return read_segments(
        segments(folder),
        log=log,
        given_seq=end_seq(folder, log) if to_ns is None else None,
        from_ns=from_ns,
        to_ns=to_ns,
    )


def read_tape_from(root: Path, symbol: str, seq: int, *, known: KnownFrame | None = None) -> Iterator[Frame | Hole]:
    """The frames from ``seq`` on, with each hole among them in its place; earlier frames are skipped by their headers.

    known: the frame ``seq``; where it is whole at its place, reading begins there.

    Raises:
        CorruptStore: while iterating, when seq falls.
        InvalidRequest: the symbol cannot name a folder.
    """
    folder = tape_folder(root, symbol)
    log = read_segment_log(folder)
    there = segments(folder)
    begin, expected, offset = _place_of(there, seq, known)
    given_seq = end_seq(folder, log)
    for found in read_segments(there[begin:], log=log, given_seq=given_seq, expected=expected, offset=offset):
        if isinstance(found, Frame):
            if found.seq >= seq:
                yield found
        elif found.next_seq is None or found.next_seq > seq:
            yield found


def _place_of(there: Sequence[Segment], seq: int, known: KnownFrame | None) -> tuple[int, int | None, int]:
    """In which segment to begin for the frame ``seq``, with which seq and where it is; None and 0 are unknown."""
    for at, segment in enumerate(there):
        if (offset := known_offset(segment.path, known)) > 0:
            return at, seq, offset
    begins = [
        (at, segment.first_seq)
        for at, segment in enumerate(there)
        if segment.first_seq is not None and segment.first_seq <= seq
    ]
    begin, first_seq = begins[-1] if begins else (0, None)
    # From the frame before, whose time is that of a hole which nothing follows.
    before = None if first_seq is None else frame_offset(there[begin].path, first_seq, seq - 1)
    return (begin, None, 0) if before is None else (begin, seq - 1, before)


def read_segments(  # noqa: PLR0913  # where reading begins, in the three ways in which it is known
    chosen: Sequence[Segment],
    *,
    log: SegmentLog,
    given_seq: int | None = None,
    expected: int | None = None,
    offset: int = 0,
    from_ns: int | None = None,
    to_ns: int | None = None,
) -> Iterator[Frame | Hole]:
    """The frames and holes of segments in order.

    log: what the tape has had, by which holes are explained. given_seq: frames below it that are after the last
    segment are a hole too. expected: the seq that the first frame should have, if known. offset: where that frame
    begins in the first segment.
    """
    first_day = None if from_ns is None else from_ns // DAY_NS
    last_day = None if to_ns is None else (to_ns - 1) // DAY_NS + 1
    damage: Damage | None = None
    last_ns = 0
    for segment in chosen:
        if (first_day is not None and segment.day < first_day) or (last_day is not None and segment.day > last_day):
            expected, damage = None, None
            continue
        expected = segment.first_seq if expected is None else expected
        # Lost seqs before this segment are no reason to disbelieve its frames.
        due = expected if offset or segment.first_seq is None else max(segment.first_seq, expected or 0)
        for found in read_frames(segment.path, due, offset=offset):
            if isinstance(found, Damage):
                damage = damage or found
                continue
            is_wanted = (from_ns is None or found.recv_ns >= from_ns) and (to_ns is None or found.recv_ns < to_ns)
            if damage is not None or (expected is not None and found.seq != expected):
                hole = _hole(segment, expected, found, damage, log)
                if is_wanted:
                    yield hole
            expected, damage, last_ns = found.seq + 1, None, found.recv_ns
            if is_wanted:
                yield found
        if damage is not None and segment.is_open and damage.is_tear:
            damage = None  # that a crash tore, or that is being written; a missing seq would still show
        offset = 0
    if damage is not None:
        yield Hole(expected or 0, None, last_ns, str(damage))
        return
    # Of a period that begins later than the last segment nothing says where the hole begins.
    first_seq = FIRST_SEQ if expected is None and from_ns is None else expected
    if given_seq is not None and first_seq is not None and first_seq < given_seq:
        reason = log.lost(first_seq) or f"seq must reach {given_seq - 1}, was {first_seq - 1}"
        yield Hole(first_seq, given_seq, last_ns, reason)


def _hole(segment: Segment, expected: int | None, found: Frame, damage: Damage | None, log: SegmentLog) -> Hole:
    if expected is not None and found.seq < expected:
        raise CorruptStore(f"{segment.path}: seq must not fall, was {found.seq} where {expected} was due")
    if damage is None:
        lost = log.lost(expected or 0)
        reason = f"{segment.path}: seq must be {expected}, was {found.seq}" + (f"; {lost}" if lost else "")
        return Hole(expected or 0, found.seq, found.recv_ns, reason)
    return Hole(found.seq - 1 if expected is None else expected, found.seq, found.recv_ns, str(damage))


def _without_holes(found: Iterator[Frame | Hole]) -> Iterator[Frame]:
    for each in found:
        if isinstance(each, Hole):
            raise CorruptStore(each.reason)
        yield each
