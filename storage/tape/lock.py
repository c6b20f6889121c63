"""The lock of a tape: one writer per symbol, and no recovery of what a live writer has open."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from market.errors import Conflict

RECOVERY: Final = "recovery by "
RECOVERY_DEADLINE_S: Final = 60.0
"""A writer waits so long for a recovery, which reads a segment or two, and not at all for another writer."""
_HOLDER_BYTES: Final = 200
_POLL_S: Final = 0.02


def take_lock(folder: Path, symbol: str, *, is_recovery: bool = False) -> int:
    """Lock a symbol's tape and write the holder's name into the lock; returns the descriptor that holds it.

    Raises Conflict naming the holder, OSError.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    deadline = time.monotonic() + RECOVERY_DEADLINE_S
    is_first = True
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            holder = os.pread(descriptor, _HOLDER_BYTES, 0).decode("utf-8", "replace").rstrip() or "process unknown"
            # Who has just taken the lock may not have written its name yet.
            is_waiting = not is_recovery and (is_first or holder.startswith(RECOVERY))
            if not is_waiting or time.monotonic() > deadline:
                os.close(descriptor)
                raise Conflict(f"tape {symbol}: must have one writer, was held by {holder}") from error
            is_first = False
            time.sleep(_POLL_S)
    name = f"{RECOVERY if is_recovery else ''}process {os.getpid()} on {os.uname().nodename}"
    # Padded, not cut to its length: to cut a file waits for the disk.
    os.pwrite(descriptor, name.encode().ljust(_HOLDER_BYTES), 0)
    return descriptor


def is_held(folder: Path) -> bool:
    """Whether a process, this one included, holds the lock of the tape in this folder."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def release(descriptor: int | None) -> None:
    """Let go of what a descriptor holds; None is nothing."""
    if descriptor is not None:
        os.close(descriptor)
