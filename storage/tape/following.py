"""Following a tape: the frames that were appended since the last look, read from where that one ended."""

from __future__ import annotations

from pathlib import Path

from market.errors import CorruptStore
from storage.tape.frames import HEADER_BYTES, Damage, Frame, frame_offset, head_bytes, read_frames
from storage.tape.reader import Hole
from storage.tape.segments import OPEN, Segment, segment_name, segments, tape_folder


class TapeFollower:
    """Reads each frame of a symbol's tape once, from ``seq`` on, however long the tape is."""

    def __init__(self, root: Path, symbol: str, *, seq: int) -> None:
        """seq: of the first frame that is wanted. Raises InvalidRequest when the symbol cannot name a folder."""
        self._folder = tape_folder(root, symbol)
        self._seq = seq
        self._path: Path | None = None
        self._offset = 0

    def read(self) -> list[Frame | Hole]:
        """The frames since the last call in order of seq, with each hole in its place.

        Raises CorruptStore when seq falls, or when the segment that is being read is gone.
        """
        found: list[Frame | Hole] = []
        if self._path is None and not self._begin():
            return found
        while True:
            assert self._path is not None
            is_open = self._path.exists()
            try:
                found += self._read_segment(self._path, is_open=is_open)
            except FileNotFoundError as error:
                raise CorruptStore(f"{self._path}: must exist while it is followed, was gone") from error
            if is_open or not self._go_on():
                return found

    def _begin(self) -> bool:
        """Find the segment that the first frame is in, or will be."""
        known = segments(self._folder)
        before = [each for each in known if each.first_seq is not None and each.first_seq <= self._seq]
        if not known:
            return False
        self._take(before[-1] if before else known[0])
        if before and before[-1].first_seq is not None and before[-1].first_seq < self._seq:
            # From the frame before: the one that is wanted may not be there yet.
            self._offset = frame_offset(before[-1].path, before[-1].first_seq, self._seq - 1) or self._offset
        return True

    def _go_on(self) -> bool:
        """To the segment after the one that is read whole; False while there is none."""
        assert self._path is not None
        known = segments(self._folder)
        places = [at for at, each in enumerate(known) if segment_name(each.path) == segment_name(self._path)]
        if not places:
            raise CorruptStore(f"{self._path}: must exist while it is followed, was gone")
        if places[-1] + 1 == len(known):
            return False
        self._take(known[places[-1] + 1])
        return True

    def _take(self, segment: Segment) -> None:
        # By the name that it has while it is written: once that is gone it is complete.
        self._path = segment.path.with_suffix(OPEN)
        self._offset = head_bytes(segment.path)

    def _read_segment(self, path: Path, *, is_open: bool) -> list[Frame | Hole]:
        found: list[Frame | Hole] = []
        damage: Damage | None = None
        for each in read_frames(path, self._seq, offset=self._offset):
            if isinstance(each, Damage):
                damage = each
                continue
            if damage is not None:
                self._offset = damage.end
            self._offset += HEADER_BYTES + len(each.body)
            found += self._taken(each, damage)
            damage = None
        if damage is not None and not is_open:
            self._offset = damage.end
            found.append(Hole(self._seq, None, 0, str(damage)))
        # At the end of an open segment it is a frame that is being written.
        return found

    def _taken(self, frame: Frame, damage: Damage | None) -> list[Frame | Hole]:
        if frame.seq < self._seq:
            return []
        due, self._seq = self._seq, frame.seq + 1
        if frame.seq == due:
            return [frame]
        reason = f"seq must be {due}, was {frame.seq}" if damage is None else str(damage)
        return [Hole(due, frame.seq, frame.recv_ns, reason), frame]
