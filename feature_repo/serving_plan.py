"""How the feature server answers a request: its views, their keys and fields in the online store, and the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from market.errors import InvalidRequest

if TYPE_CHECKING:
    from feast import FeatureStore


OURS_TAG: Final = "fingerprint"
"""The tag of a view whose rows ingest alone writes."""


@dataclass(frozen=True, slots=True)
class ServedView:
    """One view of a request.

    keys: column of the request by join key. fields: of the online store, one a feature, then the row's time.
    is_ours: whether ingest writes its rows, with the packed vector.
    """

    name: str
    keys: Mapping[str, str]
    ttl_ns: int | None
    features: tuple[str, ...]
    fields: tuple[bytes, ...]
    is_ours: bool


@dataclass(frozen=True, slots=True)
class ServedFeature:
    """One column of the answer: its name in it, its view and its position among the view's features."""

    name: str
    view: int
    at: int


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """How a request is answered. columns: those stored, in the order asked. key_types: of columns of the request.

    is_computed: whether Feast itself has to answer, because it computes some of the features on demand.
    prepared: what the caller has prepared for the plan, by name.
    """

    views: tuple[ServedView, ...]
    columns: tuple[ServedFeature, ...]
    key_types: Mapping[str, Any]
    is_computed: bool
    prepared: dict[str, Any] = field(default_factory=dict, compare=False)


def plan_of(store: FeatureStore, features: Sequence[str], service: str | None, full_names: bool) -> ServingPlan:  # noqa: FBT001  # of a tuple
    from feast.infra.online_stores.helpers import _mmh3
    from feast.utils import _get_online_request_context

    if bool(features) == bool(service):
        raise InvalidRequest("features, feature_service: exactly one of the two must be given")
    asked = store.get_feature_service(service, allow_cache=True) if service else list(features)
    # Which features are asked for, those computed on demand, names and types of keys, and the features by view.
    references, on_demand, _, types, _, grouped, *_ = _get_online_request_context(
        store.registry, store.project, asked, full_names
    )
    is_computed = bool(on_demand) or any("@" in reference for reference in references)
    views: list[ServedView] = []
    places: dict[str, tuple[int, int]] = {}
    key_types: dict[str, Any] = {}
    for at, (view, names) in enumerate(grouped):
        ordered = tuple(sorted(names))
        keys = {field.name: view.projection.join_key_map.get(field.name, field.name) for field in view.entity_columns}
        key_types |= {name: types.get(name, types.get(key)) for key, name in keys.items()}
        views.append(
            ServedView(
                view.name,
                keys,
                view.ttl // timedelta(microseconds=1) * 1_000 if view.ttl else None,
                ordered,
                (*(_mmh3(f"{view.name}:{name}") for name in ordered), f"_ts:{view.name}".encode()),
                OURS_TAG in view.tags,
            )
        )
        label = view.projection.name_to_use()
        places |= {f"{label}:{name}": (at, number) for number, name in enumerate(ordered)}
    named = [(each, each.replace(":", "__", 1) if full_names else each.partition(":")[2]) for each in references]
    # What is computed has no place.
    columns = tuple(ServedFeature(name, *places[reference]) for reference, name in named if reference in places)
    return ServingPlan(tuple(views), columns, key_types, is_computed)


def native_value(stored: bytes | None) -> Any:  # noqa: ANN401  # whatever a view holds
    """A stored value as Feast's server answers with it; None is null."""
    from feast.feature_server_utils import _value_to_native
    from feast.protos.feast.types.Value_pb2 import Value

    return None if stored is None else _value_to_native(Value.FromString(stored))
