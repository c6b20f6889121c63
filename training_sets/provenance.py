"""Provenance: hashes and versions of what a result was computed from."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from market.clock import DAY_NS, floor_to, utc_date
from storage.durable_files import known_sha256
from storage.features.parts import group_folder
from transforms.rows import FeatureGroup
from transforms.source_digest import source_digest

_PACKAGES: Final = ("market", "transforms", "feature_repo", "storage", "quality", "training_sets")
_LIBRARIES: Final = ("feast", "numba", "numpy", "pandas", "pyarrow")


def code_digest() -> str:
    """Hash of the source of every package that a dataset goes through."""
    return source_digest(_PACKAGES)


def library_versions() -> dict[str, str]:
    """What computed the bytes: Python and the libraries between the raw data and the files."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def file_entry(path: Path, folder: Path) -> dict[str, Any]:
    """Path in the folder, bytes and SHA-256 of a file."""
    return {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": known_sha256(path)}


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
