"""Downloads: which files of a finished dataset make up a split, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from market.errors import Conflict, CorruptStore, NotFound
from storage.database.metadata import DatasetRecord
from training_sets.dataset.manifest import MANIFEST_NAME, QUALITY_NAME, REPORT_NAME, read_manifest
from training_sets.dataset.records import stored_request
from training_sets.request.request import OutputFormat


@dataclass(frozen=True, slots=True)
class Download:
    """Files below a dataset's folder; ``is_one_file``: the file of a split itself, else they go together."""

    folder: Path
    paths: tuple[Path, ...]
    is_one_file: bool
    output_format: OutputFormat


def dataset_folder(record: DatasetRecord) -> Path:
    """Where a ready dataset lies. Raises CorruptStore when its record does not say."""
    if record.path is None:
        raise CorruptStore(f"dataset {record.dataset_id}: must have a path once it is ready, was none")
    return Path(record.path)


def download_files(record: DatasetRecord, split: str) -> Download:
    """The file of a split, those of a split in every fold, or for "all" every file with the manifest and the report.

    Raises Conflict unless the dataset is ready, NotFound for a split that it has not, CorruptStore for a missing file.
    """
    if record.status != "ready":
        raise Conflict(f"dataset {record.dataset_id}: must be ready to be downloaded, was {record.status}")
    folder = dataset_folder(record)
    files = {name: folder / entry["path"] for name, entry in read_manifest(folder)["files"].items()}
    chosen = [path for name, path in files.items() if split in {"all", name.rpartition("/")[2]}]
    if not chosen:
        raise NotFound(f"split: must be one of {', '.join(files)}, was {split!r}")
    documents = [folder / name for name in (MANIFEST_NAME, QUALITY_NAME, REPORT_NAME)] if split == "all" else []
    paths = [*chosen, *(path for path in documents if path.is_file())]
    return Download(folder, _existing(paths), split in files, stored_request(record).output_format)


def _existing(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Checked before an answer begins: afterwards it could only break off."""
    for path in paths:
        if not path.is_file():
            raise CorruptStore(f"{path}: must be a file of the dataset, was none")
    return tuple(paths)
