"""The tape: what is appended is read back, and what a crash or a damaged disk leaves is never taken for more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, HOUR_NS, SECOND_NS
from market.errors import Conflict, CorruptStore, InvalidRequest, NotFound, StoreUnavailable
from market.markets import DEFAULT_MARKET
from storage.tape import Frame, Hole, TapeDisk, TapeWriter, has_tape, read_tape, read_tape_and_holes, tape_symbols
from storage.tape.frames import segment_head
from storage.tape.lock import release, take_lock
from tests.dead_writers import reopened

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS  # 2024-10-04
HEADER_BYTES = 24
HEAD_BYTES = len(segment_head(DEFAULT_MARKET))

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


def aside(segment: Path, offset: int) -> Path:
    """Where recovery puts what follows ``offset``."""
    return segment.with_name(f"{segment.name}.torn-{offset}")


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


def test_old_segments_may_be_retired_without_the_seq_starting_over(tmp_path: Path, record: Recorder) -> None:
    record([(MIDNIGHT_NS - 1, b"a")])
    frames = record([(MIDNIGHT_NS, b"b")])
    segments(tmp_path)[0].unlink()

    assert list(read_tape(tmp_path, SYMBOL)) == frames
    assert record([(MIDNIGHT_NS + 1, b"c")])[0].seq == 3


def test_a_second_writer_is_refused_and_told_who_holds_the_tape(tmp_path: Path, record: Recorder) -> None:
    (tmp_path / "tape" / SYMBOL).mkdir(parents=True)
    (tmp_path / "tape" / SYMBOL / ".lock").write_text("process 1234567 on a machine with a longer name than ours has")
    with (
        TapeWriter(tmp_path, SYMBOL),
        pytest.raises(Conflict, match=f"was held by process {os.getpid()} on {os.uname().nodename}$"),
    ):
        TapeWriter(tmp_path, SYMBOL)
    record([(MIDNIGHT_NS, b"free again")])


def test_a_writer_waits_for_a_recovery_to_let_the_tape_go(tmp_path: Path, record: Recorder) -> None:
    record([(MIDNIGHT_NS, b"a")])
    lock = take_lock(tmp_path / "tape" / SYMBOL, SYMBOL, is_recovery=True)
    with pytest.raises(Conflict, match="was held by recovery by process"):
        take_lock(tmp_path / "tape" / SYMBOL, SYMBOL, is_recovery=True)
    opened: list[TapeWriter] = []
    waiting = threading.Thread(target=lambda: opened.append(TapeWriter(tmp_path, SYMBOL)))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert opened == []
    release(lock)
    waiting.join(10)
    (writer,) = opened
    assert writer.next_seq == 2
    writer.close()


def killed_program(tmp_path: Path, lines: str) -> None:
    program = f"""
import os, signal
from pathlib import Path
from storage.tape import TapeWriter
writer = TapeWriter(Path({str(tmp_path)!r}), {SYMBOL!r}, sync_ms=1)
{lines}
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[4], check=False)
    assert killed.returncode == -signal.SIGKILL


def test_a_killed_writer_leaves_what_it_synced_and_frees_the_tape(tmp_path: Path) -> None:
    killed_program(
        tmp_path, f"for index in range(1000): writer.append({MIDNIGHT_NS} + index, b'synced')\nwriter.sync()"
    )
    assert [frame.body for frame in read_tape(tmp_path, SYMBOL)] == [b"synced"] * 1000
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.torn_bytes) == (1001, 0)


def test_what_was_told_to_be_durable_is_on_the_tape_of_a_writer_killed_at_once(tmp_path: Path) -> None:
    killed_program(
        tmp_path,
        f"""
for index in range(5000):
    seq = writer.append({MIDNIGHT_NS} + index, b"x")
    writer.when_durable(seq, lambda seq=seq: (Path({str(tmp_path)!r}) / "durable").write_text(str(seq)))
    if seq == 5000: writer.append({MIDNIGHT_NS} + 6000, b"waits")
""",
    )
    told = tmp_path / "durable"
    durable_seq = int(told.read_text() or 0) if told.exists() else 0
    assert len(list(read_tape(tmp_path, SYMBOL))) >= durable_seq


def test_messages_become_durable_by_themselves_and_those_who_wait_are_told_once_in_order(tmp_path: Path) -> None:
    told: list[int] = []
    last = threading.Event()
    with TapeWriter(tmp_path, SYMBOL, sync_ms=1) as writer:
        seqs = [writer.append(MIDNIGHT_NS + index, b"x") for index in range(5)]
        for seq in seqs:
            writer.when_durable(seq, lambda seq=seq: told.append(seq))  # type: ignore[misc]  # a default binds the loop
        writer.when_durable(seqs[-1], last.set)
        assert last.wait(10)
        assert writer.durable_seq == 5
        writer.when_durable(3, lambda: told.append(-3))
        assert told == [*seqs, -3]


