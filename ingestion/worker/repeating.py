"""Something that a worker does again and again in a thread of its own, whatever error it ends with."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Repeating:
    """Calls ``step`` every so many seconds, from ``start`` until ``close``. name: of the thread, and in the log."""

    def __init__(self, name: str, step: Callable[[], object], *, every_s: float) -> None:
        self._name = name
        self._step = step
        self._every_s = every_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_closing(self) -> bool:
        return self._closing.is_set()

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait within a step; True, and sooner, when it is to end."""
        return self._closing.wait(seconds)

    def close(self) -> None:
        """Let the present step be the last, and wait for it."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            try:
                self._step()
            except Exception:  # noqa: BLE001  # the top of a thread: the worker serves on as it did
                _log.exception("%s: continues after an error", self._name)
