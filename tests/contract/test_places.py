"""What every place of files keeps, on a disk and in an object store: seen whole, found by name, gone if removed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, ClassVar
from uuid import uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from market.errors import Conflict
from storage.durable_files import (
    copy_file,
    file_sha256,
    file_version,
    known_sha256,
    make_folder,
    publish_files,
    remove_files,
    rename_file,
    replace_file,
    stage_file,
)
from storage.file_locks import exclusive
from storage.places import Place, matching
from tests.log_machine import LogMachine
from tests.machines import machine_settings
from tests.manifest_machine import ManifestMachine
from tests.s3_server import FaultProxy, new_object_place


def write(path: Place, text: str) -> None:
    replace_file(path, lambda file: file.write(text.encode()))


def test_a_file_holds_what_was_written_last(place: Place) -> None:
    path = place / "a" / "b" / "one.txt"
    with pytest.raises(FileNotFoundError):
        path.read_bytes()
    versions = []
    for text in ("first", "second", "second"):
        write(path, text)
        assert (path.read_bytes(), path.stat().st_size, path.is_file()) == (text.encode(), len(text), True)
        assert known_sha256(path) == file_sha256(path)
        versions.append(file_version(path))
    assert len({*versions}) == 3


def test_what_is_below_a_folder_is_found_by_its_names(place: Place) -> None:
    for name in ("x/symbol=A/date=1/part-1.parquet", "x/symbol=A/date=2/part-2.parquet", "x/symbol=B/date=1/note.json"):
        write(place / name, name)

    def found(pattern: str) -> list[str]:
        return [path.relative_to(place).as_posix() for path in matching(place, pattern)]

    assert found("*/symbol=A/date=*") == ["x/symbol=A/date=1", "x/symbol=A/date=2"]
    assert found("x/symbol=*/date=1/[!.]*.parquet") == ["x/symbol=A/date=1/part-1.parquet"]
    assert found("x/symbol=A/date=2/part-2.parquet") == ["x/symbol=A/date=2/part-2.parquet"]
    assert found("y/*") == []
    assert sorted(path.name for path in place.rglob("*.parquet")) == ["part-1.parquet", "part-2.parquet"]
    assert sorted(path.name for path in (place / "x").iterdir()) == ["symbol=A", "symbol=B"]
    assert [(place / "x").is_dir(), (place / "y").exists(), (place / "x").is_file()] == [True, False, False]


def test_a_file_that_is_removed_or_renamed_is_not_found_by_its_name(place: Place) -> None:
    for name in ("one", "two", "three"):
        write(place / name, name)
    remove_files([place / "one", place / "none"])
    rename_file(place / "two", "other")
    with pytest.raises(FileNotFoundError):
        rename_file(place / "one", "again")
    with pytest.raises(FileNotFoundError):
        (place / "one").unlink()
    (place / "one").unlink(missing_ok=True)
    assert [path.name for path in matching(place, "*")] == ["other", "three"]
    assert (place / "other").read_bytes() == b"two"


def test_what_was_staged_and_not_published_is_not_seen(place: Place) -> None:
    staged = stage_file(place / "one", lambda file: file.write(b"1"))
    assert not (place / "one").exists()
    publish_files({place / "one": staged})
    assert ((place / "one").read_bytes(), staged.exists()) == (b"1", False)


def test_a_copy_is_compared_and_one_that_is_there_stays(place: Place, tmp_path: Path) -> None:
    write(tmp_path / "here", "content")
    for source, target in ((tmp_path / "here", place / "there"), (place / "there", tmp_path / "back")):
        copy_file(source, target)
        version = file_version(target)
        copy_file(source, target, sha256=file_sha256(source))
        assert (target.read_bytes(), file_version(target)) == (b"content", version)


def test_writers_of_one_folder_lose_nothing_of_each_other(place: Place) -> None:
    names = [f"part-{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: write(place / "day" / name, name), names))
    assert {path.name: path.read_bytes().decode() for path in (place / "day").iterdir()} == {
        each: each for each in names
    }


def test_what_is_exclusive_has_one_holder_at_a_time(place: Place) -> None:
    lock, held, most = place / "locks" / "one", [0], []

    def work(_number: int) -> None:
        with exclusive(lock):
            held[0] += 1
            most.append(held[0])
            held[0] -= 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(6)))
    assert most == [1] * 6
    with (
        exclusive(lock),
        pytest.raises(Conflict, match=r"held by another.*, gave up waiting"),
        exclusive(lock, gives_up=lambda: True),
    ):
        pass


def _write(text: str, file: BinaryIO) -> None:
    file.write(text.encode())


class PlaceMachine(RuleBasedStateMachine):
    """Files of two folders against a plain dict."""

    names = st.sampled_from(["a", "b", "c"])
    folders = st.sampled_from(["one", "two/deep"])

    of: ClassVar[Place]

    def __init__(self) -> None:
        super().__init__()
        self.top = self.of / uuid4().hex
        self.files: dict[str, str] = {}
        self.written = 0
        make_folder(self.top)

    @rule(folder=folders, chosen=st.lists(names, min_size=1, max_size=3, unique=True))
    def publish(self, folder: str, chosen: list[str]) -> None:
        self.written += 1
        staged: dict[Place, Path] = {}
        for name in chosen:
            path = self.top / folder / name
            text = f"{name} {self.written}"
            staged[path] = stage_file(path, partial(_write, text))
            self.files[f"{folder}/{name}"] = text
        publish_files(staged)

    @rule(folder=folders, name=names)
    def remove(self, folder: str, name: str) -> None:
        remove_files([self.top / folder / name])
        self.files.pop(f"{folder}/{name}", None)

    @precondition(lambda self: len(self.files) > 0)
    @rule(name=names)
    def rename(self, name: str) -> None:
        old = min(self.files)
        rename_file(self.top / old, name)
        self.files[f"{old.rpartition('/')[0]}/{name}"] = self.files.pop(old)

    @invariant()
    def what_is_found_is_what_was_written(self) -> None:
        found = {path.relative_to(self.top).as_posix(): path.read_bytes().decode() for path in self.top.rglob("[abc]")}
        assert found == self.files


def test_files_of_a_place_are_those_of_a_plain_dict(place: Place) -> None:
    PlaceMachine.of = place
    run_state_machine_as_test(PlaceMachine, settings=machine_settings(runs=2, steps=4))


class ObjectLogMachine(LogMachine):
    """The feature log of an object store."""

    def new_folder(self) -> Place:
        return new_object_place()


class ObjectManifestMachine(ManifestMachine):
    """Raw Parquet in an object store."""

    def new_place(self) -> Place:
        return new_object_place()


@pytest.mark.parametrize("machine", [ObjectLogMachine, ObjectManifestMachine])
def test_stores_in_an_object_store_are_those_of_a_disk(
    s3: FaultProxy,  # must be there
    machine: type[RuleBasedStateMachine],
) -> None:
    run_state_machine_as_test(machine, settings=machine_settings(runs=2, steps=5))
