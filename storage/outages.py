"""Outages: what does not answer is two lines of the log, one when that begins and one when it is over."""

from __future__ import annotations

import logging

from market.errors import FeatureServiceError


class Outage:
    """Whether something that is asked again and again does not answer."""

    def __init__(self, log: logging.Logger, name: str, *, meanwhile: str) -> None:
        """name: what does not answer. meanwhile: what its user does until it is back."""
        self._log = log
        self._name = name
        self._meanwhile = meanwhile
        self._is_on = False

    def begin(self, error: FeatureServiceError) -> None:
        """It did not answer; a line if it did before."""
        if not self._is_on:
            self._is_on = True
            self._log.warning("%s is down, %s: %s", self._name, self._meanwhile, error)

    def end(self) -> None:
        """It answered; a line if it did not before."""
        if self._is_on:
            self._is_on = False
            self._log.warning("%s is back", self._name)
