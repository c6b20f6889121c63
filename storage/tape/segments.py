"""Segments: the files of a symbol's tape, their names and their order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from market.errors import Conflict, CorruptStore, InvalidRequest
from market.markets import DEFAULT_MARKET, Market
from storage.checkpoints import KnownFrame
from storage.instruments import checked_symbol
from storage.places import matching
from storage.tape.frames import FIRST_SEQ, Damage, Frame, has_frames, read_frames, read_head
from storage.tape.segment_log import read_segment_log

FINISHED: Final = ".log"
OPEN: Final = ".open"


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a tape."""

    path: Path
    day: int
    """UTC days since 1970, of its folder."""
    first_seq: int | None
    """Of the first frame that was written; None when that is damaged and the segment log does not know it."""

    @property
    def is_open(self) -> bool:
        """Whether its writer still writes it, or died."""
        return self.path.suffix == OPEN


def tapes_folder(root: Path) -> Path:
    """Where the tapes of all symbols are, under the raw folder."""
    return root / "tape"


def tape_folder(root: Path, symbol: str) -> Path:
    """The folder of a symbol's tape. Raises InvalidRequest when the symbol cannot name one."""
    return tapes_folder(root) / checked_symbol(symbol)


def tape_symbols(root: Path) -> list[str]:
    """The symbols that have a tape, sorted."""
    folder = tapes_folder(root)
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def has_tape(root: Path, symbol: str) -> bool:
    """Whether a symbol has a tape; of one that cannot name a folder there is none."""
    try:
        return tape_folder(root, symbol).is_dir()
    except InvalidRequest:
        return False


def tape_market(root: Path, symbol: str) -> Market | None:
    """The market that a symbol's tape is of; None when it has no segment.

    A tape without a head that can be read was written before there were any, and is of DEFAULT_MARKET.
    """
    paths = sorted(segment_paths(tape_folder(root, symbol)), reverse=True)
    for path in paths:
        try:
            if (market := read_head(path)) is not None:
                return market
        except FileNotFoundError:
            continue  # retired since it was listed
    return DEFAULT_MARKET if paths else None


def tape_begin_ns(root: Path, symbol: str) -> int | None:
    """When the first message was received of those that a symbol's tape still has; None when it has no segment.

    Raises CorruptStore when a file has another name than a segment's.
    """
    return min((_path_key(path)[1] for path in segment_paths(tape_folder(root, symbol))), default=None)


def check_market(root: Path, symbol: str, market: Market) -> None:
    """Raises Conflict where a symbol's tape is of another market: they would add up to one."""
    known = tape_market(root, symbol)
    if known not in {None, market}:
        raise Conflict(f"tape {symbol}: must be of one market, {known}, was asked for {market}")


def segments(folder: Path) -> list[Segment]:
    """The segments of a symbol in order of seq; one with unknown frames is ordered by its first receive time.

    Empty ones are left out: the writer died before the first write, or is about to write.

    Raises CorruptStore when a file has another name than a segment's.
    """
    lines = read_segment_log(folder).lines
    found: list[tuple[tuple[int, int, str], Segment]] = []
    seq_before = FIRST_SEQ - 1
    for key, path in sorted((_path_key(path), path) for path in segment_paths(folder)):
        line = lines.get(segment_name(path))
        first_seq = readable_seq = None if line is None else line.first_seq
        try:
            if line is None:
                first_seq, readable_seq = _first_seqs(path)
            elif not has_frames(path):
                continue
        except FileNotFoundError:
            continue  # retired since it was listed
        if readable_seq is None:
            if has_frames(path):
                found.append(((seq_before, 1, path.name), Segment(path, key[0], None)))
            continue
        seq_before = readable_seq
        found.append(((readable_seq, 0, path.name), Segment(path, key[0], first_seq)))
    return [segment for _, segment in sorted(found, key=lambda entry: entry[0])]


def segment_name(path: Path) -> str:
    """What the segment log calls a segment, open or finished."""
    return f"{path.parent.name}/{path.stem}{FINISHED}"


def known_offset(path: Path, known: KnownFrame | None) -> int:
    """Where in a segment the known frame begins, which is whole there; 0 where it is not in it."""
    place = None if known is None else known.place
    if known is None or place is None or place.segment != segment_name(path) or place.offset <= 0:
        return 0
    found = next(read_frames(path, known.seq, offset=place.offset), None)
    is_known = isinstance(found, Frame) and (found.seq, found.recv_ns) == (known.seq, known.recv_ns)
    return place.offset if is_known else 0


def segment_paths(folder: Path) -> list[Path]:
    """Every segment's file, finished or open."""
    return [*matching(folder, f"*/*{FINISHED}"), *matching(folder, f"*/*{OPEN}")]


def _first_seqs(path: Path) -> tuple[int | None, int | None]:
    """The seq of a segment's first frame, None when that is damaged, and of its first whole one, None without one."""
    is_damaged = False
    for found in read_frames(path):
        if not isinstance(found, Damage):
            return (None if is_damaged else found.seq), found.seq
        is_damaged = True
    return None, None


def _path_key(segment: Path) -> tuple[int, int, int]:
    """(UTC day, first recv_ns, suffix) of a segment's path."""
    recv_ns, _, suffix = segment.stem.partition("-")
    try:
        return (date.fromisoformat(segment.parent.name) - date(1970, 1, 1)).days, int(recv_ns), int(suffix or 0)
    except ValueError as error:
        raise CorruptStore(f"{segment}: must be <YYYY-MM-DD>/<recv_ns>.log, was another name") from error
