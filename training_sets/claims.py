"""Claims: which dataset folders a living process is building, told by a lock that the kernel drops with its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from market.errors import StoreUnavailable

CLAIM_NAME: Final = ".claim"


def take_claim(folder: Path) -> int:
    """Make the folder and claim it; returns the descriptor for ``release``. Raises StoreUnavailable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / CLAIM_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"datasets folder: must be writable, was {error}") from error
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def release(folder: Path, descriptor: int) -> None:
    """Give the claim up; the folder may be gone already."""
    (folder / CLAIM_NAME).unlink(missing_ok=True)
    os.close(descriptor)


def is_claimed(folder: Path) -> bool:
    """Whether a living process, this one included, holds the folder's claim."""
    try:
        descriptor = os.open(folder / CLAIM_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
