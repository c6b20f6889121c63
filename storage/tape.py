"""The tape: each symbol's append-only log of exact message bytes, framed and checksummed.

Layout: ``<raw>/tape/<symbol>/<YYYY-MM-DD>/<first recv_ns>.log``. A frame is a little-endian header (length u32, crc32
u32, seq i64, recv_ns i64) followed by the body; the checksum covers seq, recv_ns and body.

1. A writer never reopens a segment: it begins a new one when it starts and when the UTC date moves on.
2. A segment of date D holds frames of D and of the day before only: messages that interleave across midnight stay
   in one segment, and a reader of a period still knows which folders can hold it.
3. Segments follow each other by the seq of their first frame. All but the last were synced before the next began,
   so a bad frame at the end of the last one is the tail of a crash, and a bad frame anywhere else is damage.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from zlib import crc32

from market.clock import DAY_NS, utc_date
from market.errors import Conflict, CorruptStore, FeatureServiceError, NotFound, StoreUnavailable
from storage.instruments import checked_symbol, make_folder, replace_file, sync_folder

_HEADER: Final = struct.Struct("<IIqq")
_STAMP: Final = struct.Struct("<qq")
_HEADER_BYTES: Final = _HEADER.size
_CRC_FROM: Final = _HEADER_BYTES - _STAMP.size
PENDING_BYTES: Final = 1 << 18
"""Frames wait in memory for ``flush`` up to this size and one body; the append after that flushes by itself."""
FIRST_SEQ: Final = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it arrived."""

    seq: int
    recv_ns: int
    body: bytes


class _TornFrame(CorruptStore):
    """The bytes at an offset are no whole frame."""


@dataclass(frozen=True, slots=True)
class _Segment:
    path: Path
    day: int
    first_seq: int | None
    """None when even the first frame is torn."""


