"""Segments of a tape: where one begins and ends, what it is named, and when it is open."""

from __future__ import annotations

from pathlib import Path

from market.clock import HOUR_NS, SECOND_NS
from storage.tape import TapeWriter, read_tape
from tests.tape_segments import HEAD_BYTES, HEADER_BYTES, MIDNIGHT_NS, SYMBOL, Recorder, segments


def test_a_segment_begins_at_each_date_and_opening_and_is_named_by_its_first_time(
    tmp_path: Path, record: Recorder
) -> None:
    record([(MIDNIGHT_NS - 1, b"a"), (MIDNIGHT_NS, b"b"), (MIDNIGHT_NS + 1, b"c")])
    record([(MIDNIGHT_NS + 2, b"d")])

    assert [str(path.relative_to(tmp_path)) for path in segments(tmp_path)] == [
        f"tape/BTCUSDT/2024-10-03/{MIDNIGHT_NS - 1}.log",
        f"tape/BTCUSDT/2024-10-04/{MIDNIGHT_NS}.log",
        f"tape/BTCUSDT/2024-10-04/{MIDNIGHT_NS + 2}.log",
    ]


def test_messages_that_interleave_across_midnight_stay_in_one_segment(tmp_path: Path, record: Recorder) -> None:
    frames = record([(MIDNIGHT_NS - 1, b"a"), *[(MIDNIGHT_NS - index % 2, b"x") for index in range(20)]])

    assert len(segments(tmp_path)) == 2
    before = [frame for frame in frames if frame.recv_ns < MIDNIGHT_NS]
    assert list(read_tape(tmp_path, SYMBOL, to_ns=MIDNIGHT_NS)) == before


def test_a_message_redelivered_after_a_restart_begins_a_segment_of_its_own(tmp_path: Path, record: Recorder) -> None:
    frames = record([(MIDNIGHT_NS, b"a")]) + record([(MIDNIGHT_NS, b"a")])

    assert [path.name for path in segments(tmp_path)] == [f"{MIDNIGHT_NS}-2.log", f"{MIDNIGHT_NS}.log"]
    assert list(read_tape(tmp_path, SYMBOL)) == frames


def test_a_segment_begins_at_each_hour_and_at_its_size(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, SYMBOL, segment_bytes=HEAD_BYTES + 3 * (HEADER_BYTES + 1)) as writer:
        for recv_ns in (0, 1, 1, 1, HOUR_NS - 1, HOUR_NS, HOUR_NS - 1, HOUR_NS + 1):
            writer.append(MIDNIGHT_NS + recv_ns, b"x")
    assert [path.name for path in segments(tmp_path)] == [
        f"{MIDNIGHT_NS}.log",
        f"{MIDNIGHT_NS + 1}.log",
        f"{MIDNIGHT_NS + HOUR_NS}.log",
    ]
    assert [frame.seq for frame in read_tape(tmp_path, SYMBOL)] == list(range(1, 9))


def test_segments_that_begin_at_one_time_are_told_apart_by_seq(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, SYMBOL, segment_bytes=1) as writer:
        for recv_ns in (0, 0, 1, 0):
            writer.append(MIDNIGHT_NS + recv_ns, b"x")
    assert [frame.seq for frame in read_tape(tmp_path, SYMBOL)] == [1, 2, 3, 4]
    assert len(segments(tmp_path)) == 4


def test_a_segment_is_open_until_its_writer_begins_another_or_closes(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, SYMBOL) as writer:
        writer.append(MIDNIGHT_NS, b"a")
        writer.sync()
        (live,) = (tmp_path / "tape" / SYMBOL).glob("*/*.open")
        assert [frame.body for frame in read_tape(tmp_path, SYMBOL)] == [b"a"]
        writer.append(MIDNIGHT_NS + HOUR_NS, b"b")
        writer.sync()
        assert live.with_suffix(".log").is_file()
        assert [frame.body for frame in read_tape(tmp_path, SYMBOL)] == [b"a", b"b"]
    assert list((tmp_path / "tape" / SYMBOL).glob("*/*.open")) == []


def test_segments_end_where_their_length_is_full(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, SYMBOL, segment_ns=10 * SECOND_NS) as writer:
        for second in (3, 9, 10, 19, 35):
            writer.append(MIDNIGHT_NS + second * SECOND_NS, b"m")
    assert [int(path.stem) - MIDNIGHT_NS for path in segments(tmp_path)] == [s * SECOND_NS for s in (3, 10, 35)]
