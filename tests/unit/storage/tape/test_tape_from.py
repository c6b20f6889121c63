"""Reading a tape from a seq on: what is before is skipped, and damage changes nothing of what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from market.clock import DAY_NS, HOUR_NS
from market.markets import DEFAULT_MARKET
from storage.checkpoints import FramePlace, KnownFrame
from storage.tape import Frame, Hole, TapeWriter, read_tape_and_holes, read_tape_from
from storage.tape.frames import frame_offset, segment_head
from storage.tape.segments import known_offset, segment_name

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS  # 2024-10-04
FRAME_BYTES = 24 + 2
HEAD_BYTES = len(segment_head(DEFAULT_MARKET))


def record(root: Path, count: int) -> Path:
    """Append so many messages as a segment of their own; that segment."""
    with TapeWriter(root, SYMBOL) as writer:
        for _ in range(count):
            seq = writer.next_seq
            writer.append(MIDNIGHT_NS + seq, b"%02d" % seq)
    return max((root / "tape" / SYMBOL).glob("*/*.log"))


def from_seq(found: list[Frame | Hole], seq: int) -> list[Frame | Hole]:
    """Those of a whole reading that reach to ``seq`` or beyond."""
    return [
        each
        for each in found
        if (each.seq >= seq if isinstance(each, Frame) else each.next_seq is None or each.next_seq > seq)
    ]


def test_a_writer_knows_where_each_frame_lies(tmp_path: Path) -> None:
    known = []
    for _ in range(2):
        with TapeWriter(tmp_path, SYMBOL) as writer:
            assert writer.place is None
            for _ in range(3):
                recv_ns = MIDNIGHT_NS + writer.next_seq * HOUR_NS // 2
                seq = writer.append(recv_ns, b"%02d" % writer.next_seq)
                known.append(KnownFrame(seq, recv_ns, writer.place))
    paths = {segment_name(path): path for path in (tmp_path / "tape" / SYMBOL).glob("*/*.log")}
    assert len(paths) == 4
    for each in known:
        assert each.place is not None
        assert known_offset(paths[each.place.segment], each) == each.place.offset > 0
        assert known_offset(paths[each.place.segment], each._replace(recv_ns=1)) == 0
        assert known_offset(min(paths.values()), each) == (each.place.offset if each.seq == 1 else 0)


def test_a_reading_from_a_seq_is_the_end_of_the_whole_one_whichever_byte_is_damaged(tmp_path: Path) -> None:
    first, second = record(tmp_path, 4), record(tmp_path, 4)
    for segment in (first, second):
        whole = segment.read_bytes()
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 0x10
            segment.write_bytes(damaged)
            found = list(read_tape_and_holes(tmp_path, SYMBOL))
            for seq in range(10):
                assert list(read_tape_from(tmp_path, SYMBOL, seq)) == from_seq(found, seq), (position, seq)
            for seq in range(1, 9):
                holder, offset = (first, second)[seq > 4], HEAD_BYTES + (seq - 1) % 4 * FRAME_BYTES
                known = KnownFrame(seq, MIDNIGHT_NS + seq, FramePlace(segment_name(holder), offset))
                assert list(read_tape_from(tmp_path, SYMBOL, seq, known=known)) == from_seq(found, seq), (position, seq)
        segment.write_bytes(whole)
    assert list(read_tape_from(tmp_path, SYMBOL, 6)) == list(read_tape_and_holes(tmp_path, SYMBOL))[5:]


@pytest.mark.parametrize("left", range(4 * FRAME_BYTES))
def test_a_frame_is_found_by_the_headers_before_it_or_not_at_all(tmp_path: Path, left: int) -> None:
    segment = record(tmp_path, 4)
    whole = segment.read_bytes()
    segment.write_bytes(whole[: HEAD_BYTES + left])
    for seq in range(1, 5):
        begin = (seq - 1) * FRAME_BYTES
        is_whole = begin + FRAME_BYTES <= left
        assert frame_offset(segment, 1, seq) == (HEAD_BYTES + begin if is_whole else None)
    assert frame_offset(segment, 1, 5) is None
    assert frame_offset(segment, 2, 3) is None


def test_a_frame_that_is_not_whole_is_not_found(tmp_path: Path) -> None:
    segment = record(tmp_path, 4)
    whole = segment.read_bytes()
    for position in range(HEAD_BYTES + 2 * FRAME_BYTES, HEAD_BYTES + 3 * FRAME_BYTES):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        segment.write_bytes(damaged)
        assert frame_offset(segment, 1, 3) is None


def test_bytes_of_frames_that_are_passed_over_are_not_read_as_frames(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, SYMBOL) as writer:
        inner = b"\0" * 24 + b"x" * 8
        for seq in range(1, 4):
            # A body that looks like a frame of the seq to come.
            body = inner[:8] + (seq + 1).to_bytes(8, "little") + inner[16:]
            assert writer.append(MIDNIGHT_NS, body) == seq
    found = list(read_tape_and_holes(tmp_path, SYMBOL))
    assert list(read_tape_from(tmp_path, SYMBOL, 3)) == found[2:]
