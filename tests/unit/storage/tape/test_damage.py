"""Damage of a tape: it costs the messages that it hit, is named with their seqs, and no seq is given twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, HOUR_NS
from market.markets import DEFAULT_MARKET
from storage.checkpoints import Checkpoint, FramePlace, write_checkpoint
from storage.tape import Frame, Hole, TapeWriter, read_tape_and_holes
from storage.tape.frames import segment_head
from storage.tape.recovery import recover_abandoned
from storage.tape.segment_log import gone_segments, read_segment_log
from storage.tape.segments import segment_name
from tests.dead_writers import reopened
from tests.examples import examples

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS
COUNT = 12
HEAD_BYTES = len(segment_head(DEFAULT_MARKET))


@pytest.fixture(scope="module")
def abandoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tape of two finished segments and one that its writer, who died, left open; four messages in each."""
    root = tmp_path_factory.mktemp("abandoned")
    with TapeWriter(root, SYMBOL) as writer:
        for index in range(COUNT):
            writer.append(MIDNIGHT_NS + index // 4 * HOUR_NS + index, f"message {index + 1}".encode() * 3)
        writer.sync()
        shutil.copytree(root, root / "copy")
    return root / "copy"


def segments(root: Path) -> list[Path]:
    return sorted(path for path in (root / "tape" / SYMBOL).glob("*/*.*") if path.suffix in {".log", ".open"})


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@settings(max_examples=examples(75), deadline=None)
@given(draws=st.data(), recovered_by=st.sampled_from(["a writer", "a compaction"]))
def test_a_flipped_bit_costs_its_own_message_is_named_and_no_seq_is_given_twice(
    abandoned: Path, tmp_path_factory: pytest.TempPathFactory, draws: st.DataObject, recovered_by: str
) -> None:
    root = tmp_path_factory.mktemp("raw") / "raw"
    shutil.copytree(abandoned, root)
    number = draws.draw(st.integers(0, 2), label="segment")
    path = segments(root)[number]
    size = path.stat().st_size
    bit = draws.draw(st.integers(0, 8 * size - 1), label="bit")
    first = 4 * number + 1
    if (known := draws.draw(st.none() | st.integers(9, COUNT), label="checkpoint")) is not None:
        place = FramePlace(segment_name(segments(root)[-1]), _end_of(known - 1, first=9))
        recv_ns = MIDNIGHT_NS + 2 * HOUR_NS + known - 1
        write_checkpoint(root, SYMBOL, Checkpoint(known, recv_ns, "of any set", b"state", place=place))
    # A damaged head costs no message; it is told before the first of its segment.
    is_head = bit // 8 < HEAD_BYTES
    hit = first if is_head else next(seq for seq in range(first, first + 4) if bit // 8 < _end_of(seq, first=first))
    flip(path, bit)

    def check(found: list[Frame | Hole]) -> None:
        kept = [each.seq for each in found if isinstance(each, Frame)]
        assert kept == [seq for seq in range(1, COUNT + 1) if is_head or seq != hit]
        (hole,) = [each for each in found if isinstance(each, Hole)]
        assert hole.first_seq == hit
        assert hole.next_seq in ({hit} if is_head else {hit + 1, None})

    check(list(read_tape_and_holes(root, SYMBOL)))
    if recovered_by == "a compaction":
        recover_abandoned(root, SYMBOL)
        check(list(read_tape_and_holes(root, SYMBOL)))
    for _ in range(2):
        with TapeWriter(root, SYMBOL) as writer:
            assert writer.next_seq == COUNT + 1
    check(list(read_tape_and_holes(root, SYMBOL)))
    with TapeWriter(root, SYMBOL) as writer:
        assert writer.append(MIDNIGHT_NS + DAY_NS, b"later") == COUNT + 1
    found = list(read_tape_and_holes(root, SYMBOL))
    assert found.pop() == Frame(COUNT + 1, MIDNIGHT_NS + DAY_NS, b"later")
    check(found)


def _end_of(seq: int, *, first: int) -> int:
    return HEAD_BYTES + sum(24 + 3 * len(f"message {each}") for each in range(first, seq + 1))


def recorded(root: Path, runs: int) -> list[Path]:
    """So many segments of four messages; their paths in order of seq."""
    for run in range(runs):
        with TapeWriter(root, SYMBOL) as writer:
            for index in range(4):
                writer.append(MIDNIGHT_NS + run * HOUR_NS + index, b"x" * 9)
    return segments(root)


@pytest.mark.parametrize("gone", [[2], [1, 2], [0], [0, 1, 2]])
def test_the_seqs_of_segments_that_are_gone_are_named_and_not_given_again(tmp_path: Path, gone: list[int]) -> None:
    paths = recorded(tmp_path, 3)
    for number in gone:
        paths[number].unlink()
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert writer.next_seq == COUNT + 1
        assert writer.is_end_lost == (2 in gone)
        writer.append(MIDNIGHT_NS + DAY_NS, b"later")
    log = read_segment_log(tmp_path / "tape" / SYMBOL)
    assert [line.first_seq for line in gone_segments(tmp_path / "tape" / SYMBOL, log)] == [4 * at + 1 for at in gone]
    holes = [each for each in read_tape_and_holes(tmp_path, SYMBOL) if isinstance(each, Hole)]
    assert [(hole.first_seq, hole.next_seq) for hole in holes] == (
        [] if 2 not in gone or 0 in gone else [(4 * gone[0] + 1, 13)]
    )
    assert all("must exist, was gone" in hole.reason for hole in holes)


def test_an_open_segment_that_is_gone_takes_every_seq_that_it_can_have_held(abandoned: Path, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    shutil.copytree(abandoned, root)
    segments(root)[-1].unlink()
    (hole,) = [each for each in read_tape_and_holes(root, SYMBOL) if isinstance(each, Hole)]
    assert hole.first_seq == 9
    with TapeWriter(root, SYMBOL, segment_bytes=24_000) as writer:
        assert writer.next_seq == hole.next_seq == 9 + (256 << 20) // 24 + 1


def test_a_tape_without_a_segment_log_gets_one(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    before = read_segment_log(tmp_path / "tape" / SYMBOL)
    (tmp_path / "tape" / SYMBOL / "segments.index").unlink()
    recover_abandoned(tmp_path, SYMBOL)
    after = read_segment_log(tmp_path / "tape" / SYMBOL)
    assert after.lines.keys() == before.lines.keys()
    assert after.next_seq == before.next_seq == COUNT + 1
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.last_recv_ns) == (COUNT + 1, MIDNIGHT_NS + 2 * HOUR_NS + 3)


def test_a_damaged_line_of_the_segment_log_is_named_and_a_torn_one_passed_over(tmp_path: Path) -> None:
    recorded(tmp_path, 2)
    log = tmp_path / "tape" / SYMBOL / "segments.index"
    whole = log.read_bytes()
    log.write_bytes(whole[:-9])
    assert read_segment_log(log.parent).damages == ()
    for at in range(len(whole.split(b"\n")[0])):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        log.write_bytes(damaged)
        (found,) = read_segment_log(log.parent).damages
        assert found.startswith(f"{log} line 1: must have the checksum")
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert writer.next_seq == 9


def test_a_recovery_that_was_killed_after_it_wrote_what_it_learned_loses_nothing_of_it(
    abandoned: Path, tmp_path: Path
) -> None:
    root = tmp_path / "raw"
    shutil.copytree(abandoned, root)
    path = segments(root)[-1]
    flip(path, 8 * (path.stat().st_size - 1))
    recover_abandoned(root, SYMBOL)
    # As it was when the damaged end had been moved aside, before the segment got its name.
    path.with_suffix(".log").rename(path)
    with TapeWriter(root, SYMBOL) as writer:
        assert writer.next_seq == COUNT + 1
        assert writer.is_end_lost


def test_a_segment_that_was_begun_and_not_written_to_lacks_nothing(tmp_path: Path) -> None:
    (path,) = recorded(tmp_path, 1)
    path.write_bytes(b"")
    reopened(path)
    assert list(read_tape_and_holes(tmp_path, SYMBOL)) == []
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.is_end_lost) == (1, False)
    assert list(read_tape_and_holes(tmp_path, SYMBOL)) == []


def test_an_open_segment_that_ends_before_its_checkpoint_lacks_what_was_acknowledged(
    abandoned: Path, tmp_path: Path
) -> None:
    root = tmp_path / "raw"
    shutil.copytree(abandoned, root)
    write_checkpoint(root, SYMBOL, Checkpoint(COUNT - 1, MIDNIGHT_NS, "of any set", b"state"))
    path = segments(root)[-1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    recover_abandoned(root, SYMBOL)
    (hole,) = [each for each in read_tape_and_holes(root, SYMBOL) if isinstance(each, Hole)]
    assert (hole.first_seq, hole.next_seq) == (10, COUNT)
    assert f"must reach seq {COUNT - 1} of the checkpoint" in hole.reason
    with TapeWriter(root, SYMBOL) as writer:
        assert (writer.next_seq, writer.is_end_lost) == (COUNT, True)


@pytest.mark.parametrize("seq", [1, 4])
def test_the_first_segment_ends_before_its_checkpoint_too(tmp_path: Path, seq: int) -> None:
    (path,) = recorded(tmp_path, 1)
    write_checkpoint(tmp_path, SYMBOL, Checkpoint(seq, MIDNIGHT_NS, "of any set", b"state"))
    reopened(path).write_bytes(b"")
    with TapeWriter(tmp_path, SYMBOL) as writer:
        assert (writer.next_seq, writer.is_end_lost) == (seq + 1, True)


def test_a_checkpoint_of_before_the_end_takes_no_seq(abandoned: Path, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    shutil.copytree(abandoned, root)
    write_checkpoint(root, SYMBOL, Checkpoint(COUNT, MIDNIGHT_NS, "of any set", b"state"))
    with TapeWriter(root, SYMBOL) as writer:
        assert (writer.next_seq, writer.is_end_lost) == (COUNT + 1, False)
