"""The manifest: everything that made a dataset, written last, so that a folder with one is complete."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from market.clock import DAY_NS, floor_to, utc_date
from market.errors import CorruptStore, NotFound
from storage.durable_files import known_sha256
from storage.features.parts import group_folder
from training_sets.request.request import DatasetRequest
from transforms.rows import FeatureGroup

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


def file_entry(path: Path, folder: Path) -> dict[str, Any]:
    """Path in the folder, bytes and SHA-256 of a file."""
    return {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": known_sha256(path)}


def stated_files(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest states of each file of the dataset, by path."""
    entries = [*manifest["files"].values(), *manifest["quality"].get("files", [])]
    return {entry["path"]: entry for entry in entries}


def is_intact(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file of the folder is there and what its entry states."""
    path = folder / entry["path"]
    return path.is_file() and file_entry(path, folder) == entry


def feature_partitions(
    features_folder: Path, groups: Iterable[FeatureGroup], symbols: Iterable[str], *, from_ns: int, to_ns: int
) -> list[dict[str, Any]]:
    """Every file of the feature log, served or rebuilt, of the dates that [from_ns, to_ns] touches, with its hash."""
    return [
        entry
        for group in groups
        for symbol in sorted(symbols)
        for day_ns in range(floor_to(from_ns, DAY_NS), to_ns + 1, DAY_NS)
        for entry in day_partitions(features_folder, group, symbol, utc_date(day_ns))
    ]


def day_partitions(features_folder: Path, group: FeatureGroup, symbol: str, date: str) -> list[dict[str, Any]]:
    """Those of one symbol and date, by name."""
    folder = group_folder(features_folder, group) / f"symbol={symbol}" / f"date={date}"
    return [file_entry(path, features_folder) for path in sorted(folder.glob("[!.]*.parquet"))]


def library_versions() -> dict[str, str]:
    """What computed the bytes: Python and the libraries between the raw data and the files."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
