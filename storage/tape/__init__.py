"""The tape: each symbol's append-only log of exact message bytes, framed and checksummed.

Layout: ``<raw>/tape/<symbol>/<YYYY-MM-DD>/<first recv_ns>.log``; the segment that is being written ends in ``.open``.

1. A writer never reopens a segment: it begins a new one when it starts, at each UTC hour and at a size.
2. A segment is finished once: fsync, rename from ``.open`` to ``.log``, fsync of its folder.
3. A segment of date D holds frames of D and of the day before only: messages that interleave across midnight stay
   in one segment, and a reader of a period still knows which folders can hold it.
4. Segments follow each other by the seq of their first frame. The beginning of a frame at the end of the open one is
   the tail of a crash; a bad or missing frame anywhere else is damage, a hole with a name.
5. ``segments.index`` next to them records which segments existed and which seqs were used: what is gone is known.
"""

from storage.tape.disk import DEFAULT_SYNC_MS, TapeDisk
from storage.tape.following import TapeFollower
from storage.tape.frame_blocks import frame_block
from storage.tape.frames import FIRST_SEQ, Frame
from storage.tape.reader import Hole, read_tape, read_tape_and_holes, read_tape_from
from storage.tape.segments import has_tape, tape_begin_ns, tape_market, tape_symbols
from storage.tape.writer import TapeWriter

__all__ = [
    "DEFAULT_SYNC_MS",
    "FIRST_SEQ",
    "Frame",
    "Hole",
    "TapeDisk",
    "TapeFollower",
    "TapeWriter",
    "frame_block",
    "has_tape",
    "read_tape",
    "read_tape_and_holes",
    "read_tape_from",
    "tape_begin_ns",
    "tape_market",
    "tape_symbols",
]
