"""What is said of registry versions: who asks for a change, what a version is now, and what uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from feature_repo.registry_versions import SHIPPED_VERSIONS, RegistryVersion
from market.clock import format_iso, to_ns
from storage.database.registry_records import Action, Change, VersionRecord


class FeatureServices(Protocol):
    """The feature services of versions in Feast, one each."""

    def announce(self) -> object:
        """Bring in those of every sound version."""

    def withdraw(self, version: str) -> object:
        """Take that of a version out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for a change, as they say, why, and from where."""

    origin: str
    made_by: str | None = None
    reason: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionState:
    """One version: what its file is now, and what is recorded of it. record: None for a candidate that was never read.

    problems: of its file; loaded: None where it has any. usage_count: its datasets.
    """

    version: str
    is_active: bool
    problems: tuple[str, ...]
    loaded: RegistryVersion | None
    record: VersionRecord | None
    usage_count: int

    @property
    def is_shipped(self) -> bool:
        return self.version in SHIPPED_VERSIONS

    def document(self) -> dict[str, Any]:
        """As a JSON object; times are ISO 8601."""
        record, loaded = self.record, self.loaded
        recorded = {
            name: None if record is None else getattr(record, name)
            for name in (
                *("created_by", "activated_by", "activation_reason", "previous_version", "rollback_from"),
                *("schema_version", "migration_script"),
            )
        }
        times = {
            name: None if record is None or (at := getattr(record, name)) is None else format_iso(to_ns(at))
            for name in ("validated_at", "loaded_at", "created_at")
        }
        words = {
            name: [] if record is None else list(getattr(record, name) or ())
            for name in ("compatibility_warnings", "breaking_changes")
        }
        return {
            "version": self.version,
            "file_path": f"{self.version}.yaml",
            "is_active": self.is_active,
            "is_shadow": record is not None and record.is_shadow,
            "shadow_row_cost_ms": None if record is None else record.shadow_row_cost_ms,
            "is_shipped": self.is_shipped,
            "is_recorded": record is not None,
            "is_valid": not self.problems,
            "validation_errors": list(self.problems),
            "warnings": [] if loaded is None else list(loaded.warnings),
            "feature_set": None if loaded is None else loaded.feature_set.fingerprint,
            "features_count": None if loaded is None else len(loaded.feature_set.columns),
            "usage_count": self.usage_count,
            **times,
            **recorded,
            **words,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What uses a version. rows: of the feature log that have its columns; why_not: what keeps it from being deleted.

    workers: that serve it now. service: its feature service in Feast, None while its file is broken.
    """

    datasets_count: int
    datasets: tuple[str, ...]
    rows: int
    workers: tuple[str, ...]
    service: str | None
    why_not: tuple[str, ...]

    def document(self, version: str) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "version": version,
            "active_datasets_count": self.datasets_count,
            "feature_computations_count": self.rows,
            "can_delete": not self.why_not,
            "usage_details": {
                "datasets": list(self.datasets),
                "workers": list(self.workers),
                "feature_services": [] if self.service is None else [self.service],
                "why_not_deleted": list(self.why_not),
            },
        }


def change(
    action: Action,
    version: str,
    asked: Asked,
    *,
    at: datetime,
    previous: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Change:
    """The line of the audit of what was asked for."""
    return Change(
        at=at,
        action=action,
        version=version,
        origin=asked.origin,
        previous_version=previous,
        made_by=asked.made_by,
        reason=asked.reason,
        details=details or {},
        trace_id=asked.trace_id,
    )
