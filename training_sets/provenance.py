"""Provenance: hashes and versions of what a result was computed from."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyarrow.fs as pafs

from market.clock import DAY_NS, floor_to, utc_date
from storage.durable_files import known_content, known_sha256
from storage.features.log import FeatureLog
from storage.features.merging import superseded_parts
from storage.features.parts import parts_of_date
from storage.features.served_ticks import served_tick_files
from storage.places import Place
from transforms.rows import FeatureGroup
from transforms.source_digest import source_digest

_PACKAGES: Final = ("market", "transforms", "feature_repo", "storage", "quality", "training_sets")
_LIBRARIES: Final = ("feast", "numba", "numpy", "pandas", "pyarrow")


def code_digest() -> str:
    """Hash of the source of every package that a dataset goes through."""
    return source_digest(_PACKAGES)


def library_versions() -> dict[str, str]:
    """What computed the bytes: Python and the libraries between the raw data and the files."""
    return dict(_library_versions())


@cache
def _library_versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def file_entry(path: Place, folder: Place) -> dict[str, Any]:
    """Path in the folder, bytes and SHA-256 of a file."""
    sha256, size = known_content(path)
    return {"path": path.relative_to(folder).as_posix(), "bytes": size, "sha256": sha256}


def outside_entry(filesystem: pafs.FileSystem, path: str) -> dict[str, Any]:
    """Whole path, bytes and SHA-256 of a file that lies in no folder of ours."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        return {"path": path, "bytes": Path(path).stat().st_size, "sha256": known_sha256(Path(path))}
    digest = hashlib.sha256()
    with filesystem.open_input_stream(path) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return {"path": path, "bytes": filesystem.get_file_info(path).size, "sha256": digest.hexdigest()}


def feature_partitions(
    log: FeatureLog, groups: Iterable[FeatureGroup], symbols: Iterable[str], *, from_ns: int, to_ns: int
) -> list[dict[str, Any]]:
    """Every file of the feature log, served or rebuilt, whose rows reach into [from_ns, to_ns], with its hash.

    What is served later on the last date is none of them.
    """
    return [
        file_entry(path, log.folder)
        for group in groups
        for symbol in sorted(symbols)
        for day_ns in range(floor_to(from_ns, DAY_NS), to_ns + 1, DAY_NS)
        for path in _standing(log.of_date(group, symbol, utc_date(day_ns)), from_ns, to_ns)
    ]


def served_partitions(log: FeatureLog, symbols: Iterable[str], *, from_ns: int, to_ns: int) -> list[dict[str, Any]]:
    """Every file of the record of served ticks whose rows reach into [from_ns, to_ns], with its hash."""
    return [
        file_entry(path, log.folder)
        for symbol in sorted(symbols)
        for path in served_tick_files(log, symbol, from_ns=from_ns, to_ns=to_ns + 1)
    ]


def day_partitions(log: FeatureLog, group: FeatureGroup, symbol: str, date: str) -> list[dict[str, Any]]:
    """Every file of the feature log of one symbol and date, by time, with its hash."""
    return [file_entry(path, log.folder) for path in _standing(log.of_date(group, symbol, date))]


def _standing(folder: Place, from_ns: int | None = None, to_ns: int | None = None) -> list[Place]:
    """The parts of a date whose rows reach into [from_ns, to_ns], without those that wait beside their merged part.

    So a merge changes what a result is made of once, and not again when they are removed.
    """
    superseded = superseded_parts(folder)  # before the parts: a merge between the two must not hide both
    until_ns = None if to_ns is None else to_ns + 1
    return [path for path, _, _ in parts_of_date(folder, from_ns, until_ns) if path.name not in superseded]
