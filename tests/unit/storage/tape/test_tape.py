"""The tape: what is appended is read back in order, by one writer at a time, and a symbol stays in its folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from market.errors import Conflict, InvalidRequest, NotFound
from storage.tape import Frame, TapeWriter, has_tape, read_tape, tape_symbols
from storage.tape.lock import release, take_lock
from tests.tape_segments import MIDNIGHT_NS, SYMBOL, Recorder, segments


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
