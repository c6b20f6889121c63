"""Compaction: each finished segment one part, made once, the same bytes, and repaired from the tape when damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestion.tape.compaction import compact_tape, part_name
from market.clock import HOUR_NS
from market.errors import CorruptStore
from storage.instruments import InstrumentPins
from storage.raw.manifest import entry_path
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter
from tests.compacted_tapes import MIDNIGHT_NS, SYMBOL, compact, contents, events, seqs, tape_segments, trade, write_tape
from tests.dead_writers import reopened


def test_each_finished_segment_becomes_a_part_once_and_a_live_one_waits(tmp_path: Path) -> None:
    write_tape(tmp_path, [-1, 0, 1])
    with TapeWriter(tmp_path, SYMBOL) as writer:
        writer.append(MIDNIGHT_NS + 2 * HOUR_NS, trade(16, MIDNIGHT_NS + 2 * HOUR_NS))
        writer.sync()
        assert compact(tmp_path) == (3, 0)
        assert compact(tmp_path) == (0, 3)
    assert seqs(tmp_path) == list(range(1, 16))
    assert compact(tmp_path) == (1, 3)
    assert seqs(tmp_path) == list(range(1, 17))
    parts = RawData(tmp_path).parts(SYMBOL)
    assert [(part.first_seq, part.last_seq) for part in parts] == [(1, 5), (6, 10), (11, 15), (16, 16)]
    for part, segment in zip(parts, tape_segments(tmp_path), strict=True):
        assert part.source is not None
        assert tmp_path / part.source.path == segment
        assert part.source.messages == part.last_seq - part.first_seq + 1


def test_a_segment_whose_writer_died_is_finished_and_compacted_without_what_the_crash_tore(tmp_path: Path) -> None:
    write_tape(tmp_path, [0, 1])
    dead = tape_segments(tmp_path)[-1]
    dead.write_bytes(dead.read_bytes()[:-7])
    reopened(dead)
    done = compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    assert (done.made, done.messages, done.holes) == (2, 9, ())
    assert done.torn_bytes == len(trade(10, MIDNIGHT_NS)) + 24 - 7
    assert seqs(tmp_path) == list(range(1, 10))
    assert dead.is_file()
    assert [path.name for path in dead.parent.glob("*.torn-*")] == [f"{dead.name}.torn-{dead.stat().st_size}"]
    assert compact(tmp_path) == (0, 2)


def test_a_segment_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    write_tape(tmp_path, [0])
    with TapeWriter(tmp_path, SYMBOL) as writer:
        writer.append(MIDNIGHT_NS + HOUR_NS, trade(6, MIDNIGHT_NS + HOUR_NS))
        writer.sync()
        (live,) = (tmp_path / "tape" / SYMBOL).glob("*/*.open")
        assert compact(tmp_path) == (1, 0)
        assert live.is_file()
        writer.append(MIDNIGHT_NS + HOUR_NS + 1, trade(7, MIDNIGHT_NS + HOUR_NS))
    assert compact(tmp_path) == (1, 1)
    assert seqs(tmp_path) == [1, 2, 3, 4, 5, 6, 7]


def test_the_same_tape_gives_the_same_bytes_again(tmp_path: Path) -> None:
    write_tape(tmp_path, [0, 1])
    compact(tmp_path)
    before = contents(tmp_path)
    for path in (tmp_path / "manifest").rglob("*.json"):
        path.unlink()
    assert compact(tmp_path) == (2, 0)
    assert contents(tmp_path) == before


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "a half-written Parquet": lambda _entry, file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "a missing Parquet": lambda _entry, file: file.unlink(),
    "a corrupted manifest": lambda entry, _file: entry.write_bytes(
        entry.read_bytes().replace(b"raw_trades", b"raw_tradez")
    ),
    "a truncated manifest": lambda entry, _file: entry.write_bytes(entry.read_bytes()[:30]),
    "an empty manifest": lambda entry, _file: entry.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_the_next_compaction_repairs_it_from_the_tape(tmp_path: Path, damage: str) -> None:
    write_tape(tmp_path, [0, 1])
    compact(tmp_path)
    before = contents(tmp_path)
    part = RawData(tmp_path).parts(SYMBOL)[0]
    entry, file = entry_path(tmp_path, SYMBOL, part.name), tmp_path / part.files[0].path
    DAMAGES[damage](entry, file)
    with pytest.raises(CorruptStore, match=f"{entry}|{file}"):
        events(tmp_path)
    assert compact(tmp_path) == (1, 1)
    assert contents(tmp_path) == before


def test_a_part_is_named_after_its_segment(tmp_path: Path) -> None:
    assert part_name(tmp_path / "2024-10-04" / "17-3.log") == "2024-10-04-17-3"
    assert os.fspath(entry_path(tmp_path, SYMBOL, "x")).endswith("manifest/symbol=BTCUSDT/x.json")
