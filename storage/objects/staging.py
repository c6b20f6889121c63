"""The folder of this machine in which a process writes files that then go to an object store.

Each process has one and removes it at its end; what a killed one left is removed by the next process that opens one.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Final

_OPENING: Final = "opening"
"""The lock under which a folder is made and those of dead processes are removed."""
_HELD: Final = "held"
"""The lock in each folder that its process holds for as long as it lives."""

_lock = threading.Lock()
_folders: dict[int, Path] = {}
"""By process: a forked one begins with its parent's."""


def staging_folder() -> Path:
    """This process's folder, made at the first call. Raises OSError."""
    with _lock:
        process = os.getpid()
        if process not in _folders:
            _folders[process] = _opened_folder(Path(tempfile.gettempdir(), f"feature-service-uploads-{os.geteuid()}"))
        return _folders[process]


def _opened_folder(parent: Path) -> Path:
    parent.mkdir(mode=0o700, exist_ok=True)
    opening = _locked(parent / _OPENING, fcntl.LOCK_EX)
    try:
        for folder in parent.iterdir():
            if folder.is_dir():
                _remove_if_left(folder)
        made = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
        _locked(made / _HELD, fcntl.LOCK_EX)  # open until the process ends
    finally:
        os.close(opening)
    atexit.register(_remove_own, made, os.getpid())
    return made


def _remove_if_left(folder: Path) -> None:
    try:
        held = _locked(folder / _HELD, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    try:
        shutil.rmtree(folder)
    finally:
        os.close(held)


def _remove_own(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a forked process has this registered as well
        shutil.rmtree(folder, ignore_errors=True)


def _locked(path: Path, how: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
