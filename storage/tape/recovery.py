"""Recovery of a tape after a crash: whole frames are kept, what follows the first bad one is moved aside.

1. An open segment is what a writer that died left. It is read to its first bad frame; the rest moves into a file
   ``<segment>.torn-<offset>`` beside it, and the segment is finished: by the next writer, or by a compaction that finds
   no writer.
2. A finished segment is never changed: what is damaged in it is a hole that every reader names.
3. The next seq is one above every seq that was ever given, damaged frames included.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from market.errors import Conflict, StoreUnavailable
from storage.durable_files import replace_file, sync_folder
from storage.tape.frames import FIRST_SEQ, HEADER_BYTES, Damage, Frame, read_frames
from storage.tape.lock import release, take_lock
from storage.tape.segments import FINISHED, OPEN, segments, tape_folder


@dataclass(frozen=True, slots=True)
class Recovery:
    """Where a tape goes on.

    last_recv_ns: of the last whole frame; last_day: of the last segment's folder; None when there is none.
    torn_bytes: how much was moved aside.
    """

    next_seq: int = FIRST_SEQ
    last_recv_ns: int | None = None
    last_day: int | None = None
    torn_bytes: int = 0


def recover_tape(folder: Path) -> Recovery:
    """Finish the segments that a dead writer left open and find where the tape goes on.

    Raises CorruptStore for a file that is no segment, OSError when the disk refuses.
    """
    abandoned = [_finish_abandoned(path) for path in sorted(folder.glob(f"*/*{OPEN}"))]
    torn_bytes = sum(each.torn_bytes for each in abandoned)
    next_seq = max([FIRST_SEQ, *(each.next_seq for each in abandoned)])
    known = segments(folder)
    if not known:
        return Recovery(next_seq, torn_bytes=torn_bytes)
    last_recv_ns = next((each.last_recv_ns for each in abandoned if each.finished == known[-1].path), None)
    if last_recv_ns is not None:
        return Recovery(next_seq, last_recv_ns, known[-1].day, torn_bytes)
    expected: int | None = None
    # Where even the first frame of the last segment is damaged, the one before it says which seq was due.
    for segment in known[-1:] if known[-1].first_seq is not None else known[-2:]:
        for found in read_frames(segment.path, expected):
            if isinstance(found, Frame):
                expected = found.seq + 1
                last_recv_ns = found.recv_ns
            else:
                # How many frames the damage held is not known; no frame is shorter than its header.
                expected = (expected or FIRST_SEQ) + (found.end - found.offset) // HEADER_BYTES
        next_seq = max(next_seq, expected or FIRST_SEQ)
    return Recovery(next_seq, last_recv_ns, known[-1].day, torn_bytes)


def recover_abandoned(root: Path, symbol: str) -> int:
    """Finish the segments that a dead writer left open, unless a writer has the tape; returns the bytes moved aside.

    Raises CorruptStore for a file that is no segment, InvalidRequest, StoreUnavailable when the disk refuses.
    """
    folder = tape_folder(root, symbol)
    if next(folder.glob(f"*/*{OPEN}"), None) is None:
        return 0
    lock: int | None = None
    try:
        lock = take_lock(folder, symbol, is_recovery=True)
        return recover_tape(folder).torn_bytes
    except Conflict:
        return 0  # a living writer's
    except OSError as error:
        raise StoreUnavailable(f"tape {symbol}: must be able to be recovered, was {error}") from error
    finally:
        release(lock)


def finish_segment(path: Path) -> Path:
    """Give an open segment, whose bytes are on the disk, its final name, durably; returns its path under that name."""
    finished = path.replace(path.with_suffix(FINISHED))
    sync_folder(path.parent)
    return finished


@dataclass(frozen=True, slots=True)
class _Abandoned:
    """What a dead writer left open, once it is finished.

    next_seq: one above the highest seq in the file, in the part moved aside too. finished: None when nothing was whole.
    last_recv_ns: of the last frame kept.
    """

    next_seq: int = FIRST_SEQ
    torn_bytes: int = 0
    finished: Path | None = None
    last_recv_ns: int | None = None


def _finish_abandoned(path: Path) -> _Abandoned:
    if path.stat().st_size == 0:
        path.unlink()
        return _Abandoned()
    torn: Damage | None = None
    next_seq = FIRST_SEQ
    last_recv_ns = None
    for found in read_frames(path):
        if isinstance(found, Damage):
            torn = torn or found
        else:
            next_seq = found.seq + 1
            last_recv_ns = found.recv_ns if torn is None else last_recv_ns
    torn_bytes = 0
    if torn is not None:
        torn_bytes = _move_tail_aside(path, torn.offset)
        if torn.offset == 0:
            path.unlink()
            sync_folder(path.parent)
            return _Abandoned(next_seq, torn_bytes)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return _Abandoned(next_seq, torn_bytes, finish_segment(path), last_recv_ns)


def _move_tail_aside(segment: Path, offset: int) -> int:
    """Move what follows ``offset`` into a file of its own; returns how many bytes that was."""
    aside = segment.with_name(f"{segment.stem}{FINISHED}.torn-{offset}")
    with segment.open("r+b") as file:
        file.seek(offset)
        replace_file(aside, lambda target: shutil.copyfileobj(file, target))
        moved = file.tell() - offset
        file.truncate(offset)
        os.fsync(file.fileno())
    return moved