class TapeWriter:
    """The one writer of a symbol's tape.

    What ``flush`` has returned for survives the death of the process, what ``sync`` has returned for that of the
    machine. Opening recovers: a torn tail of the last segment moves to ``<segment>.torn-<offset>`` beside it.

    next_seq: the seq that the next append will return.
    last_recv_ns: of the last frame on the tape, None when there is none.
    torn_bytes: how much opening moved aside.

    One thread at a time may use it.

    Raises:
        Conflict: another writer holds this symbol's tape.
        CorruptStore: the last segment is damaged elsewhere than at its end.
        StoreUnavailable: the folder cannot be read or written.
        InvalidRequest: the symbol cannot name a folder.
    """

    def __init__(self, root: Path, symbol: str) -> None:
        self._folder = _tape_folder(root, symbol)
        self._symbol = symbol
        self.next_seq = FIRST_SEQ
        self.last_recv_ns: int | None = None
        self.torn_bytes = 0
        self._pending = bytearray()
        self._segment_fd: int | None = None
        self._day: int | None = None
        self._from_ns = self._until_ns = 0
        self._sync_failure: StoreUnavailable | None = None
        self._lock_fd: int | None = None
        try:
            make_folder(self._folder)
            self._lock_fd = _take_lock(self._folder / ".lock", symbol)
            self._recover()
        except OSError as error:
            self._release()
            raise StoreUnavailable(f"tape {symbol}: must be able to open, was {error}") from error
        except FeatureServiceError:
            self._release()
            raise

    def append(self, recv_ns: int, body: bytes) -> int:
        """Frame one message; returns its seq.

        Raises:
            StoreUnavailable: the disk refused; this message is not on the tape and may be appended again.
            ValueError: the writer is closed.
        """
        if not self._from_ns <= recv_ns < self._until_ns:
            self._begin_segment(recv_ns)
        pending = self._pending
        if len(pending) >= PENDING_BYTES:
            self.flush()
        seq = self.next_seq
        stamp = _STAMP.pack(seq, recv_ns)
        pending += _HEADER.pack(len(body), crc32(body, crc32(stamp)), seq, recv_ns)
        pending += body
        self.next_seq = seq + 1
        self.last_recv_ns = recv_ns
        return seq

    def flush(self) -> None:
        """Hand every frame to the operating system. Raises StoreUnavailable; what is left stays for the next flush."""
        if self._segment_fd is None:
            return
        while self._pending:
            try:
                written = os.write(self._segment_fd, self._pending)
            except OSError as error:
                raise StoreUnavailable(f"tape {self._symbol}: must be writable, was {error}") from error
            del self._pending[:written]

    def sync(self) -> None:
        """Flush, then wait until the disk holds every frame. Raises StoreUnavailable, from then on always."""
        # The kernel reports lost pages once and calls them clean afterwards: a second try would lie.
        if self._sync_failure is not None:
            raise self._sync_failure
        self.flush()
        if self._segment_fd is not None:
            try:
                os.fdatasync(self._segment_fd)
            except OSError as error:
                self._sync_failure = StoreUnavailable(f"tape {self._symbol}: must reach the disk, was {error}")
                raise self._sync_failure from error

    def close(self) -> None:
        """Sync and let the tape go; closing again does nothing. Raises StoreUnavailable, and lets go all the same."""
        try:
            self.sync()
        finally:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _release(self) -> None:
        for descriptor in (self._segment_fd, self._lock_fd):
            if descriptor is not None:
                os.close(descriptor)
        self._segment_fd = self._lock_fd = None
        # An empty window sends a late append to _begin_segment, which refuses it.
        self._from_ns = self._until_ns = 0

    def _begin_segment(self, recv_ns: int) -> None:
        if self._lock_fd is None:
            raise ValueError(f"tape {self._symbol}: must be open, was closed")
        self.sync()
        day = recv_ns // DAY_NS
        if self._day is not None and day == self._day - 1:
            day = self._day  # a restart between two messages that interleave across midnight
        folder = self._folder / utc_date(day * DAY_NS)
        try:
            make_folder(folder)
            descriptor = _create_segment(folder, recv_ns, self.next_seq)
            sync_folder(folder)
        except OSError as error:
            raise StoreUnavailable(f"tape {self._symbol}: must be able to begin a segment, was {error}") from error
        if self._segment_fd is not None:
            os.close(self._segment_fd)
        self._segment_fd = descriptor
        self._day = day
        self._from_ns, self._until_ns = (day - 1) * DAY_NS, (day + 1) * DAY_NS

    def _recover(self) -> None:
        for path in self._folder.glob("*/*.log"):
            if path.stat().st_size == 0:
                path.unlink()
        segments = _segments(self._folder)
        first_is_torn = bool(segments) and segments[-1].first_seq is None
        if first_is_torn:
            torn = segments.pop().path
            self.torn_bytes = torn.stat().st_size
            torn.replace(_aside(torn, 0))
            sync_folder(torn.parent)
        if not segments:
            return
        last = segments[-1]
        self._day = last.day
        offset = 0
        try:
            for frame in _frames(last.path):
                offset += _HEADER_BYTES + len(frame.body)
                self.next_seq = frame.seq + 1
                self.last_recv_ns = frame.recv_ns
        except _TornFrame:
            if first_is_torn:
                raise
            self.torn_bytes = _move_tail_aside(last.path, offset)


def read_tape(root: Path, symbol: str, *, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Frame]:
    """The frames with ``from_ns <= recv_ns < to_ns`` in order of seq; a live tape is read up to its last whole frame.

    Raises:
        NotFound: the symbol has no tape.
        CorruptStore: while iterating, at a bad frame elsewhere than at the end of the last segment, or a missing seq.
        InvalidRequest: the symbol cannot name a folder.
    """
    folder = _tape_folder(root, symbol)
    if not folder.is_dir():
        raise NotFound(f"tape {symbol}: must exist, was no folder {folder}")
    return _read_segments(_segments(folder), from_ns, to_ns)


def tape_symbols(root: Path) -> list[str]:
    """The symbols that have a tape, sorted."""
    folder = root / "tape"
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _read_segments(segments: list[_Segment], from_ns: int | None, to_ns: int | None) -> Iterator[Frame]:
    first_day = None if from_ns is None else from_ns // DAY_NS
    last_day = None if to_ns is None else (to_ns - 1) // DAY_NS + 1
    expected: int | None = None
    for index, segment in enumerate(segments):
        if segment.first_seq is None:
            return
        if expected is not None and segment.first_seq != expected:
            raise CorruptStore(f"{segment.path} at offset 0: seq must be {expected}, was {segment.first_seq}")
        expected = None
        if (first_day is not None and segment.day < first_day) or (last_day is not None and segment.day > last_day):
            continue
        try:
            for frame in _frames(segment.path):
                expected = frame.seq + 1
                if (from_ns is None or frame.recv_ns >= from_ns) and (to_ns is None or frame.recv_ns < to_ns):
                    yield frame
        except _TornFrame:
            if index < len(segments) - 1:
                raise


