"""Durable files: the few steps by which every file store here makes a file last, on a disk or in an object store."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from market.errors import CorruptStore, StoreUnavailable
from storage.objects.files import object_digest, publish_objects, remove_objects
from storage.objects.path import ObjectPath
from storage.objects.staging import staging_folder
from storage.places import Place

FileVersion = tuple[int, int, int, int, int] | str
"""Device, inode, size and the times at which its bytes and its inode changed; of an object its key."""


def file_sha256(path: Place) -> str:
    """SHA-256 of a file's bytes, in hex."""
    if isinstance(path, ObjectPath):
        return object_digest(path)
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def changing_files(path: Place) -> Iterator[None]:
    """What the disk refuses becomes StoreUnavailable naming ``path``, a file or the folder of several."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be written: {error}") from error


def known_sha256(path: Place) -> str:
    """``file_sha256``, remembered by this process as long as the file is unchanged; of an object as named.

    To read the feature log of months takes minutes. Changes are detected by inode, size and times, of which
    the last, that of the change of the inode, cannot be set.
    """
    if isinstance(path, ObjectPath):
        return path.sha256()
    return _sha256_of(path, file_version(path))


def known_content(path: Place) -> tuple[str, int]:
    """``known_sha256`` and the bytes of a file, which is looked at once for both."""
    if isinstance(path, ObjectPath):
        return path.sha256(), path.stat().st_size
    version = path_version(path)
    return _sha256_of(path, version), version[2]


def read_sha256(path: Place) -> str:
    """``file_sha256``, remembered by this process as long as the file is unchanged; an object's bytes are read too."""
    return _read_sha256(path, path.version()) if isinstance(path, ObjectPath) else known_sha256(path)


def file_version(path: Place) -> FileVersion:
    """Another after every touch of the file. Raises FileNotFoundError."""
    if isinstance(path, ObjectPath):
        return path.version()
    return path_version(path)


def path_version(path: Path) -> tuple[int, int, int, int, int]:
    """``file_version`` of a file of this machine."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=1 << 16)
def _sha256_of(path: Path, _version: FileVersion) -> str:
    return file_sha256(path)


@lru_cache(maxsize=1 << 16)
def _read_sha256(path: ObjectPath, _version: str) -> str:
    return object_digest(path)


def make_folder(folder: Place, *, sync: Callable[[Path], object] | None = None) -> None:
    """Make a folder and those above it, each on disk before this returns, unless ``sync`` sees to it."""
    if isinstance(folder, ObjectPath):
        folder.make_folder()
    elif not folder.is_dir():
        make_folder(folder.parent, sync=sync)
        folder.mkdir(exist_ok=True)
        (sync or sync_folder)(folder.parent)


def sync_folder(folder: Place) -> None:
    """Wait until the disk holds the folder's names; an object store holds what it acknowledged."""
    if isinstance(folder, ObjectPath):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Wait until the disk holds the bytes of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Place, write: Callable[[BinaryIO], object]) -> None:
    """Make ``path`` hold what ``write`` writes: readers see the old file or the new one, and a crash leaves either."""
    publish_files({path: stage_file(path, write)})


def copy_file(original: Place, copy: Place, *, sha256: str | None = None) -> None:
    """Make ``copy`` hold the bytes of ``original``, read back and compared; one that does already stays as it is.

    sha256: what the bytes must have; None is what the original has. Raises CorruptStore when the original has others or
    the copy comes to have others, StoreUnavailable when the disk refuses.
    """
    if sha256 is not None and copy.is_file() and file_sha256(copy) == sha256:
        return
    found = file_sha256(original) if original.is_file() else "no file"
    if found != (sha256 or found) or found == "no file":
        raise CorruptStore(f"{original}: must be what its manifest says, {sha256}, was {found}")
    if copy.is_file() and file_sha256(copy) == found:
        return
    with original.open("rb") as content:
        replace_file(copy, lambda file: shutil.copyfileobj(content, file))
    if file_sha256(copy) != found:
        raise CorruptStore(f"{copy}: must be read back as written, was not")


