"""The manifest: everything that made a dataset, written last, so that a folder with one is complete.

Its name, as those of the other documents, begins with an underscore, by which readers of a folder of Parquet files pass
over what is no row. What it states is checked before it is believed: a file is used only if it has the bytes that the
manifest names, and lies in the dataset's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from market.errors import CorruptStore, NotFound
from storage.durable_files import read_sha256
from storage.places import Place
from training_sets.dataset.files import PATH, barrier_columns
from training_sets.request.folds import PurgedCombinations
from training_sets.request.request import DatasetRequest, stated_request
from training_sets.request.weighting import CONCURRENCY, WEIGHT

MANIFEST_NAME: Final = "_manifest.json"
QUALITY_NAME: Final = "_quality.json"
REPORT_NAME: Final = "_report.html"
PROFILE_NAME: Final = "_profile.json"
PERFORMANCE_NAME: Final = "_performance.json"
"""No file of the manifest: a second build takes another time."""
KEYS: Final = ("symbol", "timestamp", "fold")
LINEAGE: Final = ("raw_partitions", "feature_partitions", "served_partitions", "joined_files")
"""Entries that list every file that a dataset was made of."""


class FileEntry(msgspec.Struct, frozen=True):
    """What a manifest states of a file: its path in the dataset's folder, its bytes and their SHA-256."""

    path: str
    bytes: int
    sha256: str


class _StatedQuality(msgspec.Struct):
    files: list[FileEntry] = []


class _StatedFiles(msgspec.Struct):
    files: dict[str, FileEntry]
    quality: _StatedQuality = msgspec.field(default_factory=_StatedQuality)
    schema_file: FileEntry | None = None
    profile: FileEntry | None = None
    fitted_steps: FileEntry | None = None


# Made at import: msgspec learns a class at its first use, which ends the process where two threads do it at once.
_LEARNED: Final = msgspec.json.Decoder(_StatedFiles)


def read_manifest(folder: Place) -> dict[str, Any]:
    """The manifest of a finished dataset.

    Raises NotFound when the folder holds none, CorruptStore when it is no JSON object.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise NotFound(f"{path}: must be the manifest of a finished dataset, was no file")
    if path.is_symlink():
        raise CorruptStore(f"{path}: must be no symbolic link, was one")
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CorruptStore(f"{path}: must be a dataset's manifest, was {error}") from error
    if not isinstance(manifest, dict):
        raise CorruptStore(f"{path}: must be a dataset's manifest, was {type(manifest).__name__}")
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write it under a dot name, then give it its own."""
    unfinished = folder / f".{MANIFEST_NAME}"
    write_json(unfinished, manifest)
    unfinished.replace(folder / MANIFEST_NAME)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """A document of a dataset, a line a value. Raises ValueError for a number that JSON has not."""
    # Python's own indentation goes through Python objects one by one: fifteen times as long.
    path.write_bytes(msgspec.json.format(json.dumps(document, allow_nan=False).encode(), indent=2) + b"\n")


def write_performance(folder: Path, performance: Mapping[str, Any]) -> None:
    """How long the build took, stored next to its files."""
    (folder / PERFORMANCE_NAME).write_text(json.dumps(performance, indent=2) + "\n")


def read_performance(folder: Place) -> dict[str, Any] | None:
    """How long the build took; None of one that was not measured. Raises CorruptStore."""
    path = folder / PERFORMANCE_NAME
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CorruptStore(f"{path}: must say how long a build took, was {error}") from error
    return found


