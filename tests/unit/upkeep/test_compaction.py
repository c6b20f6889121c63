"""Compaction by itself: only what is lacking is opened, what is made is checked, and one symbol stops no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingestion.tape.report import TapeCheck, verify_parts
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS
from market.errors import CorruptStore
from storage.database.job_worker import Interrupted
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from storage.retention.raw import delete_parts
from storage.tape import TapeWriter
from upkeep.compaction import compact_finished, lacking_parts

MIDNIGHT_NS = 20_000 * DAY_NS


def book(symbol: str, update_id: int, at_ns: int) -> bytes:
    levels = {"s": symbol, "b": [["60000.5", "1"]], "a": [["60001", "2"]], "u": update_id, "seq": update_id * 7}
    topic = f"orderbook.50.{symbol}"
    return json.dumps({"topic": topic, "type": "snapshot", "ts": at_ns // MILLISECOND_NS, "data": levels}).encode()


def write(root: Path, symbol: str, *, hours: range) -> None:
    InstrumentPins(root).pin(symbol, "60000.5")
    with TapeWriter(root, symbol) as writer:
        for hour in hours:
            at_ns = MIDNIGHT_NS + hour * HOUR_NS
            writer.append(at_ns, book(symbol, hour + 2, at_ns))


def damage_last_byte(root: Path) -> str:
    """Of the last segment; the name of the part that it is to become."""
    segment = max((root / "tape").rglob("*.log"))
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    return f"{segment.parent.name}-{segment.stem}"


def done_by(root: Path) -> dict[str, object]:
    return dict(compact_finished(root, InstrumentPins(root), lambda _share: None))


def test_every_finished_segment_becomes_a_checked_part_once(tmp_path: Path) -> None:
    write(tmp_path, "BTCUSDT", hours=range(3))
    write(tmp_path, "ETHUSDT", hours=range(2))
    assert len(lacking_parts(RawData(tmp_path), "BTCUSDT")) == 3
    done = done_by(tmp_path)
    assert (done["symbols"], done["parts_made"], done["parts_verified"], done["messages"]) == (2, 5, 5, 5)
    assert done_by(tmp_path)["symbols"] == 0
    write(tmp_path, "ETHUSDT", hours=range(3, 4))
    done = done_by(tmp_path)
    assert (done["symbols"], done["parts_made"], done["parts_verified"]) == (1, 1, 1)


def test_a_segment_that_is_being_written_waits_and_one_that_a_dead_writer_left_does_not(tmp_path: Path) -> None:
    InstrumentPins(tmp_path).pin("BTCUSDT", "60000.5")
    with TapeWriter(tmp_path, "BTCUSDT") as writer:
        writer.append(MIDNIGHT_NS, book("BTCUSDT", 2, MIDNIGHT_NS))
        writer.sync()
        assert lacking_parts(RawData(tmp_path), "BTCUSDT") == []
    (segment,) = (tmp_path / "tape").rglob("*.log")
    segment.rename(segment.with_suffix(".open"))
    assert len(lacking_parts(RawData(tmp_path), "BTCUSDT")) == 1
    assert done_by(tmp_path)["parts_verified"] == 1


def test_a_symbol_that_cannot_be_compacted_leaves_the_others_to_be_done_and_is_named(tmp_path: Path) -> None:
    write(tmp_path, "BTCUSDT", hours=range(2))
    write(tmp_path, "ETHUSDT", hours=range(2))
    (tmp_path / "tape" / "BTCUSDT" / "not-a-day").mkdir()
    (tmp_path / "tape" / "BTCUSDT" / "not-a-day" / "1.log").write_bytes(b"x")
    with pytest.raises(CorruptStore, match=r"BTCUSDT: .*not-a-day"):
        done_by(tmp_path)
    assert len(RawData(tmp_path).parts("ETHUSDT")) == 2


def test_damage_in_what_was_made_fails_the_run(tmp_path: Path) -> None:
    InstrumentPins(tmp_path).pin("BTCUSDT", "60000.5")
    with TapeWriter(tmp_path, "BTCUSDT") as writer:
        for update_id in (2, 3):
            writer.append(MIDNIGHT_NS, book("BTCUSDT", update_id, MIDNIGHT_NS))
    damage_last_byte(tmp_path)
    with pytest.raises(CorruptStore, match=r"must leave every part whole, was not: BTCUSDT: seq 2"):
        done_by(tmp_path)


def test_a_part_that_retention_removes_before_its_check_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "BTCUSDT", hours=range(3))

    def check_late(root: Path, symbol: str, names: list[str], pins: InstrumentPins, *, place: Path | None) -> TapeCheck:
        raw = RawData(root)
        delete_parts(raw, raw.parts(symbol)[:1], used_by=())
        return verify_parts(root, symbol, names, pins, place=place)

    monkeypatch.setattr("upkeep.compaction.verify_parts", check_late)
    done = done_by(tmp_path)
    assert (done["parts_made"], done["parts_verified"]) == (3, 2)
    assert lacking_parts(RawData(tmp_path), "BTCUSDT") == []


def test_a_segment_without_a_whole_frame_is_named(tmp_path: Path) -> None:
    write(tmp_path, "BTCUSDT", hours=range(2))
    name = damage_last_byte(tmp_path)
    done = done_by(tmp_path)
    assert done["parts_made"] == done["parts_verified"] == 1
    assert done["problems"] == [f"BTCUSDT: segment {name}: must hold a whole frame to become a part, held none"]


def test_a_process_that_stops_leaves_whole_parts_and_the_rest_for_the_next_run(tmp_path: Path) -> None:
    write(tmp_path, "BTCUSDT", hours=range(4))
    told: list[float] = []

    def reach(share: float) -> None:
        told.append(share)
        if share >= 0.5:
            raise Interrupted("upkeep: its process is stopping")

    with pytest.raises(Interrupted):
        compact_finished(tmp_path, InstrumentPins(tmp_path), reach)
    assert told == [0.0, 0.25, 0.5]
    assert len(RawData(tmp_path).parts("BTCUSDT")) == 2
    assert done_by(tmp_path)["parts_made"] == 2
