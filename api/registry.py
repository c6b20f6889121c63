"""Routes of the feature registry: its versions, which one is active, and who changed what.

An activation responds once the running workers serve the version, or with 409 and why the previous one continues.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from api.parameters import LONGEST_VERSION, Limit
from api.registry_documents import (
    Activated,
    Activation,
    ActiveVersion,
    AuditLine,
    NewestActivation,
    NewVersion,
    Reloaded,
    Rollback,
    Validation,
    VersionDifference,
    VersionDocument,
    VersionUsage,
    VersionWithConfig,
    WorkerShadowVersion,
    WorkerVersion,
)
from api.services import ApiServices, Services
from market.clock import format_iso, to_ns
from market.errors import InvalidRegistry
from registry.active import TAKES_EFFECT
from registry.agreement import WorkerSays, follows_activations
from registry.shadows import shadows_of
from registry.states import Asked, VersionState
from storage.database.activations import Activation as StoredActivation
from storage.database.registry_records import VersionRecord

router = APIRouter(prefix="/feature-registry", tags=["feature registry"])

Version = Annotated[str, Path(min_length=1, max_length=LONGEST_VERSION, description="Version, e.g. 1.0.0.")]
Compared = Annotated[str, Query(min_length=1, max_length=LONGEST_VERSION, description="Version, or latest.")]
Reason = Annotated[str | None, Query(min_length=1, max_length=2000, description="Why, for the audit.")]
Author = Annotated[str | None, Query(min_length=1, max_length=200, description="Who, for the audit.")]


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
        hot_reload=cycle.active.is_changeable,
        takes_effect=cycle.active.takes_effect,
        activation=None if activation is None else _newest(activation),
        shadow_versions=cycle.shadows.versions(),
        workers=[_worker(each, state.version) for each in said],
    )


@router.post("/reload")
def reload(request: Request, services: Services) -> Reloaded:
    """Read the active version's file again, and record its contents.

    Edits are served from a process's next start; to have them served without a restart, give them a new version.
    """
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
        hot_reload=cycle.active.is_changeable,
        takes_effect=cycle.active.takes_effect,
    )


@router.get("/validate")
def validate(
    services: Services,
    version: Annotated[
        str | None, Query(min_length=1, max_length=LONGEST_VERSION, description="Default: the active one.")
    ] = None,
) -> Validation:
    """Whether the active or another version's file is valid, and every file that is not."""
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
    before: Compared,
    after: Compared,
) -> VersionDifference:
    """Effects of a change of version: columns, horizons, sources, rows of history to compute, cost of a row.

    The cost is measured on the newest tape of this machine, once per process. ``latest`` is the whole catalogue. 409
    when one of the files is broken.
    """
    return VersionDifference(**services.life_cycle.differences.between(before, after).document())


@router.get("/audit")
def audit(
    services: Services,
    version: Annotated[
        str | None, Query(min_length=1, max_length=LONGEST_VERSION, description="Only of this version.")
    ] = None,
    limit: Limit = 100,
) -> list[AuditLine]:
    """The newest changes, newest first, optionally of one version. They cannot be changed or removed."""
    found = services.life_cycle.audit(version=version, limit=limit)
    return [AuditLine(**{**line, "at": format_iso(to_ns(line["at"]))}) for line in found]


@router.post("/rollback")
def rollback(request: Request, services: Services, body: Rollback) -> Activated:
    """Activate the previously active version; breaking changes are recorded and need no acknowledgement."""
    asked = _asked(request, services, made_by=body.activated_by, reason=body.activation_reason)
    return _activated(services.life_cycle.rollback(asked))


@router.get("/versions")
def list_versions(services: Services) -> list[VersionDocument]:
    """Every version that has a file or was recorded, oldest first, broken ones with their problems."""
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
    deleted_by: Author = None,
    reason: Reason = None,
) -> None:
    """Remove a version's file and its records. 409 while it is active, shipped or in use."""
    services.life_cycle.delete(version, _asked(request, services, made_by=deleted_by, reason=reason))


@router.post("/versions/{version}/activate")
def activate(request: Request, services: Services, version: Version, body: Activation) -> Activated:
    """Make a version the active one; responds once the running workers serve it.

    400 when it breaks readers and that is not acknowledged; 409 when its file is broken, when it is already active,
    when another activation is in progress or came first, and when a worker cannot serve it: then the previous
    version continues, and the message says why.

    ``shadow``: serve it next to the active one instead; 400 with the cost of a row until that is accepted.
    """
    cycle = services.life_cycle
    asked = _asked(request, services, made_by=body.activated_by, reason=body.activation_reason)
    if body.shadow:
        return _activated(cycle.shadows.begin(version, asked, accepted_ms=body.accept_row_cost_ms))
    return _activated(cycle.activate(version, asked, is_acknowledged=body.acknowledge_breaking_changes))


@router.delete("/versions/{version}/shadow", status_code=204)
def end_shadow(
    request: Request,
    services: Services,
    version: Version,
    ended_by: Author = None,
    reason: Reason = None,
) -> None:
    """Stop serving a version next to the active one. 409 if it is not."""
    services.life_cycle.shadows.end(version, _asked(request, services, made_by=ended_by, reason=reason))


@router.get("/versions/{version}/usage")
def usage(services: Services, version: Version) -> VersionUsage:
    """What uses a version, and what prevents its deletion."""
    return VersionUsage(**services.life_cycle.usage(version).document(version))


@router.post("/versions/{version}/sync-file")
def sync_file(request: Request, services: Services, version: Version) -> VersionWithConfig:
    """Read a version's file again, after it appeared or was edited, and record its contents."""
    state = services.life_cycle.sync(version, _asked(request, services))
    return VersionWithConfig(**state.document(), config=_config(services, state))


def _config(services: ApiServices, state: VersionState) -> dict[str, Any] | None:
    try:
        return services.life_cycle.files.config(state.version)
    except InvalidRegistry:
        return None


def _asked(request: Request, services: ApiServices, *, made_by: str | None = None, reason: str | None = None) -> Asked:
    key = "without a key" if services.api_key is None else "by FEATURE_SERVICE_API_KEY"
    host = "an unknown address" if request.client is None else request.client.host
    return Asked(origin=f"API from {host}, {key}", made_by=made_by, reason=reason, trace_id=request.state.trace_id)


def _newest(activation: StoredActivation) -> NewestActivation:
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
        shadow_versions=[
            WorkerShadowVersion(
                feature_registry_version=one.version,
                state=one.state,
                detail=one.detail,
                rows=one.rows,
                row_ms=one.row_ms,
            )
            for one in shadows_of(each.worker)
        ],
    )


def _activated(record: VersionRecord) -> Activated:
    return Activated(
        version=record.version,
        is_active=record.is_active,
        is_shadow=record.is_shadow,
        shadow_row_cost_ms=record.shadow_row_cost_ms,
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
