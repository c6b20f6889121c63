"""The dead-letter file: what was rejected comes back byte for byte, whatever it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.messages import RejectedLine
from ingestion.pipeline.dead_letter import DeadLetter, DeadMessage, read_both_halves, read_dead_letter
from market.clock import DAY_NS
from market.errors import StoreUnavailable


def _append(path: Path, *bodies: bytes) -> None:
    dead_letter = DeadLetter(path)
    for body in bodies:
        dead_letter.append(recv_ns=7, reason="message: must be JSON, was not", error="MalformedMessage", body=body)
    dead_letter.close()


def _message(body: bytes) -> DeadMessage:
    return DeadMessage(7, "MalformedMessage", "message: must be JSON, was not", body)


def test_text_stays_legible_and_other_bytes_become_base64(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    _append(path, '{"é": "\n"}'.encode(), b"\xff\x00")
    text, raw = (json.loads(line) for line in path.read_text().splitlines())
    assert text == {
        "recv_ns": 7,
        "error": "MalformedMessage",
        "reason": "message: must be JSON, was not",
        "body": '{"é": "\n"}',
    }
    assert raw["body_base64"] == "/wA="
    assert "body" not in raw


@given(st.lists(st.binary() | st.text().map(str.encode), max_size=4))
def test_every_body_comes_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("dead") / "dead.jsonl"
    _append(path, *bodies)
    assert list(read_dead_letter(path)) == [_message(body) for body in bodies]


def test_nothing_is_opened_before_the_first_rejected_message(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "dead.jsonl"
    dead_letter = DeadLetter(path)
    assert not path.parent.exists()
    assert list(read_dead_letter(path)) == []
    dead_letter.close()
    assert not path.parent.exists()
    _append(path, b"x")
    assert path.is_file()


def test_each_message_is_in_the_file_before_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    dead_letter = DeadLetter(path)
    for count in (1, 2, 3):
        dead_letter.append(recv_ns=count, reason="r", error="E", body=b"x")
        assert dead_letter.count == count
        assert len(list(read_dead_letter(path))) == count
    dead_letter.close()


def test_a_second_opening_appends_and_counts_its_own(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    _append(path, b"a", b"b")
    again = DeadLetter(path)
    again.append(recv_ns=7, reason="message: must be JSON, was not", error="MalformedMessage", body=b"c")
    again.close()
    again.close()
    assert again.count == 1
    assert list(read_dead_letter(path)) == [_message(b"a"), _message(b"b"), _message(b"c")]


def test_a_torn_line_harms_neither_the_line_before_nor_the_one_after(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    _append(path, b"a", b"b")
    path.write_bytes(path.read_bytes()[:-20])
    _append(path, b"c")
    first, torn, last = read_dead_letter(path)
    assert (first, last) == (_message(b"a"), _message(b"c"))
    assert isinstance(torn, RejectedLine)
    assert torn.line_number == 2


def test_a_line_without_a_body_is_handed_over_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    path.write_bytes(b'{"recv_ns":1,"error":"E","reason":"r"}\n')
    (rejected,) = read_dead_letter(path)
    assert isinstance(rejected, RejectedLine)
    assert "neither" in rejected.reason


def test_a_file_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "dead.jsonl"
    folder.mkdir()
    dead_letter = DeadLetter(folder)
    with pytest.raises(StoreUnavailable, match=r"dead\.jsonl"):
        dead_letter.append(recv_ns=1, reason="r", error="E", body=b"")
    assert dead_letter.count == 0
    with pytest.raises(StoreUnavailable, match=r"dead\.jsonl"):
        list(read_dead_letter(folder))


def test_who_waits_is_told_in_order_once_the_message_is_on_the_disk(tmp_path: Path) -> None:
    dead_letter = DeadLetter(tmp_path / "dead.jsonl")
    told: list[int] = []
    last = threading.Event()
    for number in range(20):
        dead_letter.append(recv_ns=number, reason="r", error="E", body=b"x")
        dead_letter.when_durable(lambda number=number: told.append(number))  # type: ignore[misc]  # a default binds the loop
    dead_letter.when_durable(last.set)
    assert last.wait(10)
    assert told == list(range(20))
    dead_letter.append(recv_ns=20, reason="r", error="E", body=b"x")
    dead_letter.when_durable(lambda: told.append(20))
    dead_letter.close()
    assert told == list(range(21))


def test_a_closed_one_that_is_opened_again_tells_again(tmp_path: Path) -> None:
    dead_letter = DeadLetter(tmp_path / "dead.jsonl")
    for _ in range(2):
        told = threading.Event()
        dead_letter.append(recv_ns=1, reason="r", error="E", body=b"x")
        dead_letter.when_durable(told.set)
        assert told.wait(10)
        dead_letter.close()


def test_a_sync_that_failed_tells_nobody_and_every_later_append_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, pipe = os.pipe()  # fdatasync refuses a pipe
    dead_letter = DeadLetter(tmp_path / "dead.jsonl")
    dead_letter.append(recv_ns=1, reason="r", error="E", body=b"x")
    real = dead_letter._file
    assert real is not None
    told: list[int] = []
    with os.fdopen(pipe, "wb") as refused:
        monkeypatch.setattr(dead_letter, "_file", refused)
        dead_letter.when_durable(lambda: told.append(1))
        thread = dead_letter._thread
        assert thread is not None
        thread.join(10)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"dead\.jsonl: cannot be written"):
                dead_letter.append(recv_ns=2, reason="r", error="E", body=b"y")
        monkeypatch.setattr(dead_letter, "_file", real)
    dead_letter.close()
    os.close(read_end)
    assert told == []


def test_what_was_told_to_be_durable_was_synced_before(tmp_path: Path) -> None:
    """The order of the calls of the system, seen from outside: the sync stands between the write and the word."""
    program = f"""
