"""The watch over embedded servers: one that dies ends the process, whose restart brings everything back."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from market.errors import StoreUnavailable


class ServerWatch:
    """Waits for the end of any of some processes."""

    def __init__(self, pids: Sequence[int], data_folder: Path) -> None:
        """data_folder: where the servers' logs are. Raises StoreUnavailable when one has ended already."""
        self._data_folder = data_folder
        self._stopped = os.eventfd(0)
        self._processes: list[int] = []
        try:
            for pid in pids:
                self._processes.append(os.pidfd_open(pid))
        except ProcessLookupError:
            self.close()
            raise self._ended() from None

    def run(self) -> None:
        """Return after ``stop``. Raises StoreUnavailable once a server has ended."""
        poll = select.poll()
        for descriptor in (self._stopped, *self._processes):
            poll.register(descriptor, select.POLLIN)
        if self._stopped not in {descriptor for descriptor, _ in poll.poll()}:
            raise self._ended()

    def stop(self) -> None:
        """Let ``run`` return; from any thread."""
        os.eventfd_write(self._stopped, 1)

    def close(self) -> None:
        """Let go of the processes, once ``run`` has returned."""
        with ExitStack() as stack:
            for descriptor in (self._stopped, *self._processes):
                stack.callback(os.close, descriptor)

    def _ended(self) -> StoreUnavailable:
        logs = " and ".join(str(self._data_folder / name / f"{name}.log") for name in ("redis", "postgres"))
        return StoreUnavailable(f"embedded servers: must run as long as the service, one has exited: see {logs}")
