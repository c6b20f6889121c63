"""Routes of the feature registry: its versions, which one is active, and who changed what.

An activation answers once the workers that run serve the version, or with 409 and why the one before goes on.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.services import ApiServices, Services
from market.clock import format_iso, to_ns
from market.errors import InvalidRegistry
from registry.agreement import WorkerSays, follows_activations
from registry.life_cycle import TAKES_EFFECT, Asked, VersionState
from storage.database import activations
from storage.database.registry_versions import VersionRecord

router = APIRouter(prefix="/feature-registry", tags=["feature registry"])

Version = Annotated[str, Path(min_length=1, max_length=40)]
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
    """Who makes a version active, and why."""

    activation_reason: Reason
    activated_by: Who
    acknowledge_breaking_changes: bool = False


class Rollback(_Strict):
    """Who returns to the version before, and why."""

    activation_reason: Reason
    activated_by: Who


class WorkerVersion(BaseModel):
    """What a worker that lives computes rows of; null while it has not told.

    follows_activations: false for one that was started with a version. activation_state: what it says of the newest
    activation: preparing, ready, changed, serving or failed, and in detail why. is_straggling: it follows, and serves
    another version than the active one.
    """

    worker_id: str
    feature_registry_version: str | None
    follows_activations: bool
    activation_state: str | None
    detail: str | None
    is_straggling: bool


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

    is_activated: false where it is the shipped default. config: null while its file is broken.
    """

    version: str
    is_activated: bool
    config: dict[str, Any] | None
    validation_errors: list[str]
    served_version: str
    hot_reload: bool
    takes_effect: str
    activation: NewestActivation | None
    workers: list[WorkerVersion]


class Reloaded(BaseModel):
    """What the active version's file is now. is_changed: other bytes than were recorded before."""

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

    is_recorded: false for a file that appeared and was not looked at yet.
    """

    version: str
    file_path: str
    is_active: bool
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
    """One version with what its file holds; config is null while that is no registry file."""

    config: dict[str, Any] | None


class Activated(BaseModel):
    """An activation that was done. hot_reload: running workers serve it without a new start."""

    version: str
    is_active: bool
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


@router.get("")
def active(services: Services) -> ActiveVersion:
    """The active version with its configuration, the newest activation, and what each worker serves."""
    cycle = services.life_cycle
    state = cycle.state(cycle.active_version())
    activation, said = cycle.said()
    return ActiveVersion(
        version=state.version,
        is_activated=state.record is not None and state.record.is_active,
        config=_config(services, state),
        validation_errors=list(state.problems),
        served_version=services.default_version,
        hot_reload=True,
        takes_effect=TAKES_EFFECT,
        activation=None if activation is None else _newest(activation),
        workers=[_worker(each, state.version) for each in said],
    )


@router.post("/reload")
def reload(request: Request, services: Services) -> Reloaded:
    """Look at the active version's file again, and record what it is; what it holds is served once it is activated."""
    cycle = services.life_cycle
    before = cycle.state(cycle.active_version())
    now = cycle.sync(before.version, _asked(request, services))
    assert now.record is not None
    known = before.record is not None and before.record.content_sha256 is not None
    return Reloaded(
        version=now.version,
        is_valid=not now.problems,
        validation_errors=list(now.problems),
        is_changed=known and before.record is not None and before.record.content_sha256 != now.record.content_sha256,
        served_version=services.default_version,
        hot_reload=True,
        takes_effect=TAKES_EFFECT,
    )


@router.get("/validate")
def validate(
    services: Services, version: Annotated[str | None, Query(min_length=1, max_length=40)] = None
) -> Validation:
    """Whether the active version's file keeps the rules, or another's; and every file that breaks them."""
    cycle = services.life_cycle
    state = cycle.state(version or cycle.active_version())
    return Validation(
        version=state.version,
        is_valid=not state.problems,
        validation_errors=list(state.problems),
        warnings=[] if state.loaded is None else list(state.loaded.warnings),
        broken_files={each.version: list(each.problems) for each in cycle.states() if each.problems},
    )


@router.get("/diff")
def diff(
    services: Services,
    before: Annotated[str, Query(min_length=1, max_length=40)],
    after: Annotated[str, Query(min_length=1, max_length=40)],
) -> VersionDifference:
    """What a change from one version to another means: columns, horizons, sources, and rows of history to compute.

    ``latest`` is the whole catalogue. 409 when the file of one is broken.
    """
    found, rows = services.life_cycle.difference(before, after)
    return VersionDifference(**found.document(), rows_to_compute=rows)


