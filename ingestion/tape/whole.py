"""The whole of a symbol's raw data: raw Parquet and, where it ends, the tape, read as one.

1. Raw Parquet is read where it is, as its manifest has it now; nothing of the store is touched.
2. Every segment of the tape that no part was made of yet, the open one to its last whole frame, becomes a part of the
   scratch folder, as a compaction would make it.
3. The scratch folder is a raw folder like any other, beside which those parts are, and is gone when its reader is done.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ingestion.decoding.scales import Instruments
from ingestion.tape.compaction import needs_no_scale, part_name, write_segment
from ingestion.venues.decoders import Decoders, tape_venue
from market.errors import CorruptStore
from market.markets import DEFAULT_MARKET
from storage.raw.manifest import RawPart
from storage.raw.parquet import PartWriter
from storage.raw.raw_data import PartsOf, RawData
from storage.tape import tape_market
from storage.tape.segment_log import SegmentLog, read_segment_log
from storage.tape.segments import Segment, segments, tape_folder


@contextmanager
def whole_raw(raw: RawData, symbol: str, instruments: Instruments) -> Iterator[RawData]:
    """All that is known of a symbol as raw Parquet while the block lasts; ``raw`` where it has it.

    A message that a feature row of the log was made of is in it, when the row was read before this was called.

    Raises CorruptStore, StoreUnavailable, InvalidRequest when the symbol cannot name a folder.
    """
    parts, tape = raw.parts(symbol), tape_folder(raw.folder, symbol)
    known = {part.name for part in parts}
    lacking = [each for each in segments(tape) if part_name(each.path) not in known]
    if not lacking:
        yield raw
        return
    log, decoders = read_segment_log(tape), Decoders(tape_venue(raw.folder, symbol), instruments)
    instrument = instruments.get(symbol)
    if instrument is None and all(needs_no_scale(each, decoders.venue, log=log) for each in lacking):
        yield raw
        return
    if instrument is None:
        raise CorruptStore(f"{symbol}: must have a pinned scale, like every tape with a number, had none")
    with tempfile.TemporaryDirectory(prefix="feature-service-raw-") as scratch:
        market = tape_market(raw.folder, symbol) or DEFAULT_MARKET
        part_writer = partial(PartWriter, Path(scratch), instrument, market=market)
        _write_parts(part_writer, decoders, parts, lacking, log=log)
        yield RawData(Path(scratch), beside=PartsOf(raw.place, tuple(parts)))


def _write_parts(
    part_writer: Callable[..., PartWriter],
    decoders: Decoders,
    parts: list[RawPart],
    lacking: list[Segment],
    *,
    log: SegmentLog,
) -> None:
    expected: int | None = None
    for segment in lacking:
        # Of the parts before a segment the last one says which seq is due.
        before = [part.last_seq for part in parts if segment.first_seq is None or part.last_seq < segment.first_seq]
        if before:
            expected = max(expected or 0, max(before) + 1)
        version = decoders.segment_version(segment.day)
        with part_writer(part=part_name(segment.path), decoder_version=version) as writer:
            written = write_segment(writer, decoders, segment, expected, log=log)
            if written.seqs is not None:
                writer.commit(seqs=written.seqs)
                expected = written.seqs[1] + 1
