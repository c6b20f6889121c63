"""Durable: what was told to be on the disk is there after a kill, a full disk or a failed sync, and no more is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from market.errors import StoreUnavailable
from storage.tape import TapeDisk, TapeWriter, read_tape
from tests.tape_segments import HEAD_BYTES, HEADER_BYTES, MIDNIGHT_NS, SYMBOL


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
