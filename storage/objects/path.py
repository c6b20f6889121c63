"""A path in an object store: the arithmetic of ``pathlib``, and of ``Path`` what the stores use, over folders' names.

``s3://bucket/prefix/…`` reads as a path of which the first two parts are ``s3:`` and the bucket. ``prepare`` makes the
top folder of a store, once; folders below it are named by those above up to it.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Self, TypeVar
from uuid import uuid4

from market.errors import CorruptStore, InvalidRequest, StoreRefused, StoreUnavailable
from storage.objects.bucket import Bucket, bucket
from storage.objects.names import (
    NamedFile,
    Names,
    change_names,
    delete_unnamed,
    known_names,
    names_key,
    read_names,
    without_files,
)

if TYPE_CHECKING:
    import pyarrow as pa

SCHEME: Final = "s3://"
_TOP: Final = "s3:"
_ADDRESS: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9_.=-]+)*/?")
Found = TypeVar("Found", bound="ObjectPath")
_AT_ONCE: Final = 16
PIECE_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class ObjectSize:
    """What ``stat`` of a file here can say."""

    st_size: int


class ObjectPath(PurePosixPath):
    """A file or folder in an object store. Asking raises what a ``Path`` does, CorruptStore and StoreUnavailable."""

    @property
    def bucket(self) -> Bucket:
        return bucket(self.parts[1])

    @property
    def key(self) -> str:
        """Of a folder, that its objects' keys begin with."""
        return "/".join(self.parts[2:])

    def __str__(self) -> str:
        return SCHEME + "/".join(self.parts[1:]) if self.parts[:1] == (_TOP,) else super().__str__()

    def __fspath__(self) -> str:
        """Raises TypeError: whoever opens it as a file of this machine means something else."""
        raise TypeError(f"{self}: must be a file of this machine, was an object")

    def resolve(self) -> Self:
        return self

    def named(self) -> NamedFile | None:
        """What its folder says of the file; None where it names none."""
        return self.parent.names().files.get(self.name)

    def is_file(self) -> bool:
        return self.named() is not None

    def is_symlink(self) -> bool:
        """False: an object is none."""
        return False

    def is_dir(self) -> bool:
        """Whether the folder names anything: one that is empty now stays in the folder above."""
        names = self.names()
        return bool(names.files or names.folders)

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def stat(self) -> ObjectSize:
        """Raises FileNotFoundError."""
        return ObjectSize(self._found().size)

    def version(self) -> str:
        """Another for every content that the file ever had. Raises FileNotFoundError."""
        return self._found().key

    def sha256(self) -> str:
        """As its folder says. Raises FileNotFoundError."""
        return self._found().sha256

    def read_bytes(self) -> bytes:
        """Raises FileNotFoundError, CorruptStore where the object is not what its folder says."""
        found = self._found()
        try:
            content, _ = self.bucket.get(found.key)
        except FileNotFoundError:
            if self.named() != found:
                raise  # replaced or removed meanwhile
            raise CorruptStore(f"{self}: must be there, as its folder says, was gone") from None
        if len(content) != found.size or hashlib.sha256(content).hexdigest() != found.sha256:
            raise CorruptStore(f"{self}: must have the {found.size} bytes and checksum of its folder, was other bytes")
        return content

    def read_text(self) -> str:
        """What ``read_bytes`` gives, as UTF-8. Raises as it does."""
        return self.read_bytes().decode()

    def pieces(self) -> Iterator[bytes]:
        """The file's bytes, PIECE_BYTES at a time; the last is given once all are what the folder says.

        Raises FileNotFoundError, CorruptStore.
        """
        found, digest = self._found(), hashlib.sha256()
        for start in range(0, found.size, PIECE_BYTES):
            length = min(PIECE_BYTES, found.size - start)
            piece = self.bucket.part(found.key, start, length)
            digest.update(piece)
            if len(piece) != length or (start + length == found.size and digest.hexdigest() != found.sha256):
                raise CorruptStore(f"{self}: must have the {found.size} bytes and checksum of its folder, was others")
            yield piece

    def is_intact(self) -> bool:
        """Whether the file is there, with the bytes that its folder says; those are read."""
        found = self.named()
        try:
            return found is not None and self.bucket.digest(found.key) == (found.size, found.sha256)
        except FileNotFoundError:
            return False

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """What ``read_bytes`` gives, as a file. Raises as it does."""
        assert mode == "rb", "a file is written once, by its upload"
        return BytesIO(self.read_bytes())

    def open_ranges(self) -> pa.NativeFile:
        """The file to read in ranges. Raises OSError, FileNotFoundError."""
        return self.bucket.open(self._found().key)

    def names(self) -> Names:
        """What is in the folder; nothing where nobody made it."""
        names, etag = known_names(self.bucket, self.key)
        if etag is None and len(self.parts) > 2 and self.name in read_names(self.bucket, self.parent.key)[0].folders:
            # Looked at again: it may have been made in between.
            names, etag = read_names(self.bucket, self.key)
            if etag is None:
                raise CorruptStore(f"{self}: must have its names, as the folder above says, was without")
        return names

    def iterdir(self) -> Iterator[Self]:
        names = self.names()
        return (self / name for name in (*names.folders, *names.files))

    def glob(self, pattern: str) -> Iterator[Self]:
        """The files and folders below whose parts match, in no order; a pattern has no ``**``."""
        *above, last = pattern.split("/")
        folders = [self]
        for part in above:
            folders = _each_below(folders, part, are_folders=True)
        return iter(_each_below(folders, last, are_folders=None))

    def rglob(self, pattern: str) -> Iterator[Self]:
        """The files below, at any depth, whose name matches."""
        folders = [self]
        while folders:
            yield from _each_below(folders, pattern, are_folders=False)
            folders = _each_below(folders, "*", are_folders=True)

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002  # as Path's
        """Take the file out of its folder, then delete its object. Raises FileNotFoundError."""
        before, after = change_names(self.bucket, self.parent.key, partial(without_files, {self.name}))
        delete_unnamed(self.bucket, before, after)
        if self.name not in before.files and not missing_ok:
            raise FileNotFoundError(str(self))

    def rename(self, target: Self) -> None:
        """Another name in the same folder, in one step. Raises FileNotFoundError."""
        assert target.parent == self.parent, "a folder changes alone"

        def renamed(names: Names) -> Names:
            files = dict(names.files)
            if self.name not in files:
                raise FileNotFoundError(str(self))
            files[target.name] = files.pop(self.name)
            return Names(files, names.folders)

        delete_unnamed(self.bucket, *change_names(self.bucket, self.parent.key, renamed))

    def rmdir(self) -> None:
        """Nothing: an empty folder stays, since a writer may be about to name a file in it."""

    def make_folder(self) -> None:
        """Make the folder and those above it, up to one that is there. Raises StoreUnavailable at the bucket's top."""
        if self.key in _made[self.parts[1]]:
            return
        if read_names(self.bucket, self.key)[1] is None:
            if len(self.parts) <= 2:
                raise StoreUnavailable(f"{self}: must have been prepared as the top of a store, was not")
            self.parent.make_folder()
            change_names(self.bucket, self.key, lambda names: names)
        if len(self.parts) > 2 and read_names(self.bucket, self.parent.key)[1] is not None:
            change_names(self.bucket, self.parent.key, partial(_with_folder, self.name))
        _made[self.parts[1]].add(self.key)

    def prepare(self) -> None:
        """Make the top folder of a store. Raises as ``probe``."""
        self.probe()
        change_names(self.bucket, self.key, lambda names: names)

    def probe(self) -> None:
        """Write, read and delete an object. Raises StoreUnavailable, StoreRefused where it is overwritten too."""
        probe = f"{names_key(self.key)}.{uuid4().hex[:16]}"
        self.bucket.swap(probe, b"first", None)
        try:
            if self.bucket.swap(probe, b"second", None) or self.bucket.swap(probe, b"third", '"stale"'):
                raise StoreRefused(f"{self}: must refuse what If-None-Match and If-Match forbid, was written over")
            self.bucket.get(probe)
        finally:
            self.bucket.delete(probe)

    def _found(self) -> NamedFile:
        found = self.named()
        if found is None:
            raise FileNotFoundError(str(self))
        return found


_made: Final[defaultdict[str, set[str]]] = defaultdict(set)
"""By bucket the folders that this process knows to be there and named: a folder is never removed."""


def object_path(address: str) -> ObjectPath:
    """The path of an address. Raises InvalidRequest."""
    if _ADDRESS.fullmatch(address) is None:
        raise InvalidRequest(f"address: must be s3://bucket or s3://bucket/prefix, without a query, was {address!r}")
    return ObjectPath(address)


def _with_folder(name: str, names: Names) -> Names:
    return names if name in names.folders else Names(names.files, tuple(sorted((*names.folders, name))))


def _each_below(folders: list[Found], part: str, *, are_folders: bool | None) -> list[Found]:
    """Below each of the folders what matches; are_folders: folders alone or files alone, None is both."""
    if are_folders and not re.search(r"[*?\[]", part):
        return [folder / part for folder in folders]

    def below(folder: Found) -> list[Found]:
        names = folder.names()
        found = [] if are_folders is False else list(names.folders)
        found += [] if are_folders else list(names.files)
        return [folder / name for name in found if fnmatchcase(name, part)]

    if len(folders) <= 1:
        return [path for folder in folders for path in below(folder)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [path for found in pool.map(below, folders) for path in found]
