"""Bringing the definitions into a Feast registry: a plan first, then the objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from market.errors import DeclarationError

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

    from feature_repo.definitions import FeastObject

_FOLDER_TAGS: Final = frozenset({"fingerprint", "table_fingerprint"})
"""The tags of a view whose source is a folder that the service writes; what others read from is theirs to make."""

Facts: TypeAlias = dict[str, frozenset[str]]
"""What an object declares, by aspect, as texts that can be compared."""


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What an apply would do to one object; ``details`` name what comes (+) and goes (−).

    An object that the registry has and the definitions have not is kept.
    """

    kind: str
    name: str
    action: Literal["create", "update", "unchanged", "keep"]
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.action, self.kind, self.name, *self.details])


def plan(store: FeatureStore, objects: Sequence[FeastObject]) -> list[PlannedChange]:
    """What ``apply_definitions`` would change, object by object; nothing is written.

    Raises DeclarationError as ``apply_definitions`` does.
    """
    from feast import FeatureView
    from feast.feature_view import DUMMY_ENTITY_NAME

    refuse_colliding_fields([item for item in objects if isinstance(item, FeatureView)])
    registered_objects: list[FeastObject] = [
        *(item for item in store.list_entities() if item.name != DUMMY_ENTITY_NAME),
        *store.list_feature_views(),
        *store.list_on_demand_feature_views(),
        *store.list_feature_services(),
    ]
    held = {(_kind(item), item.name): _facts(item) for item in registered_objects}
    changes = []
    for item in objects:
        kind, declared = _kind(item), _facts(item)
        registered = held.pop((kind, item.name), None)
        if registered is None:
            changes.append(PlannedChange(kind, item.name, "create"))
        elif registered == declared:
            changes.append(PlannedChange(kind, item.name, "unchanged"))
        else:
            changes.append(PlannedChange(kind, item.name, "update", _differences(registered, declared)))
    return changes + [PlannedChange(kind, name, "keep") for kind, name in held]


def make_local_folder(address: str) -> None:
    """Make a folder and those above it; nothing where it stands."""
    Path(address).mkdir(parents=True, exist_ok=True)


def apply_definitions(
    store: FeatureStore, objects: Sequence[FeastObject], *, make_folder: Callable[[str], object] = make_local_folder
) -> list[str]:
    """Register ``objects``, create the log folders Feast will read, and return what was registered, a line each.

    make_folder: of an address of the feature log, which may be in an object store. Raises DeclarationError when two
    feature names would share one field of the online store, and what ``make_folder`` raises.
    """
    from feast import FeatureView, FileSource

    views = [item for item in objects if isinstance(item, FeatureView)]
    refuse_colliding_fields(views)
    for view in views:
        if _FOLDER_TAGS & view.tags.keys():
            assert isinstance(view.batch_source, FileSource)
            make_folder(view.batch_source.path)
    store.apply(list(objects))
    return [f"{_kind(item)} {item.name}" for item in objects]


def withdraw_feature_service(store: FeatureStore, name: str) -> None:
    """Take a feature service out of the registry; nothing where it is not there."""
    from feast.errors import FeatureServiceNotFoundException

    with suppress(FeatureServiceNotFoundException):
        store.delete_feature_service(name)


def _kind(item: FeastObject) -> str:
    """Feast's class: what comes from the registry is of no class of ours."""
    return next(each.__name__ for each in type(item).__mro__ if each.__module__.startswith("feast."))


def _facts(item: FeastObject) -> Facts:
    from feast import Entity, FeatureView, FileSource, OnDemandFeatureView
    from feast.feature_view import DUMMY_ENTITY_NAME

    tags = frozenset(f"{name}={value}" for name, value in item.tags.items())
    if isinstance(item, Entity):
        return {"join key": frozenset({item.join_key}), "type": frozenset({item.value_type.name}), "tags": tags}
    if isinstance(item, FeatureView):
        log = item.batch_source.path if isinstance(item.batch_source, FileSource) else ""
        return {
            "features": frozenset(f"{field.name}:{field.dtype}" for field in item.features),
            "descriptions": frozenset(f"{field.name}: {field.description}" for field in item.features),
            "entities": frozenset(item.entities) - {DUMMY_ENTITY_NAME},
            "ttl": frozenset({str(item.ttl)}),
            "log": frozenset({log}),
            "push source": frozenset({item.stream_source.name if item.stream_source else ""}),
            "tags": tags,
        }
    if isinstance(item, OnDemandFeatureView):
        return {
            "features": frozenset(f"{field.name}:{field.dtype}" for field in item.features),
            "reads": frozenset([*item.source_feature_view_projections, *item.source_request_sources]),
            "tags": tags,
        }
    projected = (
        f"{projection.name}:{field.name}"
        for projection in item.feature_view_projections
        for field in projection.features
    )
    return {"features": frozenset(projected), "tags": tags}


def _differences(registered: Facts, declared: Facts) -> tuple[str, ...]:
    details = []
    for aspect, now in declared.items():
        come = [f"+{fact}" for fact in sorted(now - registered[aspect])]
        gone = [f"−{fact}" for fact in sorted(registered[aspect] - now)]
        if come or gone:
            details.append(f"{aspect}: {' '.join(come + gone)}")
    return tuple(details)


def refuse_colliding_fields(views: Sequence[FeatureView]) -> None:
    """Raises DeclarationError when two feature names would share one field of the online store."""
    from feast.infra.online_stores.helpers import _mmh3

    owners: dict[bytes, str] = {}
    problems = []
    for view in views:
        for field in view.features:
            name = f"{view.name}:{field.name}"
            other = owners.setdefault(_mmh3(name), name)
            if other != name:
                problems.append(f"{name}: must not share its 32-bit field in the online store with {other}")
    if problems:
        raise DeclarationError("feature views", problems)
