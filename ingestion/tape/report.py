"""What a tape holds and whether it is whole: figures by type and day, and a check of every byte."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ingestion.decoding.scales import Instruments
from ingestion.venues.decoders import Decoders, tape_venue
from ingestion.venues.venue import Venue
from market.book_sequence import BookPlace, Step, step_after
from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, utc_date
from market.errors import CorruptStore, RejectedMessage
from storage.durable_files import file_sha256
from storage.objects.names import remembered_names
from storage.places import Place, matching
from storage.raw.manifest import RawPart, entry_path, entry_paths, read_entry
from storage.raw.raw_data import RawData
from storage.tape import Frame, Hole, read_tape_and_holes
from storage.tape.frames import read_frames
from storage.tape.reader import read_segments
from storage.tape.recovery import ASIDE
from storage.tape.segment_log import FILE_NAME as SEGMENT_LOG
from storage.tape.segment_log import gone_segments, read_segment_log
from storage.tape.segments import Segment, segment_name, segment_paths, segments, tape_folder

MOST_FINDINGS: Final = 100
"""Told one by one; the rest is counted."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_MINUTES_A_DAY: Final = 1440


@dataclass(slots=True)
class DayStats:
    """Messages of one type of one symbol on one UTC day.

    type: the topic without its symbol. size: bytes of the messages. gaps: minutes without one between the first and the
    last. coverage: share of the day's minutes with one. by_hour: messages, 24.
    """

    symbol: str
    date: str
    type: str
    messages: int = 0
    size: int = 0
    by_hour: list[int] = field(default_factory=lambda: [0] * 24)
    minutes: set[int] = field(default_factory=set)

    @property
    def gaps(self) -> int:
        return max(self.minutes) - min(self.minutes) + 1 - len(self.minutes)

    @property
    def coverage(self) -> float:
        return len(self.minutes) / _MINUTES_A_DAY

    @property
    def picture(self) -> str:
        """The day in 24 bars, each hour against the busiest."""
        most = max(self.by_hour)
        return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in self.by_hour)


