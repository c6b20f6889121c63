"""Room on the disk: ingest ends, and says so, before the disk is full, and begins again once there is room.

It is asked between two messages, so that no frame is ever cut short; what was taken is written as ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from market.errors import StoreUnavailable
from storage.disk import DiskUse, disk_use

LEAST_FREE_BYTES: Final = 256 << 20
"""What a worker that ends may still write: the queues of its tapes, and rows that wait for the feature log."""
ASK_EVERY_S: Final = 1.0
WAIT_S: Final = 5.0
REMIND_S: Final = 300.0
"""How often the log says again that ingest waits."""

_log = logging.getLogger(__name__)


class DiskRoom:
    """Whether the disks of some folders have room for more.

    stop_percent: how far a disk may be used. measure, timer: the disks' use, and seconds that never step back.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        stop_percent: float,
        measure: Callable[[Path], DiskUse] = disk_use,
        timer: Callable[[], float] = time.monotonic,
        wait_s: float = WAIT_S,
    ) -> None:
        self._folders = tuple(folders)
        self._stop_percent = stop_percent
        self._measure = measure
        self._timer = timer
        self._wait_s = wait_s
        self._asked_s: float | None = None

    def check(self) -> None:
        """Raise StoreUnavailable when a disk has no room; asks the disks once in ASK_EVERY_S."""
        now_s = self._timer()
        if self._asked_s is not None and now_s - self._asked_s < ASK_EVERY_S:
            return
        self._asked_s = now_s
        if (full := self._full()) is not None:
            raise StoreUnavailable(full)

    def wait(self, stop: threading.Event) -> bool:
        """Wait until there is room, aloud; False when ``stop`` was set before."""
        told_s: float | None = None
        while (full := self._full()) is not None:
            if told_s is None or self._timer() - told_s >= REMIND_S:
                told_s = self._timer()
                _log.error("ingest waits for disk space: %s", full)
            if stop.wait(self._wait_s):
                return False
        if told_s is not None:
            _log.info("ingest continues: there is room on the disk")
        return True

    def _full(self) -> str | None:
        for folder in self._folders:
            found = self._measure(folder)
            if found.percent >= self._stop_percent:
                return (
                    f"disk of {folder}: must be used to less than {self._stop_percent:g} % for ingest to continue, "
                    f"was {found.percent:.2f} %: free some space"
                )
            if found.free < LEAST_FREE_BYTES:
                return (
                    f"disk of {folder}: must have {LEAST_FREE_BYTES >> 20} MiB free for ingest to continue, "
                    f"had {found.free >> 20} MiB: free some space"
                )
        return None
