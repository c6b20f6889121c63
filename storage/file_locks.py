"""Locks on files, across threads and processes, on a disk or in an object store."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from market.errors import Conflict
from storage.durable_files import changing_files, make_folder
from storage.objects.lease import leased
from storage.objects.path import ObjectPath
from storage.places import Place

_POLL_S: Final = 0.05


@contextmanager
def exclusive(lock: Place, *, gives_up: Callable[[], bool] | None = None) -> Iterator[None]:
    """Hold the lock file, made where it is missing, across threads and processes; waits for those that hold it.

    gives_up: asked while it waits; True ends the waiting by Conflict. None waits as long as it takes.

    Raises Conflict, StoreUnavailable when the disk refuses.
    """
    if isinstance(lock, ObjectPath):
        with leased(lock, gives_up=gives_up):
            yield
        return
    with _opened_lock(lock) as descriptor:
        if gives_up is None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        while gives_up is not None and not _is_locked(descriptor):
            if gives_up():
                raise Conflict(f"{lock}: held by another process, gave up waiting")
            time.sleep(_POLL_S)
        yield


@contextmanager
def shared(lock: Place) -> Iterator[None]:
    """Hold the lock file shared with others; waits for an exclusive holder. Raises StoreUnavailable.

    In an object store nobody waits: what this keeps apart, naming files and removing a folder, cannot collide there,
    since a folder is changed by compare-and-swap and never removed.
    """
    if isinstance(lock, ObjectPath):
        yield
        return
    with _opened_lock(lock) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


@contextmanager
def _opened_lock(lock: Path) -> Iterator[int]:
    with changing_files(lock):
        make_folder(lock.parent)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Whether the lock is this descriptor's now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
