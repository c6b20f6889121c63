"""A group of files: none has its name before all are durable, and one that is left unpublished leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from market.errors import StoreUnavailable
from storage.durable_files import stage_file
from storage.file_group import FEW, FileGroup, group_sync
from storage.group_sync import GroupSync


class Watched(GroupSync):
    """Notes, each time that it settles, which files of the folder have their name and what the disk waits for."""

    def __init__(self, folder: Path, *, refuses_at: int | None = None) -> None:
        super().__init__(folder)
        self.root = folder
        self.named: list[list[str]] = []
        self.pending: set[str] = set()
        self.settled: list[set[str]] = []
        self._refuses_at = refuses_at

    def written(self, path: Path, file: BinaryIO) -> None:  # noqa: ARG002  # as GroupSync has it
        self.pending.add(path.name.split(".")[1])

    def folder(self, path: Path) -> None:
        self.pending.add(f"{path.name}/")

    def settle(self) -> None:
        if self._refuses_at == len(self.named):
            raise OSError(5, "no")
        self.named.append(sorted(path.name for path in self.root.rglob("*") if path.is_file() and path.name[0] != "."))
        self.settled.append(self.pending)
        self.pending = set()


def stage(group: FileGroup, path: Path, content: bytes = b"new") -> None:
    staged = stage_file(path, lambda file: file.write(content), sync=group.sync)
    group.on_leaving(lambda: staged.unlink(missing_ok=True))
    group.add(path, staged)


def test_files_are_durable_before_any_has_its_name_and_the_names_afterwards(tmp_path: Path) -> None:
    sync = Watched(tmp_path)
    told = []
    with FileGroup(sync) as group:
        stage(group, tmp_path / "one" / "a")
        stage(group, tmp_path / "two" / "b")
        group.on_published(lambda: told.append(len(sync.named)))
        assert not told
        group.publish()
    assert sync.named == [[], ["a", "b"]]
    assert sync.settled == [{"a", "b", f"{tmp_path.name}/"}, {"one/", "two/"}]
    assert told == [2]
    assert (tmp_path / "two" / "b").read_bytes() == b"new"


def test_what_the_disk_refuses_leaves_the_files_of_before_and_nothing_beside_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with FileGroup(Watched(tmp_path, refuses_at=0)) as group:
        stage(group, tmp_path / "a")
        group.on_published(lambda: pytest.fail("it was not"))
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            group.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_many_files_are_synced_with_their_filesystem(tmp_path: Path) -> None:
    sync = group_sync(tmp_path / "made")
    assert sync is not None
    with FileGroup(sync) as group:
        for number in range(FEW + 1):
            stage(group, tmp_path / "made" / str(number))
        group.publish()
    sync.close()
    assert len(list((tmp_path / "made").iterdir())) == FEW + 1
