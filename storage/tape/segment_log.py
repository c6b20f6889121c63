"""The segment log: what segments a symbol's tape has had and which seqs were used, kept next to the segments.

Layout: ``<raw>/tape/<symbol>/segments.index``, one line an event: CRC-32 in hex, a space, JSON. Lines are appended,
each on disk before what it records is acknowledged, and none is ever changed.

1. ``begun``: a segment exists there, its seqs run from ``first_seq`` to below ``next_seq`` at the most.
2. ``finished``: it got its final name; ``next_seq`` is one above the highest seq that was given in it, and
   ``kept_seq`` one above that of its last whole frame. They differ where its end was damaged when it was recovered.
3. ``retired``: it was archived or deleted on purpose.

The last line of a segment holds. A crash may tear the last line of the file: what it recorded was not acknowledged.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from zlib import crc32

import msgspec

from storage.durable_files import make_folder, sync_folder
from storage.group_sync import GroupSync
from storage.tape.frames import FIRST_SEQ

FILE_NAME: Final = "segments.index"
_CRC_DIGITS: Final = 8


class SegmentLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. segment: ``<date>/<name>.log``. last_ns: ``recv_ns`` of the last whole frame, None without one.

    reason: what was wrong with its end.
    """

    event: Literal["begun", "finished", "retired"]
    segment: str
    first_seq: int
    next_seq: int
    kept_seq: int | None = None
    last_ns: int | None = None
    reason: str = ""

    @property
    def has_frames(self) -> bool:
        """Whether a file of it should be there as long as it is not retired."""
        return self.event != "retired" and (self.kept_seq is None or self.kept_seq > self.first_seq)


_LINE: Final = msgspec.json.Decoder(SegmentLine)


@dataclass(frozen=True, slots=True)
class SegmentLog:
    """What the log of a symbol says: the last line of each segment by its name, and the lines that are damaged."""

    lines: dict[str, SegmentLine]
    damages: tuple[str, ...] = ()

    @property
    def next_seq(self) -> int:
        """One above every seq that was given."""
        return max((line.next_seq for line in self.lines.values()), default=FIRST_SEQ)

    def lost(self, seq: int) -> str | None:
        """Why the frame ``seq`` is not there, as far as the log knows."""
        for line in self.lines.values():
            if line.first_seq <= seq < line.next_seq:
                if line.kept_seq is not None and seq >= line.kept_seq:
                    return f"{line.segment}: {line.reason}"
                return f"{line.segment}: must exist, was gone" if line.has_frames else None
        return None


def read_segment_log(folder: Path) -> SegmentLog:
    """The log in a tape's folder; an empty one where there is none."""
    lines: dict[str, SegmentLine] = {}
    damages = []
    path = folder / FILE_NAME
    content = path.read_bytes() if path.is_file() else b""
    texts = content.split(b"\n")
    for number, text in enumerate(texts[:-1], start=1):  # what follows the last newline is torn
        try:
            line = _LINE.decode(text[_CRC_DIGITS:])
        except (msgspec.DecodeError, UnicodeDecodeError):
            line = None
        if line is not None and text == _line_text(text[_CRC_DIGITS + 1 :]):
            lines[line.segment] = line
        elif text:
            damages.append(f"{path} line {number}: must have the checksum of its text, was {text[:60]!r}")
    return SegmentLog(lines, tuple(damages))


def log_segments(folder: Path, lines: Sequence[SegmentLine], *, sync: GroupSync | None = None) -> None:
    """Append lines; on disk before this returns, or once ``sync`` is settled. Raises OSError."""
    if not lines:
        return
    path = folder / FILE_NAME
    is_new = not path.is_file()
    make_folder(folder, sync=None if sync is None else sync.folder)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        # A crash may have torn the last line; it must not swallow the next one.
        is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        text = b"\n" if is_torn else b""
        for line in lines:
            text += _line_text(msgspec.json.encode(line)) + b"\n"
        left = memoryview(text)
        while left:
            left = left[os.write(descriptor, left) :]
        if sync is None:
            os.fsync(descriptor)
        else:
            sync.file_at(path)
    finally:
        os.close(descriptor)
    if is_new:
        (sync_folder if sync is None else sync.folder)(folder)


def _line_text(line: bytes) -> bytes:
    return f"{crc32(line):0{_CRC_DIGITS}x} ".encode() + line


def gone_segments(folder: Path, log: SegmentLog) -> list[SegmentLine]:
    """The segments that should be there and are not, in order of seq."""
    gone = [line for line in log.lines.values() if line.has_frames and not _is_there(folder, line)]
    return sorted(gone, key=lambda line: line.first_seq)


def end_seq(folder: Path, log: SegmentLog) -> int:
    """One above every seq that was given, but for those of a segment that is being written: its frames say that."""
    return max(
        (line.next_seq for line in log.lines.values() if line.event != "begun" or not _is_there(folder, line)),
        default=FIRST_SEQ,
    )


def _is_there(folder: Path, line: SegmentLine) -> bool:
    finished = folder / line.segment
    # Once more at the end: its writer may have finished it between the two looks.
    return finished.is_file() or finished.with_suffix(".open").is_file() or finished.is_file()
