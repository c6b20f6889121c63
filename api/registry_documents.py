"""What the routes of the feature registry take and answer."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Who = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(min_length=1, max_length=2000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewVersion(_Strict):
    """A version to create; ``config`` is what its file will hold, with or without the version's number."""

    version: Annotated[str, Field(min_length=1, max_length=40)]
    config: dict[str, Any]
    created_by: Who | None = None
    reason: Reason | None = None


class Activation(_Strict):
    """Who activates a version, and why.

    shadow: serve it next to the active one instead. accept_row_cost_ms: the accepted CPU time of one of its rows.
    """

    activation_reason: Reason
    activated_by: Who
    acknowledge_breaking_changes: bool = False
    shadow: bool = False
    accept_row_cost_ms: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None


class Rollback(_Strict):
    """Who returns to the previous version, and why."""

    activation_reason: Reason
    activated_by: Who


class WorkerShadowVersion(BaseModel):
    """A version that a worker serves next to its own: preparing, serving or failed, with the reason in detail.

    rows: written so far. row_ms: the CPU time of one; null before it was measured.
    """

    feature_registry_version: str
    state: str
    detail: str | None
    rows: int
    row_ms: float | None


class WorkerVersion(BaseModel):
    """The version that a live worker computes rows of; null until it reports.

    follows_activations: false for one that was started with a version. activation_state: its state in the newest
    activation: preparing, ready, changed, serving or failed, with the reason in detail. is_straggling: it follows,
    and serves another version than the active one.
    """

    worker_id: str
    feature_registry_version: str | None
    follows_activations: bool
    activation_state: str | None
    detail: str | None
    is_straggling: bool
    shadow_versions: list[WorkerShadowVersion]


class NewestActivation(BaseModel):
    """The newest activation: preparing, committed, failed or taken_back; reason says why it failed.

    from_row: the last row of the version before.
    """

    version: str
    previous_version: str
    state: str
    asked_at: str
    settled_at: str | None
    from_row: str | None
    reason: str | None


class ActiveVersion(BaseModel):
    """The active version, what this process serves, and what each worker does.

    is_activated: false if it is the shipped default. config: null while its file is broken.
    """

    version: str
    is_activated: bool
    config: dict[str, Any] | None
    validation_errors: list[str]
    served_version: str
    hot_reload: bool
    takes_effect: str
    activation: NewestActivation | None
    shadow_versions: list[str]
    workers: list[WorkerVersion]


class Reloaded(BaseModel):
    """What the active version's file is now. is_changed: its bytes differ from those recorded before."""

    version: str
    is_valid: bool
    validation_errors: list[str]
    is_changed: bool
    served_version: str
    hot_reload: bool
    takes_effect: str


class Validation(BaseModel):
    """Whether a version's file keeps the rules; broken_files: problems of every file that does not, by version."""

    version: str
    is_valid: bool
    validation_errors: list[str]
    warnings: list[str]
    broken_files: dict[str, list[str]]


class VersionDocument(BaseModel):
    """One version: what its file is now, and what was recorded of it; times are ISO 8601.

    is_recorded: false for a file that appeared and was not read yet.
    """

    version: str
    file_path: str
    is_active: bool
    is_shadow: bool
    shadow_row_cost_ms: float | None
    is_shipped: bool
    is_recorded: bool
    is_valid: bool
    validation_errors: list[str]
    warnings: list[str]
    feature_set: str | None
    features_count: int | None
    usage_count: int
    validated_at: str | None
    loaded_at: str | None
    created_at: str | None
    created_by: str | None
    activated_by: str | None
    activation_reason: str | None
    previous_version: str | None
    rollback_from: str | None
    schema_version: str | None
    migration_script: str | None
    compatibility_warnings: list[str]
    breaking_changes: list[str]


class VersionWithConfig(VersionDocument):
    """One version with what its file holds; config is null while that is not a registry file."""

    config: dict[str, Any] | None


class Activated(BaseModel):
    """A completed activation. hot_reload: running workers serve it without a restart.

    is_shadow: it is served next to the active one, at the cost that was measured.
    """

    version: str
    is_active: bool
    is_shadow: bool
    shadow_row_cost_ms: float | None
    activated_by: str | None
    activation_reason: str | None
    previous_version: str | None
    rollback_from: str | None
    compatibility_warnings: list[str]
    breaking_changes: list[str]
    migration_script: str | None
    hot_reload: bool
    takes_effect: str


class VersionUsage(BaseModel):
    """What uses a version; feature_computations_count: rows of the feature log that have its columns."""

    version: str
    active_datasets_count: int
    feature_computations_count: int
    can_delete: bool
    usage_details: dict[str, Any]


class MeasuredRowCost(BaseModel):
    """The measured CPU time of a row of one symbol, ms; null with the reason if it was not measured."""

    row_ms: float | None
    rows_measured: int
    reason: str | None


class VersionDifference(BaseModel):
    """From one version to another. rows_to_compute: of history, by group of features."""

    before: str
    after: str
    added: list[str]
    removed: list[str]
    renamed: dict[str, str]
    changed: dict[str, list[str]]
    is_reordered: bool
    sources_added: list[str]
    sources_removed: list[str]
    horizon_before_s: float
    horizon_after_s: float
    groups_to_compute: list[str]
    rows_to_compute: dict[str, int]
    cost_before: MeasuredRowCost
    cost_after: MeasuredRowCost
    warnings: list[str]
    breaking_changes: list[str]


class AuditLine(BaseModel):
    """One change: who made it, when, why and from where."""

    id: int
    at: str
    action: str
    version: str
    previous_version: str | None
    made_by: str | None
    reason: str | None
    origin: str
    details: dict[str, Any]
    trace_id: str | None