def column_roles(columns: Sequence[str], request: DatasetRequest) -> dict[str, list[str]]:
    """What each column of the files is to a model: keys, features, targets, weights, or details of a target.

    ``inputs``, if there are any: what a model takes in addition to the features of the feature log.
    """
    keys = [name for name in columns if name in KEYS]
    targets = [target.name for target in request.targets]
    details = [name for target in targets for name in barrier_columns(target) if name in columns]
    weights = [WEIGHT] if request.weighting is not None else []
    details += [CONCURRENCY] if request.weighting is not None else []
    details += [PATH] if isinstance(request.strategy, PurgedCombinations) else []
    inputs = {"inputs": list(request.input_names)} if request.input_names else {}
    told = {*keys, *targets, *details, *weights, *inputs.get("inputs", ())}
    features = [name for name in columns if name not in told]
    return {"keys": keys, "features": features, "targets": targets, "weights": weights, "details": details, **inputs}


def summary(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the number of files that the dataset was made of, in place of the files: thousands for months."""
    return {key: len(value) if key in LINEAGE else value for key, value in manifest.items()}


def lineage(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a dataset was made of: its code, libraries, groups, and every file with its hash."""
    named = ("code", "libraries", "feature_registry_version", "feature_set", "groups", "joined_views", *LINEAGE)
    return {key: manifest[key] for key in named if key in manifest}


def manifest_request(manifest: Mapping[str, Any]) -> DatasetRequest:
    """The request that a manifest was made from. Raises CorruptStore when it states none that is understood."""
    try:
        return stated_request(manifest["request"])
    except (KeyError, msgspec.ValidationError) as error:
        raise CorruptStore(f"manifest: must state its request, was {error}") from error


def split_entries(manifest: Mapping[str, Any]) -> dict[str, FileEntry]:
    """What a manifest states of the file of each split, by "train", or by "fold-000/train". Raises CorruptStore."""
    return _stated(manifest).files


def stated_files(manifest: Mapping[str, Any]) -> dict[str, FileEntry]:
    """What the manifest states of each file of the dataset, by path. Raises CorruptStore."""
    stated = _stated(manifest)
    others = [entry for entry in (stated.schema_file, stated.profile, stated.fitted_steps) if entry is not None]
    return {entry.path: entry for entry in (*stated.files.values(), *others, *stated.quality.files)}


def profile_entry(manifest: Mapping[str, Any]) -> FileEntry | None:
    """What a manifest states of the profile's file; None of a dataset that keeps none. Raises CorruptStore."""
    return _stated(manifest).profile


def steps_entry(manifest: Mapping[str, Any]) -> FileEntry | None:
    """What a manifest states of the file of fitted steps; None of a dataset that has none. Raises CorruptStore."""
    return _stated(manifest).fitted_steps


def intact_file(folder: Place, entry: FileEntry) -> Place:
    """The path of a file that is what its entry states; its bytes are read once, until it changes.

    Raises CorruptStore when it is missing, has other bytes, is reached by a symbolic link, or is not in the folder.
    """
    parts = PurePosixPath(entry.path).parts
    if not parts or PurePosixPath(entry.path).is_absolute() or ".." in parts:
        raise CorruptStore(f"manifest of {folder.name}: a file must lie in the dataset's folder, was {entry.path!r}")
    path: Place = folder
    for part in parts:
        path /= part
        if path.is_symlink():
            raise CorruptStore(f"{path}: must be no symbolic link, was one")
    if not path.is_file():
        raise CorruptStore(f"{path}: must be a file of the dataset, was none")
    try:
        found = FileEntry(entry.path, path.stat().st_size, read_sha256(path))
    except OSError as error:
        raise CorruptStore(f"{path}: must be readable, was {error}") from error
    if found != entry:
        raise CorruptStore(f"{path}: must have the bytes that its manifest states, was changed")
    return path


def is_intact(folder: Place, entry: FileEntry) -> bool:
    """Whether a file of the folder is there and what its entry states."""
    try:
        intact_file(folder, entry)
    except CorruptStore:
        return False
    return True


def _stated(manifest: Mapping[str, Any]) -> _StatedFiles:
    try:
        return msgspec.convert(manifest, _StatedFiles)
    except msgspec.ValidationError as error:
        raise CorruptStore(f"manifest: must state its files, was {error}") from error