import os
from pathlib import Path
from ingestion.pipeline.dead_letter import DeadLetter
real = os.fdatasync
def fdatasync(descriptor):
    real(descriptor)
    print("synced", os.fstat(descriptor).st_size > 0, flush=True)
os.fdatasync = fdatasync
dead_letter = DeadLetter(Path({str(tmp_path / "dead.jsonl")!r}))
dead_letter.append(recv_ns=1, reason="r", error="E", body=b"x")
dead_letter.when_durable(lambda: print("told", flush=True))
dead_letter.close()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[4], check=True, capture_output=True, text=True
    )
    assert ran.stdout.splitlines()[:2] == ["synced True", "told"]


def test_both_halves_stay_within_their_bytes_and_the_newest_messages_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    dead_letter = DeadLetter(path, most_bytes=4000)
    told: list[int] = []
    for number in range(200):
        dead_letter.append(recv_ns=number, reason="r", error="E", body=b"%03d" % number + b"x" * 50)
        dead_letter.when_durable(lambda number=number: told.append(number))  # type: ignore[misc]  # a default binds the loop
        assert sum(each.stat().st_size for each in tmp_path.glob("*.jsonl")) <= 4000
    dead_letter.close()
    assert told == list(range(200))
    kept = [each.recv_ns for each in read_both_halves(path) if isinstance(each, DeadMessage)]
    assert kept == list(range(200 - len(kept), 200))
    assert len(kept) > 15


def test_what_is_older_than_its_days_goes(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    dead_letter = DeadLetter(path, most_days=4)
    for day in range(11):
        dead_letter.append(recv_ns=day * DAY_NS, reason="r", error="E", body=b"%d" % day)
    dead_letter.close()
    kept = [each.recv_ns // DAY_NS for each in read_both_halves(path) if isinstance(each, DeadMessage)]
    assert kept == [6, 7, 8, 9, 10]
    again = DeadLetter(path, most_days=4)
    again.append(recv_ns=20 * DAY_NS, reason="r", error="E", body=b"20")
    again.close()
    assert [each.recv_ns // DAY_NS for each in read_both_halves(path) if isinstance(each, DeadMessage)] == [9, 10, 20]


def test_another_writer_goes_on_in_the_new_half(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    one, other = DeadLetter(path, most_bytes=1000), DeadLetter(path, most_bytes=1000)
    other.append(recv_ns=0, reason="r", error="E", body=b"first")
    for number in range(1, 6):
        one.append(recv_ns=number, reason="r", error="E", body=b"%d" % number + b"x" * 80)
    other.append(recv_ns=9, reason="r", error="E", body=b"last")
    one.close()
    other.close()
    assert [each.recv_ns for each in read_dead_letter(path) if isinstance(each, DeadMessage)][-1] == 9


def test_a_reason_has_a_bounded_length(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    dead_letter = DeadLetter(path)
    dead_letter.append(recv_ns=1, reason="price: must be a number, was " + "9" * 10_000, error="E", body=b"x")
    dead_letter.close()
    (found,) = read_dead_letter(path)
    assert len(found.reason) == 501
    assert found.reason.startswith("price: must be a number, was 999")
    assert found.reason.endswith("…")


def test_a_message_that_is_delivered_again_after_a_kill_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    program = f"""
import os, signal
from pathlib import Path
from ingestion.pipeline.dead_letter import DeadLetter
dead_letter = DeadLetter(Path({str(path)!r}))
for body in (b"a", b"b", b"b"):
    dead_letter.append(recv_ns=1, reason="r", error="E", body=body)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[4], check=False)
    dead_letter = DeadLetter(path)
    told = threading.Event()
    for body in (b"a", b"b", b"b", b"b", b"c", b"a"):
        dead_letter.append(recv_ns=2, reason="r", error="E", body=body)
    dead_letter.when_durable(told.set)
    assert told.wait(10)
    dead_letter.close()
    bodies = [each.body for each in read_dead_letter(path)]
    assert bodies == [b"a", b"b", b"b", b"b", b"c", b"a"]
    assert dead_letter.count == 3
