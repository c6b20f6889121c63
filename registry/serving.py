"""The version that a process serves, which changes with the active one while the process runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from market.errors import FeatureServiceError, StoreUnavailable

POLL_S: Final = 1.0

_log = logging.getLogger(__name__)


class ServedVersion:
    """What a request means that names no version; from any thread."""

    def __init__(self, version: str) -> None:
        self.version = version


class ServedVersionWatch:
    """Keeps a process's served version at the active one until ``stop``.

    active: the version that is active; raises StoreUnavailable. check: raises what keeps a version from being served
    here. loaded: called with each version once it is served.
    """

    def __init__(
        self,
        served: ServedVersion,
        *,
        active: Callable[[], str],
        check: Callable[[str], object],
        loaded: Callable[[str], object],
    ) -> None:
        self._served = served
        self._active = active
        self._check = check
        self._loaded = loaded
        self._refused = ""
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look every second."""
        while not self._stopping.wait(POLL_S):
            try:
                self.look()
            except StoreUnavailable:
                continue  # who asks for the database says so

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> None:
        """Serve the active version; if it cannot be served, the current one continues, and the log says why, once."""
        active = self._active()
        if active in (self._served.version, self._refused):
            return
        try:
            self._check(active)
        except StoreUnavailable:
            raise
        except FeatureServiceError as error:
            self._refused = active
            _log.error("registry version %s is active and cannot be served here: %s", active, error)
            return
        self._served.version, self._refused = active, ""
        self._loaded(active)
        _log.info("registry version %s is active: requests that name no version use it from now on", active)
