"""What a crash or a damaged disk leaves of a tape is never taken for more, and costs no other message."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from market.errors import CorruptStore
from storage.tape import Frame, Hole, TapeWriter, read_tape, read_tape_and_holes, recovery
from storage.tape.frames import add_frame
from tests.dead_writers import reopened
from tests.tape_segments import HEAD_BYTES, HEADER_BYTES, MIDNIGHT_NS, SYMBOL, Recorder, segments


def aside(segment: Path, offset: int) -> Path:
    """Where recovery puts what follows ``offset``."""
    return segment.with_name(f"{segment.name}.torn-{offset}")


def test_a_torn_tail_loses_only_the_unfinished_frame(tmp_path: Path, record: Recorder) -> None:
    frames = record([(MIDNIGHT_NS + index, bytes([index]) * 9) for index in range(3)])
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    log = tmp_path / "tape" / SYMBOL / "segments.index"
    logged = log.read_bytes()
    frame_bytes = (len(whole) - HEAD_BYTES) // 3
    kept_bytes = HEAD_BYTES + 2 * frame_bytes
    for cut in range(1, frame_bytes):
        segment.write_bytes(whole[:-cut])
        log.write_bytes(logged)
        reopened(segment)
        assert list(read_tape(tmp_path, SYMBOL)) == frames[:2]
        with TapeWriter(tmp_path, SYMBOL) as writer:
            assert writer.next_seq == 3
            assert writer.last_recv_ns == MIDNIGHT_NS + 1
            assert writer.torn_bytes == frame_bytes - cut
        assert aside(segment, kept_bytes).read_bytes() == whole[kept_bytes : len(whole) - cut]
        assert segment.read_bytes() == whole[:kept_bytes]


def test_a_torn_tail_is_off_the_disk_before_its_segment_gets_its_last_name(
    tmp_path: Path, record: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that dies in between must not leave a finished segment with a tail that nothing moves aside."""
    record([(MIDNIGHT_NS, b"a")])
    (segment,) = segments(tmp_path)
    size = segment.stat().st_size
    segment.write_bytes(segment.read_bytes() + b"torn")
    opened = reopened(segment)
    synced: dict[int, int] = {}
    named: list[int | None] = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced[found.st_ino] = found.st_size

    def finish(path: Path, **sync: Callable[[Path], object]) -> Path:
        named.append(synced.get(opened.stat().st_ino))
        return finish_segment(path, **sync)

    finish_segment = recovery.finish_segment
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(recovery, "finish_segment", finish)
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert writer.torn_bytes == 4
    assert named == [size]


def test_a_tail_of_zeros_is_moved_aside_and_counts_as_the_frames_that_it_may_have_been(
    tmp_path: Path, record: Recorder
) -> None:
    frames = record([(MIDNIGHT_NS, b"a")])
    (segment,) = segments(tmp_path)
    size = segment.stat().st_size
    segment.write_bytes(segment.read_bytes() + bytes(4096))
    reopened(segment)
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.torn_bytes) == (2 + 171, 4096)
    assert aside(segment, size).read_bytes() == bytes(4096)
    found = list(read_tape_and_holes(tmp_path, SYMBOL))
    assert found[:1] == frames
    (hole,) = found[1:]
    assert isinstance(hole, Hole)
    assert (hole.first_seq, hole.next_seq) == (2, 173)


def test_a_first_frame_that_is_torn_takes_its_segment_aside_and_its_seq_is_given_again(
    tmp_path: Path, record: Recorder
) -> None:
    frames = record([(MIDNIGHT_NS, b"a")])
    record([(MIDNIGHT_NS + 1, b"b")])
    torn = segments(tmp_path)[-1]
    torn.write_bytes(torn.read_bytes()[:-1])
    reopened(torn)
    assert list(read_tape(tmp_path, SYMBOL)) == frames

    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.torn_bytes) == (2, HEADER_BYTES)
    assert segments(tmp_path) == [segments(tmp_path)[0]]
    assert aside(torn, HEAD_BYTES).stat().st_size == HEADER_BYTES


def test_an_empty_open_segment_is_cleared_away_in_silence(tmp_path: Path, record: Recorder) -> None:
    frames = record([(MIDNIGHT_NS, b"a")])
    empty = segments(tmp_path)[0].with_name(f"{MIDNIGHT_NS + 1}.open")
    empty.touch()
    assert list(read_tape(tmp_path, SYMBOL)) == frames

    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert writer.torn_bytes == 0
    assert not empty.exists()


