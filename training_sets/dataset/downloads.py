"""Downloads: which files of a finished dataset make up a split, or all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from market.errors import Conflict, CorruptStore, NotFound
from storage.database.dataset_records import DatasetRecord
from storage.places import Place, place_of
from training_sets.dataset.files import fold_name
from training_sets.dataset.manifest import (
    MANIFEST_NAME,
    FileEntry,
    intact_file,
    read_manifest,
    split_entries,
    stated_files,
)
from training_sets.dataset.records import stored_request
from training_sets.request.request import OutputFormat


@dataclass(frozen=True, slots=True)
class Download:
    """Files below a dataset's folder; ``is_one_file``: the file of a split itself, else they go together."""

    folder: Place
    paths: tuple[Place, ...]
    is_one_file: bool
    output_format: OutputFormat


def dataset_folder(record: DatasetRecord) -> Place:
    """Where a ready dataset lies. Raises CorruptStore when its record does not say."""
    if record.path is None:
        raise CorruptStore(f"dataset {record.dataset_id}: must have a path once it is ready, was none")
    return place_of(record.path)


def download_files(record: DatasetRecord, split: str) -> Download:
    """The file of a split, those of a split in every fold, or for "all" every file with the manifest and the report.

    Every one is what the manifest states, which is found before an answer begins: afterwards it could only break off.

    Raises Conflict unless the dataset is ready, NotFound for a split that it has not, CorruptStore for a file that is
    missing or changed.
    """
    if record.status != "ready":
        raise Conflict(f"dataset {record.dataset_id}: must be ready to be downloaded, was {record.status}")
    folder = dataset_folder(record)
    manifest = read_manifest(folder)
    splits = split_entries(manifest)
    chosen = list(stated_files(manifest).values()) if split == "all" else split_of(splits, split)
    paths = [intact_file(folder, entry) for entry in chosen]
    if split == "all":
        paths.append(folder / MANIFEST_NAME)
    return Download(folder, tuple(paths), split in splits, stored_request(record).output_format)


def split_of(splits: Mapping[str, FileEntry], split: str, fold: int | None = None) -> list[FileEntry]:
    """The entries of a split in the order of the folds, or of one fold. Raises NotFound when there is none."""
    wanted = None if fold is None else fold_name(fold)
    chosen = [
        entry
        for name, entry in splits.items()
        if name.rpartition("/")[2] == split and wanted in {None, name.rpartition("/")[0]}
    ]
    if not chosen:
        of_fold = "" if fold is None else f" of fold {fold}"
        raise NotFound(f"split: must be one of {', '.join(splits)}, was {split!r}{of_fold}")
    return chosen
