"""Failures of a task that goes through many things: damage and an outage are told apart."""

from __future__ import annotations

from market.errors import CorruptStore, FeatureServiceError, StoreUnavailable
from storage.objects.path import ObjectPath
from storage.places import Place


class Failures:
    """What failed of some things, while the others were done."""

    def __init__(self) -> None:
        self.damaged: list[str] = []
        self._refused: list[str] = []

    def add(self, name: str, error: FeatureServiceError) -> None:
        """The thing of this name failed."""
        (self._refused if isinstance(error, StoreUnavailable) else self.damaged).append(f"{name}: {error}")

    def is_away(self, *places: Place) -> bool:
        """Whether something was refused and one of the object stores does not answer now: others would wait for it."""
        if not self._refused:
            return False
        try:
            for place in places:
                if isinstance(place, ObjectPath):
                    place.bucket.ask(place.key)
        except StoreUnavailable:
            return True
        return False

    def check(self, rule: str) -> None:
        """Raises CorruptStore where anything was damaged, else StoreUnavailable where anything was refused."""
        if self.damaged:
            raise CorruptStore(f"{rule}: {'; '.join([*self.damaged, *self._refused])}")
        if self._refused:
            raise StoreUnavailable(f"{rule.partition(':')[0]}: could not be done: {'; '.join(self._refused)}")
