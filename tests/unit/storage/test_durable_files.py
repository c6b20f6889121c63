"""Durable files: a replacement happens as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from market.errors import StoreUnavailable
from storage.durable_files import file_sha256, known_sha256, replace_file


def test_a_replacement_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    replace_file(path, lambda file: file.write(b"old"))

    def fail(error: BaseException) -> None:
        raise error

    with pytest.raises(StoreUnavailable, match="no room"):
        replace_file(path, lambda _: fail(OSError("no room")))
    with pytest.raises(ZeroDivisionError):
        replace_file(path, lambda _: fail(ZeroDivisionError()))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_a_replacement_is_on_disk_before_its_name_is_and_its_name_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps = tmp_path / "kept", list[str]()
    sync, rename = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        sync(descriptor)
        steps.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve() == tmp_path else "bytes")

    def note_rename(staged: Path, target: Path) -> Path:
        steps.append("name")
        return rename(staged, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    replace_file(path, lambda file: file.write(b"new"))
    assert steps == ["bytes", "name", "folder"]


def test_a_remembered_hash_is_that_of_the_bytes_though_size_and_time_stay(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    before = path.stat()
    assert known_sha256(path) == known_sha256(path) == file_sha256(path)
    # The file system's clock ticks every few milliseconds.
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_bytes(b"new")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_sha256(path) == file_sha256(path)
    replace_file(path, lambda file: file.write(b"two"))
    assert known_sha256(path) == file_sha256(path)