def test_recovery_keeps_what_is_around_damage_in_its_place(tmp_path: Path, record: Recorder) -> None:
    frames = record([(MIDNIGHT_NS + index, b"abc") for index in range(5)])
    (segment,) = segments(tmp_path)
    damaged = bytearray(segment.read_bytes())
    size = (len(damaged) - HEAD_BYTES) // 5
    damaged[HEAD_BYTES + 2 * size + HEADER_BYTES] ^= 1
    segment.write_bytes(damaged)
    reopened(segment)
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.torn_bytes) == (6, 0)
    assert segment.read_bytes() == damaged
    found = list(read_tape_and_holes(tmp_path, SYMBOL))
    hole = found.pop(2)
    assert isinstance(hole, Hole)
    assert (hole.first_seq, hole.next_seq, hole.recv_ns) == (3, 4, MIDNIGHT_NS + 3)
    assert found == [frame for frame in frames if frame.seq != 3]


def test_a_frame_in_the_body_of_a_damaged_one_is_not_taken_for_it(tmp_path: Path, record: Recorder) -> None:
    inner = bytearray()
    add_frame(inner, 2, MIDNIGHT_NS, b"never received")
    frames = record([(MIDNIGHT_NS, b"a"), (MIDNIGHT_NS + 1, bytes(inner)), (MIDNIGHT_NS + 2, b"c")])
    (segment,) = segments(tmp_path)
    damaged = bytearray(segment.read_bytes())
    damaged[HEAD_BYTES + HEADER_BYTES + len(b"a") + 4] ^= 1  # of its checksum
    segment.write_bytes(damaged)
    first, hole, last = read_tape_and_holes(tmp_path, SYMBOL)
    assert [first, last] == [frames[0], frames[2]]
    assert isinstance(hole, Hole)
    assert (hole.first_seq, hole.next_seq) == (2, 3)


def test_every_flipped_bit_in_a_finished_segment_is_named_and_costs_that_frame_alone(
    tmp_path: Path, record: Recorder
) -> None:
    frames = record([(MIDNIGHT_NS + index, b"aa") for index in range(3)])
    frames += record([(MIDNIGHT_NS + 3, b"cc")])
    first = segments(tmp_path)[0]
    whole = first.read_bytes()
    size = (len(whole) - HEAD_BYTES) // 3
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        first.write_bytes(damaged)
        # A damaged head costs no frame.
        index = (position - HEAD_BYTES) // size if position >= HEAD_BYTES else None
        offset = 0 if index is None else HEAD_BYTES + index * size
        with pytest.raises(CorruptStore, match=f"{first} at offset {offset}: "):
            list(read_tape(tmp_path, SYMBOL))
        found = list(read_tape_and_holes(tmp_path, SYMBOL))
        holes = [each for each in found if isinstance(each, Hole)]
        assert len(holes) == 1
        kept = [each for each in found if isinstance(each, Frame)]
        assert kept == [frame for frame in frames if index is None or frame.seq != index + 1]
        with TapeWriter(tmp_path, SYMBOL) as writer:
            assert (writer.next_seq, writer.torn_bytes) == (5, 0)


@pytest.mark.parametrize("cut", ["truncated", "zeros"])
def test_the_damaged_end_of_the_last_finished_segment_is_a_hole_and_its_seqs_are_not_given_again(
    tmp_path: Path, record: Recorder, cut: str
) -> None:
    frames = record([(MIDNIGHT_NS + index, b"aa") for index in range(3)])
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    kept = whole[: HEAD_BYTES + (len(whole) - HEAD_BYTES) // 3 + 5]
    segment.write_bytes(kept if cut == "truncated" else kept + bytes(len(whole) - len(kept)))
    with pytest.raises(CorruptStore, match=str(segment)):
        list(read_tape(tmp_path, SYMBOL))
    found = list(read_tape_and_holes(tmp_path, SYMBOL))
    assert found[0] == frames[0]
    assert isinstance(found[1], Hole)
    assert (found[1].first_seq, found[1].next_seq) == (2, None)
    with TapeWriter(tmp_path, SYMBOL) as writer:
        if cut == "zeros":
            assert writer.next_seq > 3


def test_a_missing_segment_is_a_hole_and_does_not_keep_the_tape_from_going_on(tmp_path: Path, record: Recorder) -> None:
    for index in range(3):
        record([(MIDNIGHT_NS + index, b"a")])
    segments(tmp_path)[1].unlink()

    with pytest.raises(CorruptStore, match="seq must be 2, was 3"):
        list(read_tape(tmp_path, SYMBOL))
    assert record([(MIDNIGHT_NS + 3, b"b")])[0].seq == 4
    found = list(read_tape_and_holes(tmp_path, SYMBOL))
    assert [each.first_seq if isinstance(each, Hole) else each.seq for each in found] == [1, 2, 3, 4]
