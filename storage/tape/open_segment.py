"""The segment that a tape's writer is writing: its file, its head, and its lines in the segment log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from storage.durable_files import make_folder
from storage.group_sync import GroupSync
from storage.tape.frames import HEADER_BYTES
from storage.tape.lock import release
from storage.tape.recovery import finish_segment
from storage.tape.segment_log import SegmentLine, log_segments
from storage.tape.segments import segment_name


class OpenSegment:
    """One segment after the other, of one thread; every method raises OSError as the disk gives it.

    folder: the symbol's tape. head: what a segment begins with. segment_bytes: the size at which one ends. sync: what
    was written is durable once that is settled.
    """

    def __init__(self, folder: Path, head: bytes, *, segment_bytes: int, sync: GroupSync) -> None:
        self._folder = folder
        self._head = head
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._first_seq = 0
        self._end = 0, 0
        self._is_empty = True

    @property
    def is_finished(self) -> bool:
        """Whether no segment is being written."""
        return self._descriptor is None

    def begin(self, path: Path, first_seq: int) -> None:
        """Make the file, in the segment log before a frame is in it; its head is written with the first frames."""
        make_folder(path.parent, sync=self._sync.folder)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
        self._sync.check_device(os.fstat(self._descriptor).st_dev)
        self._path = path
        self._first_seq = first_seq
        self._sync.folder(path.parent)
        # Of a segment that is gone nothing else says how many seqs it had: no more than fit in.
        most = self._segment_bytes // HEADER_BYTES + 1
        self._log(
            SegmentLine(event="begun", segment=segment_name(path), first_seq=first_seq, next_seq=first_seq + most)
        )
        self._is_empty = True

    def write(self, frames: bytearray, *, next_seq: int, last_ns: int) -> None:
        """Add frames, of which the last was received at ``last_ns`` and is followed by ``next_seq``."""
        assert self._descriptor is not None, "the first frames of a writer begin a segment"
        if self._is_empty:
            frames[:0] = self._head
            self._is_empty = False
        left = memoryview(frames)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._end = next_seq, last_ns
        self._sync.file(self._descriptor)

    def finish(self) -> Iterator[None]:
        """End the segment, if one was begun: under its last name and in the segment log.

        Where it yields, what was written before must be durable before it goes on: who believes the name believes that
        every frame is there.
        """
        if self._descriptor is None or self._path is None:
            return
        self._sync.file(self._descriptor)
        yield
        descriptor, self._descriptor = self._descriptor, None
        os.close(descriptor)
        finish_segment(self._path, sync=self._sync.folder)
        next_seq, last_ns = self._end
        self._log(
            SegmentLine(
                event="finished",
                segment=segment_name(self._path),
                first_seq=self._first_seq,
                next_seq=next_seq,
                kept_seq=next_seq,
                last_ns=last_ns,
            )
        )

    def let_go(self) -> None:
        """Close the file as it is; recovery finishes it."""
        descriptor, self._descriptor = self._descriptor, None
        release(descriptor)

    def _log(self, line: SegmentLine) -> None:
        log_segments(self._folder, [line], sync=self._sync)
