"""The tape's figures and its check: everything there is counted, every damage is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingestion.tape.compaction import compact_tape
from ingestion.tape.report import tape_stats, verify_tape
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, MINUTE_NS
from market.events import CONTROL, KIND_COUNT, Events
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS


def book(update_id: int, at_ns: int, *, kind: str = "delta") -> bytes:
    levels = {"s": SYMBOL, "b": [["60000.5", "1"]], "a": [["60001", "2"]], "u": update_id, "seq": update_id * 7}
    topic = f"orderbook.50.{SYMBOL}"
    return json.dumps({"topic": topic, "type": kind, "ts": at_ns // MILLISECOND_NS, "data": levels}).encode()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two hours of a book a minute, one ``u`` missing in the second, compacted."""
    InstrumentPins(tmp_path).pin(SYMBOL, "60000.5")
    with TapeWriter(tmp_path, SYMBOL) as writer:
        for index in range(6):
            at_ns = MIDNIGHT_NS + index // 3 * HOUR_NS + index % 3 * 2 * MINUTE_NS
            update_id = index + 1 + (index >= 4)
            writer.append(at_ns, book(update_id, at_ns, kind="snapshot" if index == 0 else "delta"))
    compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    return tmp_path


def test_the_figures_are_those_of_the_messages(raw: Path) -> None:
    (stats,) = tape_stats(raw, SYMBOL)
    assert (stats.symbol, stats.date, stats.type, stats.messages) == (SYMBOL, "2024-10-04", "orderbook.50", 6)
    assert stats.by_hour[:3] == [3, 3, 0]
    assert stats.gaps == 65 - 6
    assert stats.coverage == 6 / 1440
    assert stats.picture == "██" + " " * 22
    assert stats.size == sum(len(book(i, MIDNIGHT_NS)) for i in range(1, 6)) + len(
        book(7, MIDNIGHT_NS, kind="snapshot")
    )


def test_a_whole_tape_is_whole_and_a_u_that_the_source_lost_is_counted_but_no_damage(raw: Path) -> None:
    check = verify_tape(raw, SYMBOL, InstrumentPins(raw))
    assert check.is_whole
    assert (check.messages, check.snapshots, check.book_gaps, check.parts) == (6, 1, 1, 2)


def flip(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def first(raw: Path, pattern: str) -> Path:
    return min(raw.rglob(pattern))


def gone(path: Path) -> Path:
    path.unlink()
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def zero_tail(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    return path


def last(raw: Path, pattern: str) -> Path:
    return max(raw.rglob(pattern))


DAMAGES: dict[str, Callable[[Path], Path]] = {
    "a bit of the tape": lambda raw: flip(first(raw, "*.log")),
    "a segment cut off": lambda raw: cut(first(raw, "*.log")),
    "the last segment cut off": lambda raw: cut(last(raw, "*.log")),
    "a segment's tail of zeros": lambda raw: zero_tail(first(raw, "*.log")),
    "the last segment's tail of zeros": lambda raw: zero_tail(last(raw, "*.log")),
    "a missing segment": lambda raw: gone(first(raw, "*.log")),
    "a missing last segment": lambda raw: gone(last(raw, "*.log")),
    "a bit of Parquet": lambda raw: flip(first(raw, "*.parquet")),
    "half a Parquet": lambda raw: cut(first(raw, "*.parquet")),
    "a Parquet's tail of zeros": lambda raw: zero_tail(first(raw, "*.parquet")),
    "a missing Parquet": lambda raw: gone(first(raw, "*.parquet")),
    "a bit of the manifest": lambda raw: flip(first(raw / "manifest", "*.json")),
    "half a manifest": lambda raw: cut(first(raw / "manifest", "*.json")),
    "a manifest's tail of zeros": lambda raw: zero_tail(first(raw / "manifest", "*.json")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found_and_its_file_named(raw: Path, damage: str) -> None:
    path = DAMAGES[damage](raw)
    check = verify_tape(raw, SYMBOL, InstrumentPins(raw))
    assert not check.is_whole
    assert any(str(path) in finding for finding in check.findings)


def events(raw: Path) -> Events:
    return read_events(RawData(raw), SYMBOL, kinds=range(KIND_COUNT), from_ns=0, to_ns=2**62)


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_survived(raw: Path, damage: str) -> None:
    """Damage of the tape leaves the Parquet made of it, damage of the Parquet is mended from the tape, both go on."""
    before = events(raw)
    DAMAGES[damage](raw)
    with TapeWriter(raw, SYMBOL) as writer:
        seq = writer.append(MIDNIGHT_NS + 2 * HOUR_NS, book(8, MIDNIGHT_NS + 2 * HOUR_NS))
    compact_tape(raw, SYMBOL, InstrumentPins(raw), is_checked=True)
    after = events(raw)
    assert np.array_equal(after[: len(before)], before)
    assert after["seq"][-1] == seq
    if "Parquet" in damage or "manifest" in damage:
        assert verify_tape(raw, SYMBOL, InstrumentPins(raw)).is_whole


def test_damage_that_was_met_before_it_was_compacted_is_a_hole_that_both_sides_know_of(tmp_path: Path) -> None:
    InstrumentPins(tmp_path).pin(SYMBOL, "60000.5")
    with TapeWriter(tmp_path, SYMBOL) as writer:
        for index in range(6):
            writer.append(MIDNIGHT_NS + index, book(index + 1, MIDNIGHT_NS, kind="delta" if index else "snapshot"))
    flip(first(tmp_path, "*.log"))
    done = compact_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    assert len(done.holes) == 1
    found = events(tmp_path)
    assert np.count_nonzero(found["kind"] == CONTROL) == 1
    check = verify_tape(tmp_path, SYMBOL, InstrumentPins(tmp_path))
    assert check.damages == 1
