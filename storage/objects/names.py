"""Names: what a folder in an object store says is in it, and the one way to change that.

1. ``_names.json`` in the folder names its files, each with the key of its object, size and SHA-256, and its folders,
   with a checksum: what is not what was written is damage.
2. It is changed by compare-and-swap, and a change ends with reading it: a write that was acknowledged and lost, one of
   which the answer was lost and one that another writer came before are all told by what stands there.
3. A change has a token; the last of them stay, so that none is made twice, even where another undid it since.
4. A file that is marked to be kept leaves its key behind when it is replaced or taken out, until it is let go.
5. A folder is made empty first and named by the folder above it then: one that is named and not there is damage.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from weakref import WeakSet

import msgspec

from market.errors import CorruptStore, StoreUnavailable
from storage.objects.bucket import Bucket

NAMES: Final = "_names.json"
_log: Final = logging.getLogger(__name__)
KEPT_TOKENS: Final = 64
MOST_SWAPS: Final = 40
"""Attempts at a change among many writers; the wait before each is drawn, so all of them come through."""


class NamedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object that is a file: its key, bytes and SHA-256 in hex. is_kept: it stays when no folder names it."""

    key: str
    size: int
    sha256: str
    is_kept: bool = False


class Names(msgspec.Struct, frozen=True):
    """What is in a folder. tokens: of the last changes. kept: keys of kept objects that are no file here any more."""

    files: dict[str, NamedFile] = msgspec.field(default_factory=dict)
    folders: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class _Sealed(msgspec.Struct, frozen=True):
    sha256: str
    names: msgspec.Raw


class _Remembered(dict[tuple[str, str], tuple[Names, str | None]]):
    """By bucket and folder; told of by weak references, which a plain dict cannot be."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # one is itself, whatever it holds


_remembered: Final[ContextVar[_Remembered | None]] = ContextVar("names of folders", default=None)
_live: Final[WeakSet[_Remembered]] = WeakSet()
_SEALED: Final = msgspec.json.Decoder(_Sealed)
_NAMES: Final = msgspec.json.Decoder(Names)


def names_key(folder: str) -> str:
    """The key of the object that says what is in a folder; "" is the top of the bucket."""
    return f"{folder}/{NAMES}" if folder else NAMES


@contextmanager
def remembered_names() -> Iterator[None]:
    """Ask for what is in a folder once while the block lasts, in this thread; changes of this process are seen.

    For work that looks at thousands of files: what others change meanwhile it need not see.
    """
    token = _remembered.set(known := _Remembered())
    _live.add(known)
    try:
        yield
    finally:
        _remembered.reset(token)


def known_names(bucket: Bucket, folder: str) -> tuple[Names, str | None]:
    """``read_names``, or what it gave before where that is remembered. Raises as it does."""
    known = _remembered.get()
    if known is None:
        return read_names(bucket, folder)
    at = (bucket.name, folder)
    if at not in known:
        known[at] = read_names(bucket, folder)
    return known[at]


def read_names(bucket: Bucket, folder: str) -> tuple[Names, str | None]:
    """What is in a folder and the ETag of that; None where nobody made it. Raises CorruptStore, StoreUnavailable."""
    key = names_key(folder)
    try:
        content, etag = bucket.get(key)
    except FileNotFoundError:
        return Names(), None
    try:
        sealed = _SEALED.decode(content)
        names = _NAMES.decode(sealed.names)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptStore(f"s3://{bucket.name}/{key}: must be the names of a folder, was {error}") from error
    if hashlib.sha256(sealed.names).hexdigest() != sealed.sha256:
        raise CorruptStore(f"s3://{bucket.name}/{key}: must have the checksum of its names, was {sealed.sha256!r}")
    return names, etag


def change_names(
    bucket: Bucket, folder: str, change: Callable[[Names], Names], *, let_go: Collection[str] = ()
) -> tuple[Names, Names]:
    """Change what a folder says once, whoever else changes it meanwhile; what it said before, and after.

    change: of its files and folders as it says now; may be asked again. let_go: keys that are kept no more, of objects
    that are no files of it. Raises CorruptStore, StoreUnavailable, and what ``change`` does.
    """
    token = uuid.uuid4().hex[:16]
    before = after = Names()
    for attempt in range(MOST_SWAPS):
        names, etag = read_names(bucket, folder)
        if token in names.tokens:
            return before, after
        if attempt:
            bucket.patience.wait(min(attempt, 4))
        changed = change(names)
        before, after = names, Names(changed.files, changed.folders, names.tokens, _kept(names, changed, let_go))
        if after == names and etag is not None:
            return before, after
        text = msgspec.json.encode(msgspec.structs.replace(after, tokens=(*names.tokens, token)[-KEPT_TOKENS:]))
        sealed = msgspec.json.encode(_Sealed(hashlib.sha256(text).hexdigest(), msgspec.Raw(text)))
        bucket.swap(names_key(folder), sealed + b"\n", etag)
        for known in list(_live):
            known.pop((bucket.name, folder), None)
    raise StoreUnavailable(f"s3://{bucket.name}/{names_key(folder)}: was changed by others {MOST_SWAPS} times, gave up")


def _kept(before: Names, after: Names, let_go: Collection[str]) -> tuple[str, ...]:
    kept = {*before.kept, *(file.key for file in before.files.values() if file.is_kept)}
    return tuple(sorted(kept - {file.key for file in after.files.values()} - {*let_go}))


def without_files(gone: Collection[str], names: Names) -> Names:
    """What a folder says once it names these files no more."""
    return Names({name: file for name, file in names.files.items() if name not in gone}, names.folders)


def delete_unnamed(bucket: Bucket, before: Names, after: Names) -> None:
    """Delete the objects of files that a change took out of a folder."""
    named = {file.key for file in after.files.values()}
    for file in before.files.values():
        if file.key not in named and not file.is_kept:
            try:
                bucket.delete(file.key)
            except StoreUnavailable as error:  # no reader sees it any more
                _log.warning("%s: is in no folder and could not be deleted, so it stays: %s", file.key, error)
