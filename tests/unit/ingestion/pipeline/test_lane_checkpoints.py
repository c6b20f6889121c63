"""The checkpoint of a lane: what it names, and that a restart passes over one that is damaged or of another tape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ingestion.messages import TimedMessage
from ingestion.pipeline.lane_memory import unpacked
from ingestion.pipeline.redelivery import SeenEntries
from market.clock import SECOND_NS
from market.errors import StoreUnavailable
from storage.checkpoints import checkpoint_path, read_checkpoint, write_checkpoint
from storage.tape import read_tape
from tests.pipelines import pipeline_in
from tests.restarted import SYMBOL, assert_rebuilt, before_and_after, serve
from transforms.kernel import Kernel


def test_a_checkpoint_names_the_tape_s_last_frame_and_what_its_state_belongs_to(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, _ = before_and_after(messages)
    serve(tmp_path, short, first)
    *_, last = read_tape(tmp_path, SYMBOL)
    head = checkpoint_path(tmp_path, SYMBOL).read_bytes().split(b"\n", 1)[0].decode()
    identity = f"{short.run.__module__} 3 6 {SECOND_NS}"
    assert identity in head
    checkpoint = read_checkpoint(tmp_path, SYMBOL, identity)
    assert checkpoint is not None
    assert (checkpoint.seq, checkpoint.recv_ns) == (last.seq, last.recv_ns)
    assert read_checkpoint(tmp_path, SYMBOL, "other code") is None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "nothing": lambda path: path.write_bytes(b""),
    "no checkpoint": lambda path: path.write_bytes(b"x" * 100_000),
    "another position": lambda path: path.write_bytes(path.read_bytes().replace(b'"seq":', b'"seq":1', 1)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage], damage: str
) -> None:
    first, second = before_and_after(messages)
    serve(tmp_path, short, first)
    DAMAGES[damage](checkpoint_path(tmp_path, SYMBOL))
    assert_rebuilt(tmp_path, short, serve(tmp_path, short, second))


def test_a_checkpoint_whose_memory_is_of_another_form_is_passed_over(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, second = before_and_after(messages)
    serve(tmp_path, short, first)
    checkpoint = read_checkpoint(tmp_path, SYMBOL, f"{short.run.__module__} 3 6 {SECOND_NS}")
    assert checkpoint is not None
    write_checkpoint(tmp_path, SYMBOL, replace(checkpoint, memory=b"another"))
    assert_rebuilt(tmp_path, short, serve(tmp_path, short, second))


def test_a_restart_at_a_checkpoint_decodes_nothing_of_the_past_and_knows_what_it_knew(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, _ = before_and_after(messages)
    pipeline = pipeline_in(tmp_path, short)
    for message in first:
        pipeline.handle(message)
    before = pipeline.lanes[SYMBOL].memory.packed()
    pipeline.close()
    again = pipeline_in(tmp_path, short)
    try:
        assert again.go_on(SYMBOL, now_ns=first[-1].recv_ns)
        lane = again.lanes[SYMBOL]
        marks = lane.last_seq - len(first)
        assert again.decoders.compiled + again.decoders.typed == marks < 10
        assert lane.memory.seen.entries() == unpacked_seen(before)
        assert lane.memory.book._whole == lane.memory.book._last is not None
    finally:
        again.close()


def unpacked_seen(packed: bytes) -> SeenEntries:
    memory = unpacked(packed)
    assert memory is not None
    return memory.seen.entries()


def test_a_checkpoint_of_another_tape_is_passed_over(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, second = before_and_after(messages)
    serve(tmp_path / "other", short, [TimedMessage(each.recv_ns - 1, each.body) for each in first])
    serve(tmp_path / "raw", short, first)
    checkpoint_path(tmp_path / "other", SYMBOL).replace(checkpoint_path(tmp_path / "raw", SYMBOL))
    assert_rebuilt(tmp_path / "raw", short, serve(tmp_path / "raw", short, second))


def test_a_checkpoint_ahead_of_its_tape_is_passed_over(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, second = before_and_after(messages)
    shorter = first[: len(first) - 100]
    serve(tmp_path / "longer", short, first)
    serve(tmp_path / "raw", short, shorter)
    checkpoint_path(tmp_path / "longer", SYMBOL).replace(checkpoint_path(tmp_path / "raw", SYMBOL))
    assert_rebuilt(tmp_path / "raw", short, serve(tmp_path / "raw", short, [*first[-100:], *second]))


def test_where_no_checkpoint_can_be_written_ingest_goes_on(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    first, second = before_and_after(messages)
    serve(tmp_path, short, first)
    assert "no checkpoint" in caplog.text
    assert_rebuilt(tmp_path, short, serve(tmp_path, short, second))


def test_a_tape_that_the_disk_refused_leaves_no_checkpoint_of_what_was_lost(
    tmp_path: Path, short: Kernel, messages: list[TimedMessage]
) -> None:
    first, _ = before_and_after(messages)
    serve(tmp_path, short, first[:50])
    before = checkpoint_path(tmp_path, SYMBOL).read_bytes()
    # A file where the hour's segment should go.
    (blocked,) = (tmp_path / "tape" / SYMBOL).glob("2026-*")
    blocked.rename(tmp_path / "aside")
    blocked.write_text("")
    with pytest.raises(StoreUnavailable):
        serve(tmp_path, short, first[50:])
    assert checkpoint_path(tmp_path, SYMBOL).read_bytes() == before
