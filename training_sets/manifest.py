"""The manifest: everything that made a dataset, written last, so that a folder with one is complete."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from market.clock import DAY_NS, utc_date
from market.errors import CorruptStore, NotFound
from storage.durable_files import file_sha256
from storage.feature_parts import group_folder
from training_sets.request import DatasetRequest
from transforms.rows import FeatureSet

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
    return {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def raw_partitions(raw_folder: Path, symbols: Iterable[str], *, from_ns: int, to_ns: int) -> list[dict[str, Any]]:
    """Every raw Parquet file of the symbols whose date is touched by [from_ns, to_ns], with its hash."""
    return [
        file_entry(path, raw_folder)
        for symbol in sorted(symbols)
        for path in _dated(raw_folder.glob(f"*/date=*/symbol={symbol}/part-*.parquet"), from_ns=from_ns, to_ns=to_ns)
    ]


def feature_partitions(
    features_folder: Path, chosen: FeatureSet, symbols: Iterable[str], *, from_ns: int, to_ns: int
) -> list[dict[str, Any]]:
    """Every file of the feature log that the dataset's rows can come from, with its hash."""
    return [
        file_entry(path, features_folder)
        for group in chosen.groups
        for symbol in sorted(symbols)
        for path in _dated(
            group_folder(features_folder, group).glob(f"symbol={symbol}/date=*/part-*.parquet"),
            from_ns=from_ns,
            to_ns=to_ns,
        )
    ]


def library_versions() -> dict[str, str]:
    """What computed the bytes: Python and the libraries between the raw data and the files."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def _dated(paths: Iterable[Path], *, from_ns: int, to_ns: int) -> list[Path]:
    first, last = utc_date(from_ns), utc_date(to_ns + DAY_NS - 1)
    return sorted(path for path in paths if first <= _date(path) <= last)


def _date(path: Path) -> str:
    return next(part for part in path.parts if part.startswith("date=")).removeprefix("date=")
