"""Where a store's files are: a folder of this machine, or one in an object store."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias, TypeVar, cast

from market.errors import InvalidRequest, StoreUnavailable
from storage.objects.path import PIECE_BYTES, SCHEME, ObjectPath, object_path

_OTHER_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
Place: TypeAlias = Path | ObjectPath
SamePlace = TypeVar("SamePlace", bound=Path | ObjectPath)
"""What is below a place is of its kind."""


def matching(folder: SamePlace, pattern: str) -> list[SamePlace]:
    """What is below a folder and matches a name, or names of folders and a name with slashes between, sorted.

    A folder that is not there has nothing. Raises StoreUnavailable for one that cannot be read.
    """
    if isinstance(folder, ObjectPath):
        return sorted(folder.glob(pattern))
    # A third of the time of Path.glob, which takes a folder that cannot be read for an empty one: a build lists some
    # thousand folders of a few files.
    found: list[Path] = [folder]
    for part in pattern.split("/"):
        found = [each / name for each in found for name in names_matching(each, part)]
    return cast("list[SamePlace]", found)


def names_matching(folder: Place, pattern: str) -> list[str]:
    """Names of what is in a folder and matches, sorted: a day's paths take several times as long as their names.

    Raises StoreUnavailable for a folder that cannot be read.
    """
    if isinstance(folder, ObjectPath):
        return sorted(path.name for path in folder.glob(pattern))
    try:
        names = os.listdir(folder)  # noqa: PTH208  # names alone
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreUnavailable(f"{folder}: cannot be read: {error}") from error
    return sorted(fnmatch.filter(names, pattern))


def file_pieces(path: Place) -> Iterator[bytes]:
    """A file's bytes, some megabytes at a time. Raises FileNotFoundError, CorruptStore, StoreUnavailable."""
    if isinstance(path, ObjectPath):
        yield from path.pieces()
        return
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def place_of(address: str) -> Place:
    """``s3://bucket/prefix`` in an object store, or a path. Raises InvalidRequest for another address.

    One of another scheme, such as gs://bucket, would be a folder of that name on this disk.
    """
    if address.startswith(SCHEME):
        return object_path(address)
    if _OTHER_SCHEME.match(address) is not None:
        raise InvalidRequest(f"address: must be a path or s3://bucket/prefix, was {address!r}")
    return Path(address)


def local(place: Place) -> Path:
    """The place as a path of this machine. Raises InvalidRequest for one in an object store."""
    if isinstance(place, ObjectPath):
        raise InvalidRequest(f"{place}: must be on this machine, was in an object store")
    return place
