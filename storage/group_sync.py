"""Making durable what many have written: a few files one by one, more by syncing their filesystem at once.

syncfs waits for everything that is dirty on the filesystem, whoever wrote it, and takes a sixth of the time that 500
files take one by one. It is believed where it tells of a failed write: on ext4, XFS and btrfs, from Linux 5.8 on. On
any other filesystem each file is synced by itself.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from storage.durable_files import sync_file, sync_folder

FEW: Final = 32
"""Files that are synced one by one even where the filesystem could be synced at once: they do not wait for what others
write to it, which may be gigabytes, and take no longer than the group after them takes to gather."""
_TELLING: Final = {0xEF53: "ext4", 0x58465342: "XFS", 0x9123683E: "btrfs"}
_TELLING_SINCE: Final = 5, 8
_STATFS_BYTES: Final = 512
"""More than struct statfs has anywhere; its first word is the filesystem's magic number."""


class GroupSync:
    """What was written since the last ``settle``; threads may share one.

    folder: of everything that is written. few: how many files are synced one by one.
    """

    def __init__(self, folder: Path, *, few: int = FEW) -> None:
        self._folder = folder
        self._few = few
        self._lock = threading.Lock()
        self._written: dict[int | Path, Callable[[], object]] = {}
        """By descriptor or path: what was written twice is synced once."""
        self._descriptor: int | None = None
        self._device: int | None = None

    def open(self) -> None:
        """Look at the filesystem of the folder, which exists by now; opening again does nothing. Raises OSError."""
        if self._device is not None:
            return
        self._device = self._folder.stat().st_dev
        if tells_of_failures(self._folder):
            # Opened before the first write: it tells of the failures since then.
            self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        """Let the folder go."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def check_device(self, device: int) -> None:
        """A file is on this device: one that is not the folder's own has files synced one by one from now on."""
        if device != self._device:
            self.close()

    def file(self, descriptor: int) -> None:
        """The bytes of a file were written, which stays open until they are durable."""
        self._add(descriptor, partial(os.fdatasync, descriptor))

    def file_at(self, path: Path) -> None:
        """The bytes of a file were written, which is closed and keeps its name."""
        self._add(path, partial(sync_file, path))

    def written(self, path: Path, file: BinaryIO) -> None:
        """``file_at`` for a file that is still open."""
        self.check_device(os.fstat(file.fileno()).st_dev)
        self.file_at(path)

    def folder(self, path: Path) -> None:
        """Names in a folder were written."""
        self._add(path, partial(sync_folder, path))

    def settle(self) -> None:
        """Wait until the disk holds all of it. Raises OSError when it, or a part of it, was not written."""
        with self._lock:
            written, self._written = self._written, {}
        if self._descriptor is not None and len(written) > self._few:
            sync_filesystem(self._descriptor)
            return
        for sync in written.values():
            sync()

    def _add(self, place: int | Path, sync: Callable[[], object]) -> None:
        with self._lock:
            self._written[place] = sync


def tells_of_failures(folder: Path) -> bool:
    """Whether syncing the filesystem of a folder at once raises when a write has failed."""
    system = os.uname()
    release = re.match(r"(\d+)\.(\d+)", system.release)
    if system.sysname != "Linux" or release is None or (int(release[1]), int(release[2])) < _TELLING_SINCE:
        return False
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), answer) != 0:
        return False
    return ctypes.c_long.from_buffer(answer).value in _TELLING


def sync_filesystem(descriptor: int) -> None:
    """Wait until the disk holds everything that was written to the filesystem of a file. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
