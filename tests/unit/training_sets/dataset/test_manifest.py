"""A manifest is believed only where the files agree with it, and never leads out of the dataset's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from market.errors import CorruptStore
from storage.places import local
from training_sets.dataset.manifest import (
    MANIFEST_NAME,
    FileEntry,
    intact_file,
    lineage,
    read_manifest,
    split_entries,
    stated_files,
    summary,
)
from training_sets.provenance import file_entry

CONTENT = bytes(range(256))


@pytest.fixture
def entry(tmp_path: Path) -> FileEntry:
    path = tmp_path / "one" / "fold-000" / "train.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return FileEntry(**file_entry(path, tmp_path / "one"))


def test_a_file_is_given_while_it_is_what_its_manifest_states(tmp_path: Path, entry: FileEntry) -> None:
    assert intact_file(tmp_path / "one", entry).read_bytes() == CONTENT


def test_any_flipped_byte_is_refused_even_with_the_old_times(tmp_path: Path, entry: FileEntry) -> None:
    path = local(intact_file(tmp_path / "one", entry))
    before = path.stat()
    for at in (0, 100, 255):
        path.write_bytes(CONTENT[:at] + bytes([CONTENT[at] ^ 1]) + CONTENT[at + 1 :])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(CorruptStore, match="must have the bytes that its manifest states"):
            intact_file(tmp_path / "one", entry)


@pytest.mark.parametrize("named", ["../secret", "fold-000/../../secret", "/etc/hostname", "", "."])
def test_a_path_never_leaves_the_folder(tmp_path: Path, entry: FileEntry, named: str) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(CorruptStore, match="must"):
        intact_file(tmp_path / "one", FileEntry(named, entry.bytes, entry.sha256))


@pytest.mark.parametrize("linked", ["fold-000/train.parquet", "fold-000"])
def test_a_symbolic_link_is_refused_at_every_step_of_the_path(tmp_path: Path, entry: FileEntry, linked: str) -> None:
    original = tmp_path / "one" / linked
    original.rename(tmp_path / "elsewhere")
    original.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptStore, match="must be no symbolic link"):
        intact_file(tmp_path / "one", entry)


@pytest.mark.parametrize("content", ["{", "[]", "null", '"text"', "\0", "\ud800"])
def test_a_broken_manifest_is_told_by_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(CorruptStore, match=rf"{MANIFEST_NAME}: must be a dataset's manifest"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"files": None},
        {"files": {"train": {"path": "train.parquet"}}},
        {"files": {"train": {"path": 3, "bytes": 1, "sha256": ""}}},
        {"files": {}, "quality": {"files": {"a": 1}}},
    ],
    ids=json.dumps,
)
def test_a_manifest_that_states_no_files_is_told(manifest: dict[str, object]) -> None:
    for stated in (split_entries, stated_files):
        with pytest.raises(CorruptStore, match="must state its files"):
            stated(manifest)


def test_a_summary_counts_the_files_that_the_lineage_names() -> None:
    files = [{"path": f"part-{number}", "bytes": 1, "sha256": "0"} for number in range(2_000)]
    manifest = {"code": "c", "raw_partitions": files, "feature_partitions": files[:1], "records": {"train": 1}}
    assert summary(manifest) == {"code": "c", "raw_partitions": 2_000, "feature_partitions": 1, "records": {"train": 1}}
    assert lineage(manifest) == {"code": "c", "raw_partitions": files, "feature_partitions": files[:1]}
