"""Files in an object store: uploaded, read back, then named; taken out of their folders, then deleted."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from msgspec import structs

from market.errors import CorruptStore
from storage.objects.names import NamedFile, Names, change_names, delete_unnamed, without_files
from storage.objects.path import ObjectPath

_AT_ONCE: Final = 16
_UPLOADS: Final = 3


def publish_objects(files: Mapping[ObjectPath, Path], *, replaces: bool = True) -> None:
    """Upload files of this machine, read them back, and name those of a folder together.

    replaces: False leaves what has the name already. Raises CorruptStore when one is read back otherwise,
    StoreUnavailable; folders already changed stay.
    """
    folders = sorted({path.parent for path in files})
    for folder in folders:
        folder.make_folder()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        uploaded = dict(zip(files, pool.map(_uploaded, files, files.values()), strict=True))
        of_folder = [{path.name: uploaded[path] for path in files if path.parent == folder} for folder in folders]
        list(pool.map(partial(_name_files, replaces=replaces), folders, of_folder))


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
    if not any(file.key == key for file in folder.names().files.values()):
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


def _name_files(folder: ObjectPath, files: dict[str, NamedFile], *, replaces: bool) -> None:
    def named(names: Names) -> Names:
        return Names({**names.files, **files} if replaces else {**files, **names.files}, names.folders)

    delete_unnamed(folder.bucket, *change_names(folder.bucket, folder.key, named))