@router.get("/audit")
def audit(
    services: Services,
    version: Annotated[str | None, Query(min_length=1, max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AuditLine]:
    """The newest changes, newest first, of one version where it is given. Nobody can change or remove one."""
    found = services.life_cycle.audit(version=version, limit=limit)
    return [AuditLine(**{**line, "at": format_iso(to_ns(line["at"]))}) for line in found]


@router.post("/rollback")
def rollback(request: Request, services: Services, body: Rollback) -> Activated:
    """Make the version active that was before the active one; what that breaks is recorded, not asked."""
    asked = _asked(request, services, made_by=body.activated_by, reason=body.activation_reason)
    return _activated(services.life_cycle.rollback(asked))


@router.get("/versions")
def list_versions(services: Services) -> list[VersionDocument]:
    """Every version that has a file or was recorded, oldest first, the broken ones with what is wrong."""
    return [VersionDocument(**state.document()) for state in services.life_cycle.states()]


@router.post("/versions", status_code=201)
def create(request: Request, services: Services, body: NewVersion) -> VersionWithConfig:
    """Write a version's file and record it; it is a candidate until it is activated. 400 names every problem."""
    asked = _asked(request, services, made_by=body.created_by, reason=body.reason)
    state = services.life_cycle.create(body.version, body.config, asked)
    return VersionWithConfig(**state.document(), config=_config(services, state))


@router.get("/versions/{version}")
def show(services: Services, version: Version) -> VersionWithConfig:
    """One version with its configuration."""
    state = services.life_cycle.state(version)
    return VersionWithConfig(**state.document(), config=_config(services, state))


@router.delete("/versions/{version}", status_code=204)
def delete(
    request: Request,
    services: Services,
    version: Version,
    deleted_by: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    reason: Annotated[str | None, Query(min_length=1, max_length=2000)] = None,
) -> None:
    """Remove a version's file and what is recorded of it. 409 while it is active, shipped or in use."""
    services.life_cycle.delete(version, _asked(request, services, made_by=deleted_by, reason=reason))


@router.post("/versions/{version}/activate")
def activate(request: Request, services: Services, version: Version, body: Activation) -> Activated:
    """Make a version the active one; answers once the workers that run serve it.

    400 when it breaks readers and that is not acknowledged; 409 when its file is broken, when it is active already,
    when another activation is under way or was first, and when a worker cannot serve it: then the version before goes
    on, and the message says why.
    """
    asked = _asked(request, services, made_by=body.activated_by, reason=body.activation_reason)
    is_acknowledged = body.acknowledge_breaking_changes
    return _activated(services.life_cycle.activate(version, asked, is_acknowledged=is_acknowledged))


@router.get("/versions/{version}/usage")
def usage(services: Services, version: Version) -> VersionUsage:
    """What uses a version, and what keeps it from being deleted."""
    return VersionUsage(**services.life_cycle.usage(version).document(version))


@router.post("/versions/{version}/sync-file")
def sync_file(request: Request, services: Services, version: Version) -> VersionWithConfig:
    """Look at a version's file again, after it was edited by hand or appeared, and record what it is."""
    state = services.life_cycle.sync(version, _asked(request, services))
    return VersionWithConfig(**state.document(), config=_config(services, state))


def _newest(activation: activations.Activation) -> NewestActivation:
    settled, from_row_ns = activation.settled_at, activation.from_row_ns
    return NewestActivation(
        version=activation.version,
        previous_version=activation.previous_version,
        state=activation.state,
        asked_at=format_iso(to_ns(activation.asked_at)),
        settled_at=None if settled is None else format_iso(to_ns(settled)),
        from_row=None if from_row_ns is None else format_iso(from_row_ns),
        reason=activation.reason,
    )


def _worker(each: WorkerSays, active: str) -> WorkerVersion:
    return WorkerVersion(
        worker_id=each.worker.worker_id,
        feature_registry_version=each.version,
        follows_activations=follows_activations(each.worker),
        activation_state=None if each.confirmation is None else each.confirmation.state,
        detail=None if each.confirmation is None else each.confirmation.detail,
        is_straggling=each.is_straggling(active),
    )


def _config(services: ApiServices, state: VersionState) -> dict[str, Any] | None:
    try:
        return services.life_cycle.config(state.version)
    except InvalidRegistry:
        return None


def _activated(record: VersionRecord) -> Activated:
    return Activated(
        version=record.version,
        is_active=record.is_active,
        activated_by=record.activated_by,
        activation_reason=record.activation_reason,
        previous_version=record.previous_version,
        rollback_from=record.rollback_from,
        compatibility_warnings=list(record.compatibility_warnings or ()),
        breaking_changes=list(record.breaking_changes or ()),
        migration_script=record.migration_script,
        hot_reload=True,
        takes_effect=TAKES_EFFECT,
    )


def _asked(request: Request, services: ApiServices, *, made_by: str | None = None, reason: str | None = None) -> Asked:
    key = "without a key" if services.api_key is None else "by FEATURE_SERVICE_API_KEY"
    host = "an unknown address" if request.client is None else request.client.host
    return Asked(origin=f"API from {host}, {key}", made_by=made_by, reason=reason, trace_id=request.state.trace_id)
