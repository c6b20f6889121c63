"""What a registry holds, in the format of Feast's registry server over REST."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # protobuf ships no types

from market.errors import NotFound

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.infra.registry.base_registry import BaseRegistry

NAMED: Final[Mapping[str, str]] = {
    "entities": "entities",
    "data_sources": "dataSources",
    "feature_views": "featureViews",
    "feature_services": "featureServices",
    "projects": "projects",
}
"""What may be listed, and the name under which an answer holds it."""
_LISTED: Final[Mapping[str, Callable[[BaseRegistry, str], Sequence[Any]]]] = {
    "entities": lambda registry, project: registry.list_entities(project, allow_cache=True),
    "data_sources": lambda registry, project: registry.list_data_sources(project, allow_cache=True),
    "feature_views": lambda registry, project: registry.list_all_feature_views(project, allow_cache=True),
    "feature_services": lambda registry, project: registry.list_feature_services(project, allow_cache=True),
    "projects": lambda registry, _: registry.list_projects(allow_cache=True),
}
_TYPES: Final = {
    "FeatureView": "featureView",
    "StreamFeatureView": "streamFeatureView",
    "OnDemandFeatureView": "onDemandFeatureView",
    "LabelView": "labelView",
}


def listing(store: FeatureStore, kind: str, project: str) -> dict[str, Any]:
    """Everything of a kind, of ``NAMED``, that a project has; as JSON."""
    found = [_document(item) for item in _LISTED[kind](store.registry, project)]
    pagination = {"totalCount": len(found), "totalPages": 1} if found else {}
    return {NAMED[kind]: found, "pagination": pagination}


def listed(store: FeatureStore, kind: str, project: str, name: str) -> dict[str, Any]:
    """One of a kind. Raises NotFound."""
    for item in _LISTED[kind](store.registry, project):
        if item.name == name:
            return _document(item)
    raise NotFound(f"{kind}: must be in project {project}, was {name!r}")


def _document(item: Any) -> dict[str, Any]:  # noqa: ANN401  # one of Feast's objects
    document: dict[str, Any] = MessageToDict(item.to_proto())
    # The registry tells classes of views apart by their protos, and so do subclasses of ours.
    kind = next((_TYPES[each.__name__] for each in type(item).__mro__ if each.__name__ in _TYPES), None)
    return document if kind is None else document | {"type": kind}
