"""What a change between two versions means: for readers, for history, and for what a row costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from feature_repo.registry_versions import RegistryVersion
from market.errors import Conflict, InvalidRegistry, NotFound
from registry.compatibility import Difference, compare
from registry.definition import define, read_definition
from registry.folder import VersionFolder
from storage.database.registry_records import VersionRecord
from storage.features.parts import rows_with_columns
from storage.places import Place
from transforms.rows import FeatureSet


@dataclass(frozen=True, slots=True)
class RowCost:
    """What a row of one symbol costs of processor time, ms, and of how many rows that was measured.

    ms: None where it was not measured; reason says why.
    """

    ms: float | None
    rows: int = 0
    reason: str | None = None

    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"row_ms": self.ms, "rows_measured": self.rows, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class VersionChange:
    """A change between two versions. rows_to_compute: of history, by group of the second."""

    difference: Difference
    rows_to_compute: dict[str, int]
    cost_before: RowCost
    cost_after: RowCost

    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            **self.difference.document(),
            "rows_to_compute": self.rows_to_compute,
            "cost_before": self.cost_before.document(),
            "cost_after": self.cost_after.document(),
        }


class Differences:
    """Compares versions of one folder by the code as it is, and by the feature log in ``features``.

    measure: what rows of sets cost, in their order.
    """

    def __init__(
        self, folder: VersionFolder, features: Place, measure: Callable[[list[FeatureSet]], list[RowCost]]
    ) -> None:
        self.folder = folder
        self._features = features
        self._measure = measure

    def between(self, before: str, after: str) -> VersionChange:
        """What a change between two versions is. Raises Conflict for a broken file, NotFound."""
        try:
            old, new = (self.folder.load(version) for version in (before, after))
        except InvalidRegistry as error:
            raise Conflict(f"registry versions {before}, {after}: must be valid to be compared, {error}") from error
        found = compare(define(old), define(new), new.migration)
        groups = {group.name: group for group in new.feature_set.groups}
        history = self.rows(old)
        missing = {
            name: max(0, history - rows_with_columns(self._features, groups[name])) for name in found.groups_to_compute
        }
        cost_before, cost_after = self._measure([old.feature_set, new.feature_set])
        return VersionChange(found, missing, cost_before, cost_after)

    def cost(self, version: str) -> RowCost:
        """What a row of a sound version costs."""
        [found] = self._measure([self.folder.load(version).feature_set])
        return found

    def for_readers(self, record: VersionRecord | None, before: str, after: str) -> Difference | None:
        """What changes for readers; None when nothing is known of the version before."""
        if record is not None and record.definition is not None:
            definition = read_definition(record.definition)
        else:
            try:
                definition = define(self.folder.load(before))
            except (InvalidRegistry, NotFound):
                return None
        new = self.folder.load(after)
        return compare(definition, define(new), new.migration)

    def rows(self, version: RegistryVersion) -> int:
        """Rows of the feature log that have the version's columns: as many as its rarest group has."""
        return min(rows_with_columns(self._features, group) for group in version.feature_set.groups)