def tape_stats(raw_folder: Path, symbol: str) -> list[DayStats]:
    """Figures of a symbol's tape by day and type, sorted; frames that cannot be read are skipped."""
    found: dict[tuple[str, str], DayStats] = {}
    venue = tape_venue(raw_folder, symbol)
    for frame in read_tape_and_holes(raw_folder, symbol):
        if isinstance(frame, Hole):
            continue
        key = utc_date(frame.recv_ns), _type_of(frame.body, venue)
        stats = found.get(key)
        if stats is None:
            stats = found[key] = DayStats(symbol, *key)
        stats.messages += 1
        stats.size += len(frame.body)
        stats.by_hour[frame.recv_ns % DAY_NS // HOUR_NS] += 1
        stats.minutes.add(frame.recv_ns % DAY_NS // MINUTE_NS)
    return [found[key] for key in sorted(found)]


@dataclass(slots=True)
class TapeCheck:
    """What a check met. findings: damage, each by file and reason. book_gaps: messages that the source lost."""

    messages: int = 0
    snapshots: int = 0
    book_gaps: int = 0
    disorder: int = 0
    """Messages with an earlier receive time than the one before: allowed, for queues are drained side by side."""
    parts: int = 0
    torn_bytes: int = 0
    """Moved aside by recoveries: beginnings of messages that a crash tore, never acknowledged."""
    damages: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return self.damages == 0

    def find(self, text: str) -> None:
        """Count a damage, and keep the first of them in words."""
        self.damages += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(text)

    def add(self, other: TapeCheck) -> None:
        """Take in what another check met."""
        self.messages += other.messages
        self.snapshots += other.snapshots
        self.book_gaps += other.book_gaps
        self.disorder += other.disorder
        self.parts += other.parts
        self.torn_bytes += other.torn_bytes
        self.damages += other.damages
        self.findings += other.findings[: MOST_FINDINGS - len(self.findings)]


def verify_tape(raw_folder: Path, symbol: str, instruments: Instruments, *, place: Place | None = None) -> TapeCheck:
    """Read every frame and every part of a symbol and check it: checksums, order of seq, holes, contiguous order books.

    What recoveries moved aside is read too, and the segments are compared with those that the segment log knows.
    place: of raw Parquet; None is the raw folder.

    Raises NotFound when the symbol has no tape, InvalidRequest when it cannot name a folder.
    """
    check = TapeCheck()
    holes: list[Hole] = []
    decoders = Decoders(tape_venue(raw_folder, symbol), instruments)
    try:
        holes = _check_frames(read_tape_and_holes(raw_folder, symbol), decoders, check)
    except CorruptStore as error:
        check.find(str(error))
    _check_segments(tape_folder(raw_folder, symbol), holes, check)
    raw = RawData(raw_folder, place)
    with remembered_names():
        for path in sorted(entry_paths(raw.place, symbol)):
            _check_entry(raw, path, symbol, check)
    return check


def verify_parts(
    raw_folder: Path,
    symbol: str,
    names: Collection[str],
    instruments: Instruments,
    *,
    place: Place | None = None,
) -> TapeCheck:
    """What ``verify_tape`` checks, of some parts and the segments that they were made of.

    A part that retention removes meanwhile is not counted. Raises InvalidRequest when the symbol cannot name a folder.
    """
    check, raw = TapeCheck(), RawData(raw_folder, place)
    decoders = Decoders(tape_venue(raw_folder, symbol), instruments)
    log = read_segment_log(tape_folder(raw_folder, symbol))
    known = {path.relative_to(raw_folder).as_posix(): path for path in segment_paths(tape_folder(raw_folder, symbol))}
    for name in sorted(names):
        entry, found = entry_path(raw.place, symbol, name), TapeCheck()
        part = _check_entry(raw, entry, symbol, found)
        if part is not None and part.source is not None and part.source.path in known:
            segment = Segment(known[part.source.path], part.first_ns // DAY_NS, part.first_seq)
            try:
                _check_frames(read_segments([segment], log=log), decoders, found)
            except (CorruptStore, FileNotFoundError) as error:
                found.find(str(error))
            if found.messages != part.source.messages:
                found.find(
                    f"{segment.path}: must hold the {part.source.messages} messages of its part, held {found.messages}"
                )
        # The entry goes first: without it files are missing because the part was removed.
        if entry.is_file():
            check.add(found)
    return check


def _check_frames(frames: Iterable[Frame | Hole], decoders: Decoders, check: TapeCheck) -> list[Hole]:
    """Check each frame; the holes among them."""
    holes: list[Hole] = []
    last_ns = 0
    last_update: int | None = None
    for found in frames:
        if isinstance(found, Hole):
            check.find(str(found))
            holes.append(found)
            last_update = None
            continue
        check.messages += 1
        check.disorder += found.recv_ns < last_ns
        last_ns = found.recv_ns
        try:
            decoded = decoders.decode(found.body, found.recv_ns)
        except RejectedMessage as error:
            check.find(f"seq {found.seq}: {error}")
            continue
        if decoded is not None and decoded.book is not None:
            last_update = _follow_book(decoded.book, last_update, check)
    return holes


def _check_entry(raw: RawData, path: Place, symbol: str, check: TapeCheck) -> RawPart | None:
    check.parts += 1
    try:
        part = read_entry(path, symbol)
    except (CorruptStore, FileNotFoundError) as error:
        check.find(str(error))
        return None
    _check_part(raw, part, check)
    return part


def _check_segments(folder: Path, holes: list[Hole], check: TapeCheck) -> None:
    """Compare the segments with the log of them, and read what was moved aside."""
    log = read_segment_log(folder)
    for damage in log.damages:
        check.find(damage)
    for segment in segments(folder):
        if segment_name(segment.path) not in log.lines:
            check.find(f"{segment.path}: must be named by {folder / SEGMENT_LOG}, was not")
    for line in gone_segments(folder, log):
        if not any(hole.first_seq <= line.first_seq < (hole.next_seq or line.next_seq) for hole in holes):
            last = f"seq {line.first_seq} to {'at most ' if line.event == 'begun' else ''}{line.next_seq - 1}"
            check.find(f"{last}: {folder / line.segment}: must exist, was gone")
    for aside in matching(folder, f"*/*{ASIDE}*"):
        of_segment = log.lines.get(f"{aside.parent.name}/{aside.name.partition(ASIDE)[0]}")
        for found in read_frames(aside, None if of_segment is None else of_segment.kept_seq):
            if isinstance(found, Frame):
                check.find(f"seq {found.seq}: {aside}: must hold no whole message, was one that the tape lacks")
            elif found.is_tear:
                check.torn_bytes += found.end - found.offset
            elif of_segment is None or not any(hole.first_seq == of_segment.kept_seq for hole in holes):
                check.find(f"{found}; moved aside by a recovery")


def _follow_book(place: BookPlace, last_update: int | None, check: TapeCheck) -> int | None:
    """The book's update id after a message; None when it is invalid."""
    if place.replaces:
        check.snapshots += 1
        return place.last_id
    step = Step.REPEATED if last_update is None else step_after(last_update, place.first_id, place.last_id)
    if step is Step.GAP:
        check.book_gaps += 1
        return None
    return place.last_id if step is Step.FOLLOWS else last_update


def _check_part(raw: RawData, part: RawPart, check: TapeCheck) -> None:
    for file in part.files:
        path = raw.place / file.path
        if not path.is_file():
            check.find(f"{path}: must exist, as its manifest says, was no file")
        elif (digest := file_sha256(path)) != file.sha256:
            check.find(f"{path}: must have the checksum of its manifest, {file.sha256}, was {digest}")
    if part.source is None:
        return
    segment = raw.folder / part.source.path
    if not segment.is_file():
        check.find(f"{segment}: must exist, as the manifest of {part.name} says, was no file")
    elif (digest := file_sha256(segment)) != part.source.sha256:
        check.find(f"{segment}: must have the checksum of its manifest, {part.source.sha256}, was {digest}")


def _type_of(body: bytes, venue: Venue) -> str:
    stated = venue.stated(body)
    # A position manager's message alone has no topic.
    return "position" if stated is None else stated.stream
