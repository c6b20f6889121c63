"""Recovery of a tape after a crash: whole frames are kept, what follows the last of them is moved aside.

1. An open segment is what a writer that died left, read from the frame of the symbol's checkpoint on, if that is whole
   where it was written. What follows its last whole frame moves into a file
   ``<segment>.torn-<offset>`` next to it, and the segment is finished: by the next writer, or by a compaction that
   finds no writer. Damage before its last whole frame stays where it is, a hole that every reader names.
2. A finished segment is never changed.
3. The findings of every recovery are written to the segment log. The next seq is one above every seq that was ever
   given: in segments that are gone, in damaged bytes that may have held frames, and up to the checkpoint, before which
   they were on the disk. Only the beginning of one frame that a crash tore gives its seq back, for it was never
   acknowledged.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from market.errors import Conflict, StoreUnavailable
from storage.checkpoints import KnownFrame, checkpoint_frame
from storage.durable_files import replace_file, sync_file, sync_folder
from storage.group_sync import GroupSync
from storage.places import matching
from storage.tape.frames import FIRST_SEQ, Damage, has_frames, read_frames
from storage.tape.lock import release, take_lock
from storage.tape.segment_log import SegmentLine, SegmentLog, log_segments, read_segment_log
from storage.tape.segments import FINISHED, OPEN, Segment, known_offset, segment_name, segments, tape_folder

_log: Final = logging.getLogger(__name__)
ASIDE: Final = ".torn-"
"""In the name of what recovery moved aside, before its original offset."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Where a tape continues.

    last_recv_ns: of the last whole frame; last_day: of the last segment's folder; None when there is none.
    torn_bytes: how much was moved aside. is_end_lost: frames after the last whole one were given and are gone.
    """

    next_seq: int = FIRST_SEQ
    last_recv_ns: int | None = None
    last_day: int | None = None
    torn_bytes: int = 0
    is_end_lost: bool = False


def recover_tape(folder: Path, *, sync: GroupSync | None = None) -> Recovery:
    """Finish the segments that a dead writer left open, bring the segment log up to date, find the tape's end.

    sync: what was changed is on disk once that is settled; None is before this returns.

    Raises CorruptStore for a file that is no segment, OSError when the disk refuses.
    """
    log_segments(folder, _unlogged(folder, segments(folder)), sync=sync)
    torn_bytes = sum(_finish_abandoned(folder, path, sync) for path in matching(folder, f"*/*{OPEN}"))
    known = segments(folder)
    log = read_segment_log(folder)
    if not known:
        return Recovery(log.next_seq, torn_bytes=torn_bytes, is_end_lost=log.next_seq > FIRST_SEQ)
    name = segment_name(known[-1].path)
    last = log.lines[name]
    if last.last_ns is None:
        last = _read_end(known[-1].path, name, known[-1].first_seq)[0]
    return Recovery(
        log.next_seq,
        last.last_ns,
        known[-1].day,
        torn_bytes,
        is_end_lost=log.next_seq > (last.next_seq if last.kept_seq is None else last.kept_seq),
    )


def recover_abandoned(root: Path, symbol: str) -> int:
    """Recover the tape of a writer that died, unless a writer has it; returns the bytes moved aside.

    Raises CorruptStore for a file that is no segment, InvalidRequest, StoreUnavailable when the disk refuses.
    """
    folder = tape_folder(root, symbol)
    if not folder.is_dir() or _is_settled(folder):
        return 0
    lock: int | None = None
    try:
        lock = take_lock(folder, symbol, is_recovery=True)
        return recover_tape(folder).torn_bytes
    except Conflict:
        return 0  # a living writer's
    except OSError as error:
        raise StoreUnavailable(f"tape {symbol}: cannot be recovered, {error}") from error
    finally:
        release(lock)


def finish_segment(path: Path, *, sync: Callable[[Path], object] = sync_folder) -> Path:
    """Give an open segment, whose bytes are on the disk, its final name; returns its path under that name.

    sync: makes the names in its folder durable.
    """
    finished = path.replace(path.with_suffix(FINISHED))
    sync(path.parent)
    return finished


def _is_settled(folder: Path) -> bool:
    """Whether no segment is open and the log knows the end of each."""
    lines = read_segment_log(folder).lines
    finished = [segment_name(path) for path in matching(folder, f"*/*{FINISHED}")]
    return not matching(folder, f"*/*{OPEN}") and all(
        name in lines and lines[name].event == "finished" for name in finished
    )


def _finish_abandoned(folder: Path, path: Path, sync: GroupSync | None) -> int:
    """Finish what a dead writer left open, its line in the log first; the bytes moved aside."""
    name = segment_name(path)
    log = read_segment_log(folder)
    begun = log.lines.get(name)
    first_seq = None if begun is None else begun.first_seq
    known = checkpoint_frame(folder.parents[1], folder.name)
    line, torn = _read_end(path, name, first_seq, known)
    if first_seq is None and line.last_ns is None:
        line, torn = _read_end(path, name, log.next_seq)
    line = _up_to_checkpoint(known, line, log)
    if begun is None or begun.event != "finished":  # or a recovery was killed, after it had written what it learned
        log_segments(folder, [line], sync=sync)
    moved = 0
    if torn is not None:
        moved = _move_tail_aside(path, torn.offset)
    settle_folder = sync_folder if sync is None else sync.folder
    if not has_frames(path):
        path.unlink()
        settle_folder(path.parent)
        return moved
    if sync is None:
        sync_file(path)
    finished = finish_segment(path, sync=settle_folder)
    if sync is not None:
        sync.file_at(finished)
    return moved


def _up_to_checkpoint(known: KnownFrame | None, line: SegmentLine, log: SegmentLog) -> SegmentLine:
    """The end of the segment that was written last, where the symbol's checkpoint knows of frames after it."""
    finished = (each.next_seq for each in log.lines.values() if each.event != "begun")
    if known is None or known.seq < max((line.next_seq, *finished)):
        return line
    reason = f"must reach seq {known.seq} of the checkpoint, ended before"
    reasons = (line.reason, reason) if line.reason else (reason,)
    return msgspec.structs.replace(line, next_seq=known.seq + 1, reason="; ".join(reasons))


