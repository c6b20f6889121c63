"""A tape that was written before segments named a market: it is read, checked, compacted and gone on from as it was."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from ingestion.tape.compaction import compact_tape
from ingestion.tape.report import verify_tape
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import tape_venue
from market.errors import Conflict
from market.events import KIND_COUNT
from market.markets import DEFAULT_MARKET, Market
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter, read_tape, tape_market
from storage.tape.frames import read_head
from storage.tape.segments import segment_paths, tape_folder

OLD_TAPE: Final = Path(__file__).parents[3] / "cases" / "old_tape"
"""Ten messages of every form in two segments, by the code of that time; after a gap the exchange restarts."""
SYMBOL: Final = "BTCUSDT"
RECORDS: Final = "958ee861fbe80ee206e0124b5e1b497c804e3f6cfd3f5bca0287f8f7815127a7"
"""What the code of that time read from the Parquet that it made of them."""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD_TAPE, tmp_path / "raw"))


def records(raw: Path) -> str:
    """A digest of every field of every record."""
    events = read_events(RawData(raw), SYMBOL, kinds=range(KIND_COUNT), from_ns=0, to_ns=2**62)
    return sha256(repr(events.tolist()).encode()).hexdigest()


def test_it_is_of_the_market_that_there_was_and_has_the_records_that_it_had(raw: Path) -> None:
    assert tape_market(raw, SYMBOL) == DEFAULT_MARKET
    assert tape_venue(raw, SYMBOL) is BYBIT
    assert [frame.seq for frame in read_tape(raw, SYMBOL)] == list(range(1, 11))
    assert compact_tape(raw, SYMBOL, InstrumentPins(raw)).messages == 10
    assert records(raw) == RECORDS
    check = verify_tape(raw, SYMBOL, InstrumentPins(raw))
    assert (check.findings, check.snapshots, check.book_gaps) == ([], 2, 1)


def test_it_goes_on_in_segments_that_name_the_market_and_in_no_other(raw: Path) -> None:
    with pytest.raises(Conflict, match=r"must be of one market, bybit linear, was asked for bybit spot$"):
        TapeWriter(raw, SYMBOL, market=Market("bybit", "spot"))
    last_ns = [frame.recv_ns for frame in read_tape(raw, SYMBOL)][-1]
    with TapeWriter(raw, SYMBOL) as writer:
        assert writer.append(last_ns + 1, b"eleven") == 11
    heads = [read_head(path) for path in sorted(segment_paths(tape_folder(raw, SYMBOL)))]
    assert heads == [None, None, DEFAULT_MARKET]
    assert [frame.seq for frame in read_tape(raw, SYMBOL)] == list(range(1, 12))
