"""Compaction: each finished segment one part, made once, the same bytes, and a readable store whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingestion.tape.compaction import compact_tape, part_name
from ingestion.tape.report import verify_tape
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, SECOND_NS
from market.errors import CorruptStore
from market.events import CONTROL, KIND_COUNT, TRADE, Events
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.manifest import entry_path
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter
from tests.dead_writers import reopened

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS
EVER = {"from_ns": 0, "to_ns": 2**62}


def trade(number: int, at_ns: int) -> bytes:
    element = {
        "T": at_ns // MILLISECOND_NS,
        "s": SYMBOL,
        "S": "Buy",
        "v": "0.5",
        "p": f"{60_000 + number}",
        "i": str(number),
    }
    message = {"topic": f"publicTrade.{SYMBOL}", "type": "snapshot", "ts": at_ns // MILLISECOND_NS, "data": [element]}
    return json.dumps(message).encode()


def write_tape(root: Path, hours: list[int], *, a_segment: int = 5) -> None:
    """Trades, ``a_segment`` in each of the hours after midnight."""
    InstrumentPins(root).pin(SYMBOL, "60000.5")
    with TapeWriter(root, SYMBOL) as writer:
        for hour in hours:
            for index in range(a_segment):
                at_ns = MIDNIGHT_NS + hour * HOUR_NS + index * SECOND_NS
                writer.append(at_ns, trade(writer.next_seq, at_ns))


def compact(root: Path) -> tuple[int, int]:
    done = compact_tape(root, SYMBOL, InstrumentPins(root))
    return done.made, done.kept


def events(root: Path) -> Events:
    return read_events(RawData(root), SYMBOL, kinds=range(KIND_COUNT), **EVER)


def seqs(root: Path) -> list[int]:
    found = events(root)
    return [int(seq) for seq in found["seq"][found["kind"] == TRADE]]


def contents(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.suffix in {".parquet", ".json"}]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def tape_segments(root: Path) -> list[Path]:
    return sorted((root / "tape" / SYMBOL).glob("*/*.log"))


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


KILLED = """
import os, signal, sys
from pathlib import Path
import storage.durable_files, storage.raw.parquet, storage.raw.manifest
from ingestion.tape.compaction import compact_tape
from storage.instruments import InstrumentPins
left = int(sys.argv[2])
real = {name: getattr(os, name) for name in ("fsync", "replace", "open", "unlink")}
def counted(name):
    def step(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*arguments, **options)
    return step
for name in real:
    setattr(os, name, counted(name))
compact_tape(Path(sys.argv[1]), "BTCUSDT", InstrumentPins(Path(sys.argv[1])))
print(left)
"""


def killed_after(root: Path, steps: int) -> int | None:
    """Compact in a process that dies after so many calls of the system; None when it did, else the calls left."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(steps)],
        cwd=Path(__file__).parents[4],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return int(done.stdout)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return None


def check_killed(folder: Path, steps: list[int]) -> None:
    write_tape(folder / "whole", [0, 1])
    compact(folder / "whole")
    expected = contents(folder / "whole")
    for step in steps:
        root = folder / str(step)
        write_tape(root, [0, 1])
        assert killed_after(root, step) is None
        found = seqs(root)
        assert found in ([], [1, 2, 3, 4, 5], list(range(1, 11)))
        compact(root)
        assert contents(root) == expected
        assert [path for path in root.rglob(".part-*") if path.is_file()] == []


def test_compaction_killed_anywhere_leaves_a_readable_store_that_the_next_one_completes(tmp_path: Path) -> None:
    write_tape(tmp_path / "count", [0, 1])
    left = killed_after(tmp_path / "count", 10_000)
    assert left is not None
    calls = 10_000 - left
    rng = np.random.default_rng(5)
    check_killed(tmp_path, sorted({int(step) for step in rng.integers(0, calls, 4)} | {calls - 1}))


@pytest.mark.soak
def test_compaction_killed_at_every_call_of_the_system_leaves_a_readable_store(tmp_path: Path) -> None:
    write_tape(tmp_path / "count", [0, 1])
    left = killed_after(tmp_path / "count", 10_000)
    assert left is not None
    check_killed(tmp_path, list(range(10_000 - left)))
    print(f"compaction: killed at each of {10_000 - left} calls of the system, none left an unreadable store")


def test_a_part_is_named_after_its_segment(tmp_path: Path) -> None:
    assert part_name(tmp_path / "2024-10-04" / "17-3.log") == "2024-10-04-17-3"
    assert os.fspath(entry_path(tmp_path, SYMBOL, "x")).endswith("manifest/symbol=BTCUSDT/x.json")


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
