"""How full the disk of a folder is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from market.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class DiskUse:
    """A disk as ``df`` reports it, in bytes: ``free`` is what a service without root may still use."""

    device: int
    used: int
    free: int

    @property
    def percent(self) -> float:
        """Share of what can be used that is used, 0 to 100; a disk without any room is full."""
        room = self.used + self.free
        return 100.0 if room == 0 else 100.0 * self.used / room


def disk_use(folder: Path) -> DiskUse:
    """The disk that a folder, or the nearest one above it that exists, lies on. Raises StoreUnavailable."""
    path = folder.resolve()
    while not path.exists():
        path = path.parent
    try:
        found = os.statvfs(path)
        device = path.stat().st_dev
    except OSError as error:
        raise StoreUnavailable(f"disk of {folder}: must say how full it is, was {error}") from error
    return DiskUse(device, (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_bavail * found.f_frsize)
