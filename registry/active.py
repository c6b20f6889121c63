"""Which version is active: what the database says, or, where versions are not kept in it, what the files say."""

from __future__ import annotations

from typing import Final

from feature_repo.registry_versions import DEFAULT_VERSION
from market.errors import Conflict
from storage.database.registry_records import VersionRecord
from storage.database.registry_versions import RegistryStore

TAKES_EFFECT: Final = "after one row of every worker, and in other processes within seconds"
NEEDS_START: Final = "with other settings, at the next start of each process"


class ActiveVersion:
    """The active version of one database. by_files: the version that is active without it; None asks the database."""

    def __init__(self, store: RegistryStore, *, by_files: str | None = None) -> None:
        self.store = store
        self._by_files = by_files

    @property
    def is_changeable(self) -> bool:
        """Whether an activation changes it; else another setting and a start do."""
        return self._by_files is None

    @property
    def takes_effect(self) -> str:
        """Since when another version is served, in words."""
        return TAKES_EFFECT if self.is_changeable else NEEDS_START

    @property
    def version(self) -> str:
        """The version; where none was activated, the shipped default. Raises StoreUnavailable."""
        if self._by_files is not None:
            return self._by_files
        record = self.store.active()
        return DEFAULT_VERSION if record is None else record.version

    def record(self) -> VersionRecord | None:
        """What is recorded of the version that was activated; None where none was. Raises StoreUnavailable."""
        return self.store.active() if self.is_changeable else None

    def check_changeable(self) -> None:
        """Raises Conflict where the files decide."""
        if not self.is_changeable:
            raise Conflict(
                f"FEATURE_REGISTRY_USE_DB: must be true to serve another version than the files state, was "
                f"false: {self._by_files} is served"
            )
