"""The Feast objects made from the catalogue: one entity, one push source, a view a group, a service a registry version.

``feast apply`` registers what it finds under a module's own names, so every object stands here under one; the views of
other folders than the default come from ``definitions``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Float64

from feature_repo.registry_versions import SHIPPED_FOLDER, load_registry_version, registry_versions
from transforms.catalogue import GROUPS, group_fingerprint
from transforms.rows import FeatureSet

DEFAULT_FEATURES_FOLDER: Final = "data/features"
PUSH_SOURCE_NAME: Final = "market_features_push"
FRESH_FOR: Final = timedelta(minutes=1)
"""TTL of every view: a row comes each second, so an older one means that the symbol stopped."""

FeastObject = Entity | PushSource | FeatureView | FeatureService


def _file_source(group: str, features_folder: str) -> FileSource:
    return FileSource(
        name=f"{group}_log",
        path=f"{features_folder}/{group}/{group_fingerprint(group)}",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


def _view(group: str, features_folder: str, push_source: PushSource) -> FeatureView:
    view = FeatureView(
        name=group,
        entities=[symbol],
        ttl=FRESH_FOR,
        schema=[Field(name=declared.name, dtype=Float64, description=declared.summary) for declared in GROUPS[group]],
        source=push_source,
        online=True,
        tags={"fingerprint": group_fingerprint(group)},
    )
    # One push source feeds every view, and each view has a log of its own: Feast's constructor would give all of them
    # the push source's.
    view.batch_source = _file_source(group, features_folder)
    return view


def _push_source(features_folder: str) -> PushSource:
    return PushSource(name=PUSH_SOURCE_NAME, batch_source=_file_source("price", features_folder))


def _service(chosen: FeatureSet, views: dict[str, FeatureView]) -> FeatureService:
    return FeatureService(
        name=service_name(chosen.version),
        features=[views[group.name][list(group.columns)] for group in chosen.groups],
        tags={"feature_set": chosen.fingerprint},
    )


def service_name(version: str) -> str:
    """Name of the feature service of a registry version."""
    return f"features_v{version.replace('.', '_')}"


def definitions(*, features_folder: Path, versions_folder: Path = SHIPPED_FOLDER) -> list[FeastObject]:
    """Every Feast object, with the feature log in ``features_folder`` and a service for each version file."""
    push_source = _push_source(str(features_folder))
    views = {group: _view(group, str(features_folder), push_source) for group in GROUPS}
    services = [
        _service(load_registry_version(version, versions_folder).feature_set, views)
        for version in registry_versions(versions_folder)
    ]
    return [symbol, push_source, *views.values(), *services]


symbol = Entity(
    name="symbol", join_keys=["symbol"], value_type=ValueType.STRING, description="Instrument as the exchange names it"
)
market_features_push = _push_source(DEFAULT_FEATURES_FOLDER)
price = _view("price", DEFAULT_FEATURES_FOLDER, market_features_push)
orderbook = _view("orderbook", DEFAULT_FEATURES_FOLDER, market_features_push)
orderflow = _view("orderflow", DEFAULT_FEATURES_FOLDER, market_features_push)
perpetual = _view("perpetual", DEFAULT_FEATURES_FOLDER, market_features_push)
temporal = _view("temporal", DEFAULT_FEATURES_FOLDER, market_features_push)
technical = _view("technical", DEFAULT_FEATURES_FOLDER, market_features_push)
# The versions are files, so their services can have no names written here.
globals().update(
    {
        service_name(version): _service(
            load_registry_version(version).feature_set,
            {view.name: view for view in (price, orderbook, orderflow, perpetual, temporal, technical)},
        )
        for version in registry_versions()
    }
)
