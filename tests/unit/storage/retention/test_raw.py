"""Retention: what is archived comes back to the bit, and nothing in use is deleted without a word."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from market.clock import DAY_NS
from market.errors import Conflict, CorruptStore, NotFound, StoreUnavailable
from market.events import KIND_COUNT, TRADE, Events, empty_events, mark_message
from market.instruments import Instrument
from storage.raw.events import read_events
from storage.raw.manifest import TapeSource
from storage.raw.parquet import PartWriter
from storage.raw.raw_data import RawData
from storage.retention.raw import archive_parts, delete_parts, expired_parts, restore_parts
from storage.tape import TapeWriter, read_tape
from storage.tape.segment_log import gone_segments, read_segment_log
from storage.tape.segments import segments, tape_folder

BTC = Instrument("BTCUSDT", 3, 6)
MIDNIGHT_NS = 20_000 * DAY_NS


def trade(seq: int, recv_ns: int) -> Events:
    records = empty_events(1)
    records["seq"], records["recv_ns"], records["kind"], records["px"] = seq, recv_ns, TRADE, 1
    return mark_message(records)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three days, one message and one part each."""
    root = tmp_path / "raw"
    with TapeWriter(root, BTC.symbol) as writer:
        for day in range(3):
            writer.append(MIDNIGHT_NS + day * DAY_NS, b"message")
    for day, segment in enumerate(segments(tape_folder(root, BTC.symbol))):
        with PartWriter(root, BTC, part=str(day), decoder_version=1) as part:
            part.append(trade(day + 1, MIDNIGHT_NS + day * DAY_NS))
            content = segment.path.read_bytes()
            part.commit(
                TapeSource(
                    path=segment.path.relative_to(root).as_posix(),
                    size=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                    messages=1,
                )
            )
    return root


def contents(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.suffix in {".parquet", ".json", ".log"}]
    # The segment log has a line more for each departure and return.
    files = [path for path in files if path.name != "segments.index"]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def seqs(root: Path) -> list[int]:
    found: list[int] = read_events(RawData(root), BTC.symbol, kinds=range(KIND_COUNT), from_ns=0, to_ns=2**62)[
        "seq"
    ].tolist()
    return found


def test_what_is_older_is_archived_and_comes_back_to_the_bit(raw: Path, tmp_path: Path) -> None:
    before = contents(raw)
    expired = expired_parts(RawData(raw), BTC.symbol, MIDNIGHT_NS + DAY_NS + 1)
    assert [part.name for part in expired] == ["0", "1"]
    assert archive_parts(RawData(raw), tmp_path / "archive", expired) > 0
    assert seqs(raw) == [3]
    assert [frame.seq for frame in read_tape(raw, BTC.symbol)] == [3]
    folder = tape_folder(raw, BTC.symbol)
    assert gone_segments(folder, read_segment_log(folder)) == []
    assert restore_parts(RawData(raw), tmp_path / "archive", BTC.symbol) == 2
    assert contents(raw) == before
    assert archive_parts(RawData(raw), tmp_path / "archive", expired) > 0
    assert seqs(raw) == [3]


def test_the_newest_segment_stays_so_that_no_seq_is_given_twice(raw: Path, tmp_path: Path) -> None:
    expired = expired_parts(RawData(raw), BTC.symbol, MIDNIGHT_NS + 9 * DAY_NS)
    assert [part.name for part in expired] == ["0", "1"]
    delete_parts(RawData(raw), expired, used_by=())
    assert [part.name for part in RawData(raw).parts(BTC.symbol)] == ["2"]
    with TapeWriter(raw, BTC.symbol) as writer:
        assert writer.next_seq == 4


def test_what_a_dataset_is_made_of_is_not_deleted_without_a_word(raw: Path) -> None:
    before = contents(raw)
    expired = expired_parts(RawData(raw), BTC.symbol, MIDNIGHT_NS + DAY_NS)
    with pytest.raises(Conflict, match="was used by d17"):
        delete_parts(RawData(raw), expired, used_by=["d17"])
    assert contents(raw) == before


def test_a_disk_that_lets_nothing_go_is_named(raw: Path) -> None:
    expired = expired_parts(RawData(raw), BTC.symbol, MIDNIGHT_NS + DAY_NS)
    path = raw / expired[0].files[0].path
    path.unlink()
    path.mkdir()  # root may remove files from a read-only folder
    with pytest.raises(StoreUnavailable, match=f"{raw}: cannot be written: .*{path.name}"):
        delete_parts(RawData(raw), expired, used_by=())


def test_a_damaged_file_is_not_archived_and_stays(raw: Path, tmp_path: Path) -> None:
    expired = expired_parts(RawData(raw), BTC.symbol, MIDNIGHT_NS + DAY_NS)
    path = raw / expired[0].files[0].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptStore, match=str(path)):
        archive_parts(RawData(raw), tmp_path / "archive", expired)
    assert path.is_file()
    assert len(RawData(raw).parts(BTC.symbol)) == 3
    with pytest.raises(NotFound, match="must hold parts of BTCUSDT"):
        restore_parts(RawData(raw), tmp_path / "archive", BTC.symbol)


def test_an_archive_cut_short_goes_on(raw: Path, tmp_path: Path) -> None:
    expired = expired_parts(RawData(raw), BTC.symbol, MIDNIGHT_NS + DAY_NS)
    copy = tmp_path / "archive" / expired[0].files[0].path
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"half")
    archive_parts(RawData(raw), tmp_path / "archive", expired)
    assert np.array_equal(seqs(raw), [2, 3])
    restore_parts(RawData(raw), tmp_path / "archive", BTC.symbol)
    assert seqs(raw) == [1, 2, 3]


def test_a_segment_that_is_restored_to_another_folder_is_known_there(raw: Path, tmp_path: Path) -> None:
    archive_parts(RawData(raw), tmp_path / "archive", expired_parts(RawData(raw), BTC.symbol, MIDNIGHT_NS + DAY_NS + 1))
    elsewhere = tmp_path / "elsewhere"
    assert restore_parts(RawData(elsewhere), tmp_path / "archive", BTC.symbol) == 2
    folder = tape_folder(elsewhere, BTC.symbol)
    assert [line.first_seq for line in read_segment_log(folder).lines.values()] == [1, 2]
    segments(folder)[1].path.unlink()
    assert [line.first_seq for line in gone_segments(folder, read_segment_log(folder))] == [2]
    with TapeWriter(elsewhere, BTC.symbol) as writer:
        assert writer.next_seq == 3
