"""The manifest: everything that made a dataset, written last, so that a folder with one is complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from market.errors import CorruptStore, NotFound
from training_sets.provenance import file_entry
from training_sets.request.request import DatasetRequest

MANIFEST_NAME: Final = "manifest.json"
QUALITY_NAME: Final = "quality.json"
REPORT_NAME: Final = "report.html"
_LIBRARIES: Final = ("feast", "h5py", "numba", "numpy", "pandas", "pyarrow")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished dataset. Raises NotFound when the folder holds none."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise NotFound(f"{path}: must be the manifest of a finished dataset, was no file")
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write it under a dot name, then give it its own."""
    unfinished = folder / f".{MANIFEST_NAME}"
    unfinished.write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")
    unfinished.replace(folder / MANIFEST_NAME)


def manifest_request(manifest: Mapping[str, Any]) -> DatasetRequest:
    """The request that a manifest was made from. Raises CorruptStore when it states none that is understood."""
    try:
        return msgspec.convert(manifest["request"], DatasetRequest)
    except (KeyError, msgspec.ValidationError) as error:
        raise CorruptStore(f"manifest: must state its request, was {error}") from error


def stated_files(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest states of each file of the dataset, by path."""
    entries = [*manifest["files"].values(), *manifest["quality"].get("files", [])]
    return {entry["path"]: entry for entry in entries}


def is_intact(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file of the folder is there and what its entry states."""
    path = folder / entry["path"]
    return path.is_file() and file_entry(path, folder) == entry
