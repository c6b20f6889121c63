"""Records of registry versions: one as recorded, the result of reading its file, and a line of the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Action = Literal[
    "create", "sync", "activate", "rollback", "delete", "migrate", "refuse", "take_back", "shadow", "end_shadow"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """One version as it was recorded; times are aware.

    definition: its columns as a JSON object, None where its file was never sound. migration_script: the declared
    migration as JSON. rollback_from: the version that a rollback came from to this one. is_shadow: it is served beside
    the active one, whose cost was accepted then.
    """

    version: str
    file_path: str
    is_active: bool
    created_at: datetime
    validated_at: datetime | None = None
    validation_errors: Sequence[str] | None = None
    loaded_at: datetime | None = None
    created_by: str | None = None
    activated_by: str | None = None
    rollback_from: str | None = None
    previous_version: str | None = None
    schema_version: str | None = None
    migration_script: str | None = None
    compatibility_warnings: Sequence[str] | None = None
    breaking_changes: Sequence[str] | None = None
    activation_reason: str | None = None
    content_sha256: str | None = None
    definition: Mapping[str, Any] | None = None
    is_shadow: bool = False
    shadow_row_cost_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The result of reading a version's file. Without problems it has a definition."""

    version: str
    file_path: str
    content_sha256: str | None
    problems: tuple[str, ...] = ()
    definition: Mapping[str, Any] | None = None
    schema_version: str | None = None
    migration_script: str | None = None

    def columns(self, at: datetime) -> dict[str, Any]:
        """The columns of the version's row, as read then."""
        return {
            "file_path": self.file_path,
            "content_sha256": self.content_sha256,
            "validated_at": at,
            "validation_errors": list(self.problems),
            "definition": self.definition,
            "schema_version": self.schema_version,
            "migration_script": self.migration_script,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who changed a version, when, why and from where; a line of the audit."""

    at: datetime
    action: Action
    version: str
    origin: str
    previous_version: str | None = None
    made_by: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    trace_id: str | None = None