class StagedSync(Protocol):
    """What makes staged files durable later, all at once."""

    def written(self, path: Path, file: BinaryIO) -> None: ...

    def folder(self, path: Path) -> None: ...


def stage_file(path: Place, write: Callable[[BinaryIO], object], *, sync: StagedSync | None = None) -> Path:
    """Write the coming content of ``path`` to a file of this machine; gives that file.

    sync: it is on disk once that is settled; None is before this returns.

    Raises StoreUnavailable when the disk refuses.
    """
    with changing_files(path):
        staged, opened = open_staged(path, sync=None if sync is None else sync.folder)
        with opened as file:
            try:
                write(file)
                file.flush()
                if sync is None:
                    os.fsync(file.fileno())
                else:
                    sync.written(staged, file)
            except BaseException:
                staged.unlink()
                raise
    return staged


def open_staged(path: Place, *, sync: Callable[[Path], object] | None = None) -> tuple[Path, BinaryIO]:
    """A dot file next to ``path``, and that file opened to write; for an object one in ``staging_folder``.

    sync: as of ``make_folder``. Raises OSError.
    """
    if isinstance(path, ObjectPath):
        descriptor, name = tempfile.mkstemp(dir=staging_folder())
        return Path(name), os.fdopen(descriptor, "wb")
    make_folder(path.parent, sync=sync)
    # Two writers of one path never share a dot file, even from two containers where each is process 1.
    staged = path.with_name(f".{path.name}.{os.uname().nodename}-{os.getpid()}-{threading.get_ident()}")
    return staged, staged.open("wb")


def remove_staged(path: Place) -> None:
    """Remove the dot files next to ``path`` of writers that are gone; no process may be writing it.

    Raises StoreUnavailable when the disk refuses.
    """
    if isinstance(path, ObjectPath):
        return  # nothing of theirs stands there
    with changing_files(path):
        for staged in path.parent.glob(f".{glob.escape(path.name)}.*"):
            staged.unlink(missing_ok=True)


def publish_files(staged: Mapping[Place, Path], *, sync: Callable[[Path], object] | None = None) -> None:
    """Move every staged file to the path it is for, and wait until disk or store holds the names.

    sync: sees to it for folders of the disk, and this does not wait.

    Raises StoreUnavailable when the disk or the store refuses; files already moved stay.
    """
    objects = {path: file for path, file in staged.items() if isinstance(path, ObjectPath)}
    renamed = {path: file for path, file in staged.items() if not isinstance(path, ObjectPath)}
    try:
        for path, temporary in renamed.items():
            temporary.replace(path)
        for folder in {path.parent for path in renamed}:
            (sync or sync_folder)(folder)
        if objects:
            publish_objects(objects)
    except OSError as error:
        raise StoreUnavailable(f"files {[str(path) for path in staged]}: cannot be written: {error}") from error
    finally:
        for temporary in objects.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def publish_first(path: Place, staged: Path) -> None:
    """Move a staged file to a path that no file has yet; one that is there stays. Raises StoreUnavailable."""
    try:
        if isinstance(path, ObjectPath):
            publish_objects({path: staged}, replaces=False)
            return
        with changing_files(path), suppress(FileExistsError):
            os.link(staged, path)  # which a renaming would replace
            sync_folder(path.parent)
    finally:
        staged.unlink(missing_ok=True)


def rename_file(path: Place, name: str) -> None:
    """Give a file another name in its folder, in one step. Raises OSError, FileNotFoundError, StoreUnavailable."""
    if isinstance(path, ObjectPath):
        path.rename(path.with_name(name))
    else:
        path.rename(path.with_name(name))


def remove_files(paths: Iterable[Place]) -> None:
    """Remove files that are there; of an object store those of a folder at once. Raises OSError, StoreUnavailable."""
    objects = []
    for path in paths:
        if isinstance(path, ObjectPath):
            objects.append(path)
            continue
        path.unlink(missing_ok=True)
    remove_objects(objects)
