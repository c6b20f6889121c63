"""One disk under many tapes: one thread, one sync a group, and what was told to be durable outlasts the power."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from market.clock import DAY_NS, HOUR_NS, SECOND_NS
from market.errors import StoreUnavailable
from storage import group_sync
from storage.group_sync import GroupSync, tells_of_failures
from storage.tape import TapeDisk, TapeWriter, read_tape, read_tape_and_holes
from storage.tape.frames import Frame, read_frames
from storage.tape.segment_log import read_segment_log

BEGIN_NS = 20_000 * DAY_NS
SYMBOLS = [f"S{number}" for number in range(5)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[TapeDisk]:
    """One that writes when it is hurried, and otherwise after a minute."""
    with closing(TapeDisk(tmp_path, sync_ms=60_000)) as opened:
        yield opened


def writers(root: Path, disk: TapeDisk) -> list[TapeWriter]:
    return [TapeWriter(root, symbol, disk=disk) for symbol in SYMBOLS]


def test_one_thread_writes_all_tapes_and_one_wait_makes_all_of_them_durable(tmp_path: Path, disk: TapeDisk) -> None:
    before = threading.active_count()
    tapes = writers(tmp_path, disk)
    for tape in tapes:
        tape.append(BEGIN_NS, tape.name.encode())
    tapes[0].sync()

    assert threading.active_count() == before + 1
    assert [tape.durable_seq for tape in tapes] == [1] * len(SYMBOLS)
    assert [[frame.body for frame in read_tape(tmp_path, symbol)] for symbol in SYMBOLS] == [
        [symbol.encode()] for symbol in SYMBOLS
    ]


def test_many_tapes_that_begin_and_end_their_segments_take_as_many_syncs_as_one(
    tmp_path: Path, disk: TapeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[int] = []
    settle = disk.sync.settle

    def counted() -> None:
        settled.append(1)
        settle()

    monkeypatch.setattr(disk.sync, "settle", counted)
    tapes = writers(tmp_path, disk)
    syncs = []
    for recv_ns in (BEGIN_NS, BEGIN_NS + 1, BEGIN_NS + HOUR_NS):
        for tape in tapes:
            tape.append(recv_ns, b"x")
        tapes[0].sync()
        syncs.append(len(settled))
    disk.close()

    # A group; another; the ends of segments before their names, then a group; the ends and their names.
    assert [*syncs, len(settled)] == [1, 2, 4, 6]


def test_a_tape_that_is_closed_leaves_the_others_to_go_on(tmp_path: Path, disk: TapeDisk) -> None:
    first, *others = writers(tmp_path, disk)
    first.append(BEGIN_NS, b"a")
    first.close()
    others[0].append(BEGIN_NS, b"b")
    others[0].sync()

    assert [frame.body for frame in read_tape(tmp_path, first.name)] == [b"a"]
    assert list((tmp_path / "tape" / first.name).glob("*/*.open")) == []
    with TapeWriter(tmp_path, first.name, disk=disk) as again:
        assert again.append(BEGIN_NS + 1, b"c") == 2


def test_a_closed_disk_has_finished_every_segment_and_takes_no_other_tape(tmp_path: Path, disk: TapeDisk) -> None:
    tapes = writers(tmp_path, disk)
    for tape in tapes:
        tape.append(BEGIN_NS, b"x")
    disk.close()

    assert list((tmp_path / "tape").glob("*/*/*.open")) == []
    assert len(list((tmp_path / "tape").glob("*/*/*.log"))) == len(SYMBOLS)
    with pytest.raises(ValueError, match="must be open"):
        tapes[0].append(BEGIN_NS, b"y")
    for tape in tapes:
        tape.close()
    with pytest.raises(ValueError, match="must be open"):
        TapeWriter(tmp_path, "LATE", disk=disk)


def test_what_the_disk_refuses_one_tape_ends_all_of_them(tmp_path: Path, disk: TapeDisk) -> None:
    first, second, *others = writers(tmp_path, disk)
    told: list[int] = []
    # A file where the date's folder should be: root may write into a read-only folder.
    (tmp_path / "tape" / first.name / "2024-10-04").write_text("")
    second.when_durable(second.append(BEGIN_NS, b"b"), lambda: told.append(1))
    first.append(BEGIN_NS, b"a")
    with pytest.raises(StoreUnavailable, match=f"tape {first.name}: cannot be written to disk"):
        second.sync()
    for tape in (first, second, *others):
        with pytest.raises(StoreUnavailable, match=f"tape {first.name}: cannot be written to disk"):
            tape.append(BEGIN_NS + 1, b"c")
        with pytest.raises(StoreUnavailable):
            tape.close()
    assert told == []
    with pytest.raises(StoreUnavailable):
        TapeWriter(tmp_path, first.name, disk=disk)


def test_a_filesystem_that_could_not_be_synced_ends_all_tapes(
    tmp_path: Path, disk: TapeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_place: object) -> None:
        raise OSError(5, "Input/output error")

    tapes = writers(tmp_path, disk)
    monkeypatch.setattr(group_sync, "sync_filesystem", refuse)
    monkeypatch.setattr(os, "fdatasync", refuse)  # where the folder is on a filesystem that is not believed
    for tape in tapes:
        tape.append(BEGIN_NS, b"x")
    for tape in tapes:
        with pytest.raises(StoreUnavailable, match=r"cannot be written to disk, .*Input/output error"):
            tape.sync()
    assert [tape.durable_seq for tape in tapes] == [0] * len(SYMBOLS)


def synced_by(root: Path, count: int, monkeypatch: pytest.MonkeyPatch, *, other_device: bool = False) -> list[str]:
    """How ``settle`` makes so many written files durable."""
    calls: list[str] = []
    monkeypatch.setattr(group_sync, "sync_filesystem", lambda _descriptor: calls.append("filesystem"))
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: calls.append("file"))
    sync = GroupSync(root)
    sync.open()
    if other_device:
        sync.check_device(-1)
    for descriptor in range(1000, 1000 + count):
        sync.file(descriptor)
        sync.file(descriptor)
    sync.settle()
    sync.settle()
    sync.close()
    return calls


def test_few_files_are_synced_one_by_one_and_many_by_their_filesystem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_sync, "tells_of_failures", lambda _folder: True)
    assert synced_by(tmp_path, group_sync.FEW, monkeypatch) == ["file"] * group_sync.FEW
    assert synced_by(tmp_path, group_sync.FEW + 1, monkeypatch) == ["filesystem"]


def test_a_filesystem_that_hides_failures_and_files_elsewhere_are_synced_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not tells_of_failures(Path("/proc"))
    monkeypatch.setattr(group_sync, "tells_of_failures", lambda _folder: True)
    assert synced_by(tmp_path, 9, monkeypatch, other_device=True) == ["file"] * 9
    monkeypatch.setattr(group_sync, "tells_of_failures", lambda _folder: False)
    assert synced_by(tmp_path, 9, monkeypatch) == ["file"] * 9


def test_a_filesystem_is_synced_at_once_and_says_when_it_is_not(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x")
        group_sync.sync_filesystem(file.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        group_sync.sync_filesystem(-1)


class PowerCut:
    """A folder whose machine loses its power at one of the syncs: what was not settled before may be gone.

    What a filesystem may leave: its names with the bytes cut short, its names with zeros instead, or neither.
    """

    def __init__(self, root: Path, sync: GroupSync, *, at: int) -> None:
        self._root, self._sync, self._settle, self._left = root, sync, sync.settle, at
        self._settled = root.with_name("settled")
        self._sizes: dict[int, int] = {}
        shutil.copytree(root, self._settled)

    def settle(self) -> None:
        if self._left == 0:
            raise OSError(5, "power is out")
        self._left -= 1
        # Of those files alone that the tapes have named, as where each is synced by itself.
        written = [place.stat() if isinstance(place, Path) else os.fstat(place) for place in self._sync._written]
        self._settle()
        self._sizes.update((each.st_ino, each.st_size) for each in written)
        shutil.rmtree(self._settled)
        shutil.copytree(self._root, self._settled)

    def left_behind(self) -> Iterator[Path]:
        yield self._settled
        for is_zeros in (False, True):
            left = self._root.with_name(f"zeros-{is_zeros}")
            shutil.copytree(self._root, left)
            for path in _files(self._root):
                copy, size = left / path.relative_to(self._root), path.stat().st_size
                os.truncate(copy, self._sizes.get(path.stat().st_ino, 0))
                if is_zeros:
                    os.truncate(copy, size)
            yield left


def _files(root: Path) -> Sequence[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("at", range(9))
def test_what_was_told_to_be_durable_outlasts_the_power_and_a_finished_segment_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    root = tmp_path / "raw"
    (root / "tape").mkdir(parents=True)
    disk = TapeDisk(root, sync_ms=60_000)
    cut = PowerCut(root, disk.sync, at=at)
    monkeypatch.setattr(disk.sync, "settle", cut.settle)
    tapes = [TapeWriter(root, symbol, disk=disk, segment_ns=2 * SECOND_NS) for symbol in SYMBOLS[:3]]
    with suppress(StoreUnavailable):
        for step in range(9):
            for tape in tapes:
                tape.append(BEGIN_NS + step * SECOND_NS, b"%d" % step)
            if step % 3 == 0:
                tapes[0].sync()
    disk.close()
    for tape in tapes:
        with pytest.raises(StoreUnavailable, match="power is out"):
            tape.close()

    for left in cut.left_behind():
        for path in left.glob("tape/*/*/*.log"):
            assert [each for each in read_frames(path) if not isinstance(each, Frame)] == [], path
        for tape in tapes:
            assert read_segment_log(left / "tape" / tape.name).next_seq > tape.durable_seq
            with TapeWriter(left, tape.name) as again:
                assert again.next_seq > tape.durable_seq
            found = read_tape_and_holes(left, tape.name)
            seqs = [each.seq for each in found if isinstance(each, Frame)]
            assert seqs[: tape.durable_seq] == list(range(1, tape.durable_seq + 1)), left
