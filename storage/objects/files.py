"""Files in an object store: uploaded, read back, then named; taken out of their folders, then deleted."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from msgspec import structs

from market.errors import Conflict, CorruptStore, StoreUnavailable
from storage.objects.names import NamedFile, Names, change_names, delete_unnamed, without_files
from storage.objects.path import ObjectPath

_AT_ONCE: Final = 16
_UPLOADS: Final = 3
NAMED_WITHIN_S: Final = 43_200.0
"""How long after its upload began a file may be named: an older object that no folder names is removed as garbage."""


def publish_objects(
    files: Mapping[ObjectPath, Path], *, replaces: bool = True, within_s: float = NAMED_WITHIN_S
) -> None:
    """Upload files of this machine, read them back, and name those of a folder together.

    replaces: False leaves what has the name already. Raises CorruptStore when one is read back otherwise,
    StoreUnavailable, also when it took longer than ``within_s``; folders already changed stay.
    """
    check_time = _deadline(within_s)
    folders = sorted({path.parent for path in files})
    for folder in folders:
        folder.make_folder()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        uploaded = dict(zip(files, pool.map(_uploaded, files, files.values()), strict=True))
        of_folder = [{path.name: uploaded[path] for path in files if path.parent == folder} for folder in folders]
        list(pool.map(partial(_name_files, replaces=replaces, check_time=check_time), folders, of_folder))


def publish_tree(folder: ObjectPath, local: Path, *, within_s: float = NAMED_WITHIN_S) -> None:
    """Upload what is in a folder of this machine and below, read it back, and name it: the folder's own files last.

    Until then, and where this ends early, the folder names no file. Raises Conflict where it names some already,
    CorruptStore when one is read back otherwise, StoreUnavailable, also when it took longer than ``within_s``.
    """
    check_time = _deadline(within_s)
    files = {folder / path.relative_to(local).as_posix(): path for path in sorted(local.rglob("*")) if path.is_file()}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        uploaded = dict(zip(files, pool.map(_uploaded, files, files.values()), strict=True))
    _first_of(folder, folder.names())
    for place in sorted({folder, *(path.parent for path in files)}, reverse=True):
        place.make_folder()
        own = {path.name: file for path, file in uploaded.items() if path.parent == place}

        def named(names: Names, place: ObjectPath = place, own: dict[str, NamedFile] = own) -> Names:
            check_time()
            return Names(own, (_first_of(folder, names) if place == folder else names).folders)

        delete_unnamed(place.bucket, *change_names(place.bucket, place.key, named))


def _first_of(folder: ObjectPath, names: Names) -> Names:
    if names.files:
        raise Conflict(f"{folder}: must name no file yet, was {sorted(names.files)}")
    return names


def remove_objects(paths: Iterable[ObjectPath]) -> int:
    """Take files out of their folders, those of a folder together, then delete their objects; how many there were."""
    of_folder: defaultdict[ObjectPath, set[str]] = defaultdict(set)
    for path in paths:
        of_folder[path.parent].add(path.name)
    removed = 0
    for folder, gone in of_folder.items():
        if folder.names().files.keys() & gone:
            before, after = change_names(folder.bucket, folder.key, partial(without_files, gone))
            removed += len(before.files) - len(after.files)
            delete_unnamed(folder.bucket, before, after)
    return removed


def keep_objects(paths: Iterable[ObjectPath], *, is_kept: bool = True) -> None:
    """Say of files, those of a folder together, that their objects stay once no folder names them; or not any more.

    A file that is gone is passed over: who asked looks again. Raises StoreUnavailable.
    """
    of_folder: defaultdict[ObjectPath, set[str]] = defaultdict(set)
    for path in paths:
        of_folder[path.parent].add(path.name)
    for folder, chosen in of_folder.items():

        def marked(names: Names, chosen: set[str] = chosen) -> Names:
            files = {
                name: structs.replace(file, is_kept=is_kept) if name in chosen else file
                for name, file in names.files.items()
            }
            return Names(files, names.folders)

        change_names(folder.bucket, folder.key, marked)


def let_go_object(folder: ObjectPath, key: str) -> None:
    """Delete an object that was kept; one that its folder names goes with its name. Raises StoreUnavailable."""
    keep_objects((folder / name for name, file in folder.names().files.items() if file.key == key), is_kept=False)
    _, after = change_names(folder.bucket, folder.key, lambda names: names, let_go={key})
    if not any(file.key == key for file in after.files.values()):
        folder.bucket.delete(key)


def object_digest(path: ObjectPath) -> str:
    """SHA-256 of a file's bytes as they are read now, in hex. Raises FileNotFoundError, StoreUnavailable."""
    found = path.named()
    if found is None:
        raise FileNotFoundError(str(path))
    return path.bucket.digest(found.key)[1]


def _uploaded(path: ObjectPath, local: Path) -> NamedFile:
    with local.open("rb") as content:
        written = local.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest()
    # The suffix stays, for whoever goes by it.
    key = f"{path.parent.key}/{path.stem}.{uuid4().hex[:16]}{path.suffix}"
    for _ in range(_UPLOADS):
        path.bucket.put(key, local)
        try:
            if path.bucket.digest(key) == written:
                return NamedFile(key, *written)
        except FileNotFoundError:
            continue
    raise CorruptStore(f"{path}: must be read back as written, was not in {_UPLOADS} uploads")


def _deadline(within_s: float) -> Callable[[], None]:
    """Asked before each attempt at naming: raises StoreUnavailable once ``within_s`` have passed since now."""
    began_s = time.monotonic()

    def check_time() -> None:
        if (took_s := time.monotonic() - began_s) > within_s:
            raise StoreUnavailable(f"upload: must be named within {within_s:g} s, took {took_s:.0f} s; begin again")

    return check_time


def _name_files(
    folder: ObjectPath, files: dict[str, NamedFile], *, replaces: bool, check_time: Callable[[], None]
) -> None:
    def named(names: Names) -> Names:
        check_time()
        return Names({**names.files, **files} if replaces else {**files, **names.files}, names.folders)

    delete_unnamed(folder.bucket, *change_names(folder.bucket, folder.key, named))