def _segments(folder: Path) -> list[_Segment]:
    """The segments of a symbol in order of seq; the newest may lack a whole first frame, and then stands last."""
    whole: list[tuple[int, Path, _Segment]] = []
    torn: list[_Segment] = []
    # An empty segment holds nothing: its writer died before the first flush, or is about to flush.
    paths = {path: _path_key(path) for path in folder.glob("*/*.log") if path.stat().st_size > 0}
    newest = max(paths.values(), default=None)
    for path, key in paths.items():
        try:
            first = next(_frames(path))
        except _TornFrame:
            if key != newest:
                raise
            torn.append(_Segment(path, key[0], None))
        else:
            whole.append((first.seq, path, _Segment(path, key[0], first.seq)))
    return [segment for _, _, segment in sorted(whole, key=lambda entry: entry[:2])] + torn


def _path_key(segment: Path) -> tuple[int, int, int]:
    """(UTC day, first recv_ns, suffix) of a segment's path."""
    recv_ns, _, suffix = segment.stem.partition("-")
    try:
        return (date.fromisoformat(segment.parent.name) - date(1970, 1, 1)).days, int(recv_ns), int(suffix or 0)
    except ValueError as error:
        raise CorruptStore(f"{segment}: must be <YYYY-MM-DD>/<recv_ns>.log, was another name") from error


def _frames(segment: Path) -> Iterator[Frame]:
    """The frames of one segment; raises _TornFrame at the first bad one, CorruptStore at a good one out of sequence."""
    expected: int | None = None
    with segment.open("rb", buffering=1 << 20) as file:
        left = os.fstat(file.fileno()).st_size  # a live segment grows: what comes after this is for the next reader
        offset = 0
        while left:
            if left < _HEADER_BYTES:
                raise _TornFrame(f"{segment} at offset {offset}: header must have {_HEADER_BYTES} bytes, was {left}")
            header = file.read(_HEADER_BYTES)
            length, crc, seq, recv_ns = _HEADER.unpack(header)
            size = _HEADER_BYTES + length
            if size > left:
                raise _TornFrame(f"{segment} at offset {offset}: frame must end in the file's {left} bytes, was {size}")
            body = file.read(length)
            if crc32(body, crc32(header[_CRC_FROM:])) != crc:
                raise _TornFrame(f"{segment} at offset {offset}: checksum must be that of the frame, was {crc:#010x}")
            if expected is not None and seq != expected:
                raise CorruptStore(f"{segment} at offset {offset}: seq must be {expected}, was {seq}")
            yield Frame(seq, recv_ns, body)
            expected = seq + 1
            left -= size
            offset += size


def _create_segment(folder: Path, recv_ns: int, seq: int) -> int:
    """Descriptor of a new segment; a redelivered first message meets its own name and adds its seq to it."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
    try:
        return os.open(folder / f"{recv_ns}.log", flags, 0o666)
    except FileExistsError:
        return os.open(folder / f"{recv_ns}-{seq}.log", flags, 0o666)


def _aside(segment: Path, offset: int) -> Path:
    return segment.with_name(f"{segment.name}.torn-{offset}")


def _move_tail_aside(segment: Path, offset: int) -> int:
    """Move what follows ``offset`` into a file of its own; returns how many bytes that was."""
    with segment.open("r+b") as file:
        file.seek(offset)
        replace_file(_aside(segment, offset), lambda target: shutil.copyfileobj(file, target))
        moved = file.tell() - offset
        file.truncate(offset)
        os.fsync(file.fileno())
    return moved


def _take_lock(path: Path, symbol: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode("ascii", "replace") or "unknown"
        os.close(descriptor)
        raise Conflict(f"tape {symbol}: must have one writer, was held by process {holder}") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _tape_folder(root: Path, symbol: str) -> Path:
    return root / "tape" / checked_symbol(symbol)