def failing(writer: TapeWriter, monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    """Let the thread write the next frames of the open segment to ``descriptor``."""
    writer.append(MIDNIGHT_NS, b"before")
    writer.sync()
    real = writer._segment._descriptor
    assert real is not None
    monkeypatch.setattr(writer._segment, "_descriptor", descriptor)
    os.close(real)


def test_a_full_disk_stops_every_later_append_and_what_was_durable_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TapeWriter(tmp_path, SYMBOL)
    failing(writer, monkeypatch, os.open("/dev/full", os.O_WRONLY))
    told: list[int] = []
    writer.when_durable(writer.append(MIDNIGHT_NS + 1, b"lost"), lambda: told.append(2))
    with pytest.raises(StoreUnavailable, match="No space left"):
        writer.sync()
    for refused in (lambda: writer.append(MIDNIGHT_NS + 2, b"c"), writer.sync, writer.close):
        with pytest.raises(StoreUnavailable, match="No space left"):
            refused()
    writer.close()
    assert told == []
    assert [frame.body for frame in read_tape(tmp_path, SYMBOL)] == [b"before"]
    with TapeWriter(tmp_path, SYMBOL) as again:
        assert again.next_seq == 2


def test_a_real_limit_on_the_size_of_files_stops_the_writer_and_is_recovered_from(tmp_path: Path) -> None:
    program = f"""
import resource, signal, sys
from pathlib import Path
from market.errors import StoreUnavailable
from storage.tape import TapeWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({HEAD_BYTES} + 10_000, {HEAD_BYTES} + 10_000))
writer = TapeWriter(Path({str(tmp_path)!r}), {SYMBOL!r}, sync_ms=1)
try:
    for index in range(100_000):
        writer.append({MIDNIGHT_NS} + index, b"x" * 76)
except StoreUnavailable as error:
    print(writer.durable_seq)
    sys.exit(3)
"""
    stopped = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[4], check=False, capture_output=True, text=True
    )
    assert stopped.returncode == 3, stopped.stderr
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert writer.next_seq == 101
        assert writer.torn_bytes == 0
    assert len(list(read_tape(tmp_path, SYMBOL))) == 100 >= int(stopped.stdout)


def test_a_failed_sync_is_never_followed_by_one_that_claims_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, pipe = os.pipe()  # fdatasync refuses a pipe
    writer = TapeWriter(tmp_path, SYMBOL)
    failing(writer, monkeypatch, pipe)
    writer.append(MIDNIGHT_NS + 1, b"a")
    for refused in (writer.sync, writer.sync, lambda: writer.append(MIDNIGHT_NS, b"b"), writer.close):
        with pytest.raises(StoreUnavailable, match="cannot be written to disk"):
            refused()
    assert writer.durable_seq == 1
    os.close(read_end)
    TapeWriter(tmp_path, SYMBOL).close()


def test_a_folder_that_takes_no_segment_stops_the_appends(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, SYMBOL)
    # A file where the date's folder should be: root may write into a read-only folder.
    (tmp_path / "tape" / SYMBOL / "2024-10-04").write_text("")
    writer.append(MIDNIGHT_NS, b"a")
    with pytest.raises(StoreUnavailable, match="cannot be written to disk"):
        writer.sync()
    with pytest.raises(StoreUnavailable, match="cannot be written to disk"):
        writer.append(MIDNIGHT_NS, b"b")
    with pytest.raises(StoreUnavailable, match="cannot be written to disk"):
        writer.close()


def test_frames_that_wait_for_the_disk_are_bounded(tmp_path: Path) -> None:
    disk = TapeDisk(tmp_path, sync_ms=60_000, queue_bytes=1000)
    with TapeWriter(tmp_path, SYMBOL, disk=disk) as writer:
        for index in range(100):
            writer.append(MIDNIGHT_NS + index, b"x" * 100)
            assert disk.waiting_bytes <= 1000 + HEADER_BYTES + 100
    disk.close()
    assert len(list(read_tape(tmp_path, SYMBOL))) == 100


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
    assert not has_tape(tmp_path, SYMBOL)
    record([(MIDNIGHT_NS, b"a")])
    assert tape_symbols(tmp_path) == [SYMBOL]
    assert has_tape(tmp_path, SYMBOL)
    assert not has_tape(tmp_path, f"../tape/{SYMBOL}")
    with pytest.raises(NotFound, match="tape ETHUSDT"):
        read_tape(tmp_path, "ETHUSDT")


def test_segments_end_where_their_length_is_full(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, SYMBOL, segment_ns=10 * SECOND_NS) as writer:
        for second in (3, 9, 10, 19, 35):
            writer.append(MIDNIGHT_NS + second * SECOND_NS, b"m")
    assert [int(path.stem) - MIDNIGHT_NS for path in segments(tmp_path)] == [s * SECOND_NS for s in (3, 10, 35)]
