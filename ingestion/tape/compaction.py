"""Compaction: the finished segments of a tape to typed raw Parquet.

1. Each finished segment becomes one part, named after it: at most one file a type and date, in tape order. What a
   writer that died left open is finished first, when no writer has the tape.
2. The files are written aside, read back, compared, renamed, and only then named in the manifest: killed anywhere, the
   store holds the part as a whole or not at all, and the next compaction makes it.
3. A segment whose part is in the manifest, made by the decoders of its day and whole, is skipped. The same segment
   gives the same bytes. One that is no longer what its part was made of is damaged: a whole part of it is kept.
4. Where frames of the tape cannot be read, the part holds a START in their place, so that the rebuild knows of the hole
   too; the manifest says why.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingestion.decoding.scales import Instruments
from ingestion.pipeline.marks import hole_records
from ingestion.venues.decoders import Decoders, tape_venue
from ingestion.venues.venue import Venue
from market.errors import CorruptStore, ScaleExceeded
from market.events import Events
from market.instruments import Instrument
from market.markets import DEFAULT_MARKET
from storage.durable_files import file_sha256
from storage.file_locks import exclusive
from storage.objects.names import remembered_names
from storage.places import Place
from storage.raw.manifest import RawPart, TapeSource, entry_path, known_last_seqs, read_entry
from storage.raw.parquet import PartWriter
from storage.raw.raw_data import RawData
from storage.tape import FIRST_SEQ, Hole, tape_market
from storage.tape.reader import read_segments
from storage.tape.recovery import recover_abandoned
from storage.tape.segment_log import SegmentLine, SegmentLog, end_seq, gone_segments, read_segment_log
from storage.tape.segments import Segment, segments, tape_folder
from transforms.tape_order import joined

RECORDS_A_PIECE: Final = 100_000
"""Bounds the memory of a compaction, with some row groups of each table."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """What one compaction did: parts made, parts found whole, messages in the parts made, and every hole met.

    holes: each with its seqs; those after the last segment too. torn_bytes: moved aside from the end of segments whose
    writer died.
    """

    made: int
    kept: int
    messages: int
    holes: tuple[str, ...]
    torn_bytes: int = 0


def compact_tape(  # noqa: PLR0913  # a tape, what reads it, and where it goes
    raw_folder: Path,
    symbol: str,
    instruments: Instruments,
    *,
    on_segment: Callable[[int, int], None] | None = None,
    venue: Venue | None = None,
    is_checked: bool = False,
    place: Place | None = None,
) -> Compaction:
    """Make the parts of every finished segment of a symbol that has none, or a damaged one.

    on_segment: told how many of how many segments are done. venue: whose decoders read it; None is that
        which the tape names. is_checked: look for damage in every byte of the parts that there are, not in their sizes
        alone. place: of raw Parquet; None is the raw folder.

    Raises:
        CorruptStore: what was written was read back otherwise, or seq falls on the tape.
        StoreUnavailable: the disk refused.
        InvalidRequest: the symbol cannot name a folder.
    """
    raw = RawData(raw_folder, place)
    # Of this machine, as the tape is.
    folder = entry_path(raw_folder, symbol, "").parent
    decoders = Decoders(venue or tape_venue(raw_folder, symbol), instruments)
    with exclusive(folder / ".lock"), remembered_names():
        torn_bytes = recover_abandoned(raw_folder, symbol)
        log = read_segment_log(tape_folder(raw_folder, symbol))
        known = segments(tape_folder(raw_folder, symbol))
        finished = [segment for segment in known if not segment.is_open]
        known_seqs = known_last_seqs(raw.place, symbol)
        gone = gone_segments(tape_folder(raw_folder, symbol), log)
        # What went before the first segment that there is shows by nothing else.
        expected: int | None = gone[0].first_seq if gone and known and _is_before(gone[0], known[0]) else None
        made = kept = messages = 0
        holes: list[str] = []
        for done, segment in enumerate(finished, start=1):
            version = decoders.segment_version(segment.day)
            part = _whole_part(raw, symbol, segment, version, is_checked=is_checked)
            if part is None or part.source is None:
                # A segment that is gone is no hole where its part is still there.
                before = bisect_left(known_seqs, segment.first_seq or 0)
                if before > 0:
                    expected = max(expected or 0, known_seqs[before - 1] + 1)
                part = _compact_segment(raw, instruments.get(symbol), decoders, segment, expected, log=log)
                made += part is not None
                messages += 0 if part is None or part.source is None else part.source.messages
            else:
                kept += 1
            if part is not None and part.source is not None:
                expected = part.last_seq + 1
                holes += part.source.holes
            if on_segment is not None:
                on_segment(done, len(finished))
        # No segment follows that would show it, and the next one begins after it.
        first_seq = max([FIRST_SEQ, expected or 0, *(seq + 1 for seq in known_seqs[-1:])])
        given_seq = end_seq(tape_folder(raw_folder, symbol), log)
        if len(finished) == len(known) and first_seq < given_seq:
            holes.append(str(Hole(first_seq, given_seq, 0, log.lost(first_seq) or "must be on the tape, was gone")))
    return Compaction(made, kept, messages, tuple(holes), torn_bytes)


def _is_before(gone: SegmentLine, segment: Segment) -> bool:
    return segment.first_seq is not None and gone.first_seq < segment.first_seq


def part_name(segment: Path) -> str:
    """The name of the part that a segment becomes."""
    return f"{segment.parent.name}-{segment.stem}"


@dataclass(frozen=True, slots=True)
class Written:
    """What a segment gave to a part: first and last seq, None without a whole frame, messages, and the holes met."""

    seqs: tuple[int, int] | None
    messages: int
    holes: tuple[str, ...]


def write_segment(
    writer: PartWriter, decoders: Decoders, segment: Segment, expected: int | None, *, log: SegmentLog
) -> Written:
    """Write the records of a segment's frames, with a START in the place of each hole.

    expected: the seq that its first frame should have, if known.
    """
    symbol = segment.path.parent.parent.name
    holes: list[str] = []
    seqs: tuple[int, int] | None = None
    messages = count = 0
    pieces: list[Events] = []
    for found in read_segments([segment], log=log, expected=expected):
        if isinstance(found, Hole):
            holes.append(str(found))
            if found.next_seq is None:
                continue  # what follows, in the next segment, shows how far it reaches
            records = hole_records(decoders, symbol, found)
        else:
            decoded = decoders.decode(found.body, found.recv_ns)
            assert decoded is not None, "only messages with market data are logged"
            records = decoded.stamped(found.recv_ns, found.seq)
            seqs = (found.seq if seqs is None else seqs[0]), found.seq
            messages += 1
        pieces.append(records)
        count += len(records)
        if count >= RECORDS_A_PIECE:
            writer.append(joined(pieces))
            pieces, count = [], 0
    if seqs is not None and pieces:
        writer.append(joined(pieces))
    return Written(seqs, messages, tuple(holes))


def _compact_segment(
    raw: RawData,
    instrument: Instrument | None,
    decoders: Decoders,
    segment: Segment,
    expected: int | None,
    *,
    log: SegmentLog,
) -> RawPart | None:
    """The part made of a segment; None when it has no whole frame."""
    symbol = segment.path.parent.parent.name
    if instrument is None:
        if not needs_no_scale(segment, decoders.venue, log=log):
            raise CorruptStore(f"{symbol}: must have a pinned scale, like every tape with a number, had none")
        return None  # its part is made once there is a scale
    name = part_name(segment.path)
    version = decoders.segment_version(segment.day)
    market = tape_market(raw.folder, symbol) or DEFAULT_MARKET
    with PartWriter(raw.place, instrument, part=name, decoder_version=version, market=market) as writer:
        written = write_segment(writer, decoders, segment, expected, log=log)
        if written.seqs is None:
            return None
        source = TapeSource(
            path=segment.path.relative_to(raw.folder).as_posix(),
            size=segment.path.stat().st_size,
            sha256=file_sha256(segment.path),
            messages=written.messages,
            holes=written.holes,
        )
        writer.commit(source, seqs=written.seqs)
    return read_entry(entry_path(raw.place, symbol, name), symbol)


class _NoPins:
    """Instruments of which none is pinned nor can be."""

    def get(self, symbol: str) -> Instrument | None:  # noqa: ARG002  # of none
        return None

    def pin(self, symbol: str, price_text: str) -> Instrument:
        raise ScaleExceeded(f"{symbol}: must have a pinned scale for {price_text}, was without")


def needs_no_scale(segment: Segment, venue: Venue, *, log: SegmentLog) -> bool:
    """Whether no message of a segment has a number that a scale is needed for: a market opened and has no price yet."""
    decoders = Decoders(venue, _NoPins())
    try:
        for found in read_segments([segment], log=log):
            if not isinstance(found, Hole):
                decoders.decode(found.body, found.recv_ns)
    except ScaleExceeded:
        return False
    return True


def _whole_part(raw: RawData, symbol: str, segment: Segment, version: int, *, is_checked: bool) -> RawPart | None:
    """The part of a segment as the manifest has it; None when it is missing, damaged or of other decoders."""
    try:
        part = read_entry(entry_path(raw.place, symbol, part_name(segment.path)), symbol)
    except (FileNotFoundError, CorruptStore):
        return None
    if part.source is None:
        return None
    for file in part.files:
        path = raw.place / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            return None
        if is_checked and file_sha256(path) != file.sha256:
            return None
    if part.decoder_version != version and file_sha256(segment.path) == part.source.sha256:
        return None
    return part