def _unlogged(folder: Path, known: list[Segment]) -> list[SegmentLine]:
    """Lines of the finished segments whose end the log does not know: a crash came between, or the log is lost.

    Only the last one of a tape is read whole; where another ends, the next one says.
    """
    log = read_segment_log(folder)
    lines = []
    for at, segment in enumerate(known):
        name = segment_name(segment.path)
        line = log.lines.get(name)
        if segment.is_open or (line is not None and line.event == "finished"):
            continue
        following = next((each.first_seq for each in known[at + 1 :] if each.first_seq is not None), None)
        if following is not None and segment.first_seq is not None and line is None:
            lines.append(
                SegmentLine(
                    event="finished",
                    segment=name,
                    first_seq=segment.first_seq,
                    next_seq=following,
                    kept_seq=following,
                )
            )
        else:
            lines.append(_read_end(segment.path, name, segment.first_seq)[0])
        _log.warning("%s: was missing from the segment log, added", segment.path)
    return lines


def _read_end(
    path: Path, name: str, first_seq: int | None, known: KnownFrame | None = None
) -> tuple[SegmentLine, Damage | None]:
    """What the frames of a segment say of it, and the damage at its end.

    known: where that frame is in the segment, the ones before it are not read: none of them is its end.
    """
    expected = first_seq
    last_ns: int | None = None
    torn: Damage | None = None
    offset = 0 if first_seq is None else known_offset(path, known)
    begin_seq = known.seq if known is not None and offset > 0 else first_seq
    for found in read_frames(path, begin_seq, offset=offset):
        if isinstance(found, Damage):
            torn = found
            continue
        first_seq = found.seq if first_seq is None else first_seq
        expected, last_ns, torn = found.seq + 1, found.recv_ns, None
    kept_seq = expected or FIRST_SEQ
    line = SegmentLine(
        event="finished",
        segment=name,
        first_seq=first_seq or FIRST_SEQ,
        next_seq=kept_seq if torn is None or torn.is_tear else kept_seq + torn.most_frames,
        kept_seq=kept_seq,
        last_ns=last_ns,
        reason="" if torn is None else torn.reason,
    )
    return line, torn


def _move_tail_aside(segment: Path, offset: int) -> int:
    """Move what follows ``offset`` into a file of its own; returns how many bytes that was."""
    aside = segment.with_name(f"{segment.stem}{FINISHED}{ASIDE}{offset}")
    with segment.open("r+b") as file:
        file.seek(offset)
        replace_file(aside, lambda target: shutil.copyfileobj(file, target))
        moved = file.tell() - offset
        file.truncate(offset)
        os.fsync(file.fileno())
    return moved
