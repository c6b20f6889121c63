"""Damage of a tape that is compacted: named with its seqs by compaction and check, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.tape.compaction import compact_tape
from ingestion.tape.report import verify_tape
from market.clock import HOUR_NS
from market.events import CONTROL
from storage.instruments import InstrumentPins
from storage.tape import TapeWriter
from tests.compacted_tapes import MIDNIGHT_NS, SYMBOL, compact, events, seqs, tape_segments, trade, write_tape
from tests.dead_writers import reopened


def test_a_hole_of_the_tape_is_a_start_in_its_place_and_in_the_manifest(tmp_path: Path) -> None:
    write_tape(tmp_path, [0, 1, 2, 3])
    first, second, third, _ = tape_segments(tmp_path)
    second.unlink()
    damaged = bytearray(third.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    third.write_bytes(damaged)
    done = compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    assert (done.made, done.messages) == (3, 14)
    assert len(done.holes) == 2
    assert done.holes[0].startswith(f"seq 6 to 10: {third}: seq must be 6, was 11")
    assert done.holes[1].startswith(f"seq 13 to 13: {third} at offset")
    assert first.is_file()
    found = events(tmp_path)
    assert found["seq"][found["kind"] == CONTROL].tolist() == [6, 13]
    assert found["seq"].tolist() == [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]
    assert compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path)).holes == done.holes


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [-1, -400, 30])
def test_damage_of_a_segment_whose_writer_died_is_named_by_the_compaction_that_finishes_it(
    tmp_path: Path, at: int
) -> None:
    write_tape(tmp_path, [0, 1])
    dead = reopened(tape_segments(tmp_path)[-1])
    flip(dead, at)
    hit = {-1: 10, -400: 8, 30: 6}[at]
    done = compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    assert done.messages == 9
    (hole,) = done.holes
    assert hole.startswith(f"seq {hit} to {hit}: ")
    assert compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path)).holes == (hole,)
    assert seqs(tmp_path) == [seq for seq in range(1, 11) if seq != hit]
    check = verify_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    assert (check.messages, check.damages) == (9, 1)
    assert check.findings[0].startswith(f"seq {hit} to {hit}: ")
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert writer.append(MIDNIGHT_NS + 3 * HOUR_NS, trade(11, MIDNIGHT_NS + 3 * HOUR_NS)) == 11
    assert compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path)).holes[0].startswith(f"seq {hit} to {hit}: ")
    found = events(tmp_path)
    assert found["seq"][found["kind"] == CONTROL].tolist() == [hit]
    assert verify_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path)).damages == 1


@pytest.mark.parametrize("at", [3, 12])
def test_a_damaged_head_costs_no_message_and_stops_no_compaction(tmp_path: Path, at: int) -> None:
    write_tape(tmp_path, [0, 1])
    flip(reopened(tape_segments(tmp_path)[-1]), at)
    done = compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    assert done.messages == 10
    assert done.holes[0].startswith("before seq 6: ")
    assert seqs(tmp_path) == list(range(1, 11))
    assert verify_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path)).damages == 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_segment_that_went_before_it_was_compacted_is_named_with_its_seqs(tmp_path: Path, number: int) -> None:
    write_tape(tmp_path, [0, 1, 2])
    gone = tape_segments(tmp_path)[number]
    gone.unlink()
    first, last = 5 * number + 1, 5 * number + 5
    for check in (verify_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path)),) * 2:
        assert check.damages == 1
        assert check.findings[0].startswith(f"seq {first} to {last}: ")
        assert f"{gone.parent.name}/{gone.name}" in check.findings[0]
        assert "must exist, was gone" in check.findings[0]
        (hole,) = compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path)).holes
        assert hole.startswith(f"seq {first} to {last}: ")
    assert TapeWriter(tmp_path, SYMBOL).next_seq == 16


def test_what_a_crash_tore_is_no_damage(tmp_path: Path) -> None:
    write_tape(tmp_path, [0])
    dead = reopened(tape_segments(tmp_path)[-1])
    dead.write_bytes(dead.read_bytes()[:-7])
    compact(tmp_path)
    check = verify_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    assert (check.messages, check.damages) == (4, 0)
    assert check.torn_bytes == len(trade(5, MIDNIGHT_NS)) + 24 - 7
