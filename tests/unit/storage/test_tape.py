"""The tape: what is appended is read back, and what a crash or a damaged disk leaves is never taken for more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from market.errors import Conflict, CorruptStore, InvalidRequest, NotFound, StoreUnavailable
from storage.tape import PENDING_BYTES, Frame, TapeWriter, read_tape, tape_symbols

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS  # 2024-10-04
HEADER_BYTES = 24

Recorder = Callable[[list[tuple[int, bytes]]], list[Frame]]


def segments(root: Path) -> list[Path]:
    return sorted((root / "tape" / SYMBOL).glob("*/*.log"))


@pytest.fixture
def record(tmp_path: Path) -> Recorder:
    """Opens the tape, appends the messages and closes it; the frames it should hold."""

    def append_all(messages: list[tuple[int, bytes]]) -> list[Frame]:
        with TapeWriter(tmp_path, SYMBOL) as writer:
            return [Frame(writer.append(recv_ns, body), recv_ns, body) for recv_ns, body in messages]

    return append_all


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([0, 1, -1, DAY_NS - 1, DAY_NS, -DAY_NS, -DAY_NS - 1, 2 * DAY_NS, -3 * DAY_NS]),
                st.binary(max_size=40),
            ),
            max_size=6,
        ),
        min_size=1,
        max_size=4,
    ),
    period=st.tuples(*[st.sampled_from([None, -DAY_NS, -1, 0, 1, DAY_NS, DAY_NS + 1, 3 * DAY_NS])] * 2),
)
def test_what_was_appended_in_any_order_of_time_is_read_in_order_of_seq(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[list[tuple[int, bytes]]],
    period: tuple[int | None, int | None],
) -> None:
    root = tmp_path_factory.mktemp("raw")
    frames: list[Frame] = []
    recv_ns = MIDNIGHT_NS
    for run in runs:
        with TapeWriter(root, SYMBOL) as writer:
            assert writer.next_seq == len(frames) + 1
            assert writer.last_recv_ns == (frames[-1].recv_ns if frames else None)
            for gap_ns, body in run:
                recv_ns += gap_ns
                frames.append(Frame(writer.append(recv_ns, body), recv_ns, body))
    from_ns, to_ns = (None if edge is None else MIDNIGHT_NS + edge for edge in period)

    assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
    assert list(read_tape(root, SYMBOL)) == frames
    assert list(read_tape(root, SYMBOL, from_ns=from_ns, to_ns=to_ns)) == [
        frame
        for frame in frames
        if (from_ns is None or frame.recv_ns >= from_ns) and (to_ns is None or frame.recv_ns < to_ns)
    ]


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


def test_a_torn_tail_loses_only_the_unfinished_frame(tmp_path: Path, record: Recorder) -> None:
    frames = record([(MIDNIGHT_NS + index, bytes([index]) * 9) for index in range(3)])
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    frame_bytes = len(whole) // 3
    for cut in range(1, frame_bytes):
        segment.write_bytes(whole[:-cut])
        assert list(read_tape(tmp_path, SYMBOL)) == frames[:2]
        with TapeWriter(tmp_path, SYMBOL) as writer:
            assert writer.next_seq == 3
            assert writer.last_recv_ns == MIDNIGHT_NS + 1
            assert writer.torn_bytes == frame_bytes - cut
        aside = segment.with_name(f"{segment.name}.torn-{2 * frame_bytes}")
        assert aside.read_bytes() == whole[2 * frame_bytes : len(whole) - cut]
        assert segment.read_bytes() == whole[: 2 * frame_bytes]


def test_a_first_frame_that_is_torn_takes_its_segment_aside_and_its_seq_is_given_again(
    tmp_path: Path, record: Recorder
) -> None:
    frames = record([(MIDNIGHT_NS, b"a")])
    record([(MIDNIGHT_NS + 1, b"b")])
    torn = segments(tmp_path)[-1]
    torn.write_bytes(torn.read_bytes()[:-1])
    assert list(read_tape(tmp_path, SYMBOL)) == frames

    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.torn_bytes) == (2, HEADER_BYTES)
    assert segments(tmp_path) == [segments(tmp_path)[0]]
    assert torn.with_name(f"{torn.name}.torn-0").stat().st_size == HEADER_BYTES


def test_an_empty_segment_is_cleared_away_in_silence(tmp_path: Path, record: Recorder) -> None:
    frames = record([(MIDNIGHT_NS, b"a")])
    empty = segments(tmp_path)[0].with_name(f"{MIDNIGHT_NS + 1}.log")
    empty.touch()
    assert list(read_tape(tmp_path, SYMBOL)) == frames

    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert writer.torn_bytes == 0
    assert not empty.exists()


def test_every_flipped_bit_before_the_last_segment_is_corrupt_and_says_where(tmp_path: Path, record: Recorder) -> None:
    record([(MIDNIGHT_NS, b"aa"), (MIDNIGHT_NS + 1, b"bb")])
    record([(MIDNIGHT_NS + 2, b"cc")])
    first = segments(tmp_path)[0]
    whole = first.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        first.write_bytes(damaged)
        offset = 0 if position < len(whole) // 2 else len(whole) // 2
        with pytest.raises(CorruptStore, match=f"{first} at offset {offset}: "):
            list(read_tape(tmp_path, SYMBOL))


def test_a_tail_torn_before_a_torn_newest_segment_is_damage_and_not_moved(tmp_path: Path, record: Recorder) -> None:
    for index in range(2):
        record([(MIDNIGHT_NS + index, b"aa")])
    for segment in segments(tmp_path):
        segment.write_bytes(segment.read_bytes() + b"?")
    newest = segments(tmp_path)[1]
    newest.write_bytes(newest.read_bytes()[:HEADER_BYTES])

    with pytest.raises(CorruptStore, match="at offset 26: header must have 24 bytes, was 1"):
        list(read_tape(tmp_path, SYMBOL))
    with pytest.raises(CorruptStore, match="at offset 26: header must have 24 bytes, was 1"):
        TapeWriter(tmp_path, SYMBOL)


def test_a_missing_segment_is_corrupt(tmp_path: Path, record: Recorder) -> None:
    for index in range(3):
        record([(MIDNIGHT_NS + index, b"a")])
    segments(tmp_path)[1].unlink()

    with pytest.raises(CorruptStore, match="seq must be 2, was 3"):
        list(read_tape(tmp_path, SYMBOL))


def test_a_missing_frame_inside_the_last_segment_is_no_torn_tail(tmp_path: Path, record: Recorder) -> None:
    record([(MIDNIGHT_NS + index, b"a") for index in range(3)])
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    segment.write_bytes(whole[: len(whole) // 3] + whole[2 * len(whole) // 3 :])

    with pytest.raises(CorruptStore, match="seq must be 2, was 3"):
        list(read_tape(tmp_path, SYMBOL))
    with pytest.raises(CorruptStore, match="seq must be 2, was 3"):
        TapeWriter(tmp_path, SYMBOL)


def test_old_segments_may_be_retired_without_the_seq_starting_over(tmp_path: Path, record: Recorder) -> None:
    record([(MIDNIGHT_NS - 1, b"a")])
    frames = record([(MIDNIGHT_NS, b"b")])
    segments(tmp_path)[0].unlink()

    assert list(read_tape(tmp_path, SYMBOL)) == frames
    assert record([(MIDNIGHT_NS + 1, b"c")])[0].seq == 3


def test_a_second_writer_is_refused_and_told_who_holds_the_tape(tmp_path: Path, record: Recorder) -> None:
    with TapeWriter(tmp_path, SYMBOL), pytest.raises(Conflict, match=f"was held by process {os.getpid()}"):
        TapeWriter(tmp_path, SYMBOL)
    record([(MIDNIGHT_NS, b"free again")])


def test_a_killed_writer_leaves_what_it_flushed_and_frees_the_tape(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from storage.tape import TapeWriter
writer = TapeWriter(Path({str(tmp_path)!r}), {SYMBOL!r})
for index in range(1000):
    writer.append({MIDNIGHT_NS} + index, b"flushed")
writer.flush()
writer.append({MIDNIGHT_NS}, b"not flushed")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], check=False)
    assert killed.returncode == -signal.SIGKILL

    assert [frame.body for frame in read_tape(tmp_path, SYMBOL)] == [b"flushed"] * 1000
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.torn_bytes) == (1001, 0)


def test_a_live_tape_is_read_up_to_its_last_flush(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, SYMBOL) as writer:
        writer.append(MIDNIGHT_NS, b"a")
        writer.flush()
        writer.append(MIDNIGHT_NS + 1, b"b")
        assert [frame.body for frame in read_tape(tmp_path, SYMBOL)] == [b"a"]


def test_a_full_disk_refuses_the_append_and_loses_nothing_when_it_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"x" * PENDING_BYTES
    with TapeWriter(tmp_path, SYMBOL) as writer:
        writer.append(MIDNIGHT_NS, body)
        full = os.open("/dev/full", os.O_WRONLY)
        descriptor = writer._segment_fd
        monkeypatch.setattr(writer, "_segment_fd", full)
        with pytest.raises(StoreUnavailable, match="No space left"):
            writer.append(MIDNIGHT_NS + 1, b"b")
        assert (writer.next_seq, writer.last_recv_ns) == (2, MIDNIGHT_NS)
        monkeypatch.setattr(writer, "_segment_fd", descriptor)
        os.close(full)
        writer.append(MIDNIGHT_NS + 1, b"b")
    assert [frame.body for frame in read_tape(tmp_path, SYMBOL)] == [body, b"b"]


def test_a_flush_cut_short_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TapeWriter(tmp_path, SYMBOL) as writer:
        writer.append(MIDNIGHT_NS, b"x" * PENDING_BYTES)  # more than a pipe holds
        framed = bytes(writer._pending)
        read_end, pipe = os.pipe()
        os.set_blocking(pipe, False)
        descriptor = writer._segment_fd
        monkeypatch.setattr(writer, "_segment_fd", pipe)
        with pytest.raises(StoreUnavailable, match="must be writable"):
            writer.flush()
        monkeypatch.setattr(writer, "_segment_fd", descriptor)
        os.close(pipe)
        begun = os.read(read_end, PENDING_BYTES)
        os.close(read_end)
    assert 0 < len(begun) < len(framed)
    assert begun + segments(tmp_path)[0].read_bytes() == framed


def test_a_failed_sync_is_never_followed_by_one_that_claims_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TapeWriter(tmp_path, SYMBOL)
    writer.append(MIDNIGHT_NS, b"a")
    read_end, pipe = os.pipe()  # fdatasync refuses a pipe
    descriptor = writer._segment_fd
    monkeypatch.setattr(writer, "_segment_fd", pipe)
    with pytest.raises(StoreUnavailable, match="must reach the disk"):
        writer.sync()
    monkeypatch.setattr(writer, "_segment_fd", descriptor)
    os.close(read_end)
    os.close(pipe)
    with pytest.raises(StoreUnavailable, match="must reach the disk"):
        writer.close()
    TapeWriter(tmp_path, SYMBOL).close()


def test_a_closed_writer_refuses_to_append(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, SYMBOL)
    writer.append(MIDNIGHT_NS, b"a")
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="must be open"):
        writer.append(MIDNIGHT_NS + SECOND_NS, b"b")


def test_a_symbol_that_would_leave_its_folder_is_refused(tmp_path: Path) -> None:
    for symbol in ("../x", "", ".hidden", "a/b", "a=b", "a b", "x" * 65):
        with pytest.raises(InvalidRequest, match="symbol: must be"):
            TapeWriter(tmp_path, symbol)
        with pytest.raises(InvalidRequest, match="symbol: must be"):
            read_tape(tmp_path, symbol)


def test_a_symbol_without_a_tape_is_not_found(tmp_path: Path, record: Recorder) -> None:
    assert tape_symbols(tmp_path) == []
    record([(MIDNIGHT_NS, b"a")])
    assert tape_symbols(tmp_path) == [SYMBOL]
    with pytest.raises(NotFound, match="tape ETHUSDT"):
        read_tape(tmp_path, "ETHUSDT")
