"""Outages: what does not answer is two lines of the log: one when that begins, one with its length when it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable


class Outage:
    """Whether something that is asked again and again does not answer; for one thread, or under its user's lock."""

    def __init__(
        self, log: logging.Logger, name: str, *, meanwhile: str, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """name: what does not answer. meanwhile: what its user does until it is back. now_s: a clock, seconds."""
        self.count = 0
        """How often it went away."""
        self._log = log
        self._name = name
        self._meanwhile = meanwhile
        self._now_s = now_s
        self._since_s: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether it did not answer when it was asked last; from any thread."""
        return self._since_s is not None

    def begin(self, error: object) -> None:
        """It did not answer; a line with ``error`` if it did before."""
        if self._since_s is None:
            self._since_s = self._now_s()
            self.count += 1
            self._log.warning("%s is down, %s: %s", self._name, self._meanwhile, error)

    def end(self) -> None:
        """It answered; a line if it did not before."""
        if self._since_s is not None:
            lasted_s = self._now_s() - self._since_s
            self._since_s = None
            self._log.warning("%s is back after %.0f s", self._name, lasted_s)
