"""The Feast objects made from the catalogue: one entity, one push source, a view a group, a service a registry version.

``feast apply`` registers what it finds under a module's own names, so every object has one here; the views of
other folders than the default come from ``definitions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Final

from feast import Entity, FeatureService, FeatureView, Field, FileSource, OnDemandFeatureView, PushSource, ValueType
from feast.protos.feast.core.FeatureView_pb2 import FeatureView as FeatureViewProto
from feast.types import Float64, Int64

from feature_repo.asked_view import AVAILABILITY, CREATED_TAG
from feature_repo.freshness import TIME_TO_LIVE, slo_of, time_to_live
from feature_repo.materializing import EVERY_TAG
from feature_repo.offline_store import LATENESS_TAG
from feature_repo.parquet_pruning import PERIOD, PERIOD_TAG
from feature_repo.registry_versions import LATEST, SHIPPED_FOLDER, load_registry_version, service_name, sound_versions
from transforms.catalogue import GROUPS, OUR_GROUPS, group_fingerprint
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.rows import FeatureSet
from transforms.table_feature import KNOWN_AT

DEFAULT_FEATURES_FOLDER: Final = "data/features"
PUSH_SOURCE_NAME: Final = "market_features_push"
_KNOWN_WHEN_CREATED: Final = {CREATED_TAG: AVAILABILITY}

FeastObject = Entity | FeatureView | OnDemandFeatureView | FeatureService


def _file_source(view: str, fingerprint: str, features_folder: str) -> FileSource:
    return FileSource(
        name=f"{view}_log",
        path=f"{features_folder}/{view}/{fingerprint}",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        tags={PERIOD_TAG: PERIOD},
    )


class MarketPushSource(PushSource):
    """The push source of all views, whatever log is behind it: to Feast's registry those of one name are one."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PushSource) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


@lru_cache(maxsize=1)
def _heard_by_all() -> MarketPushSource:
    """The one object that every view names: ``feast plan`` takes two of one name for two sources."""
    return MarketPushSource(name=PUSH_SOURCE_NAME, batch_source=_file_source("price", "every view has its own", ""))


class MarketView(FeatureView):
    """A view that hears the push source of all and reads its own log.

    Feast has one log a push source, and takes a view's log from there whenever it copies the view, reads it from the
    registry or writes over a registered one; so what is copied or registered has a push source of that name with the
    view's own log.
    """

    def ensure_valid(self) -> None:
        """As Feast, which asks this of a view when it registers it, and has collected the push sources by then."""
        super().ensure_valid()  # type: ignore[no-untyped-call]  # untyped in Feast
        self.stream_source = MarketPushSource(name=PUSH_SOURCE_NAME, batch_source=self.batch_source)

    def __copy__(self) -> FeatureView:
        copied: FeatureView = super().__copy__()  # type: ignore[no-untyped-call]  # untyped in Feast
        copied.batch_source = self.batch_source
        copied.stream_source = MarketPushSource(name=PUSH_SOURCE_NAME, batch_source=self.batch_source)
        return copied

    def to_proto(self) -> FeatureViewProto:
        proto = super().to_proto()
        proto.spec.stream_source.batch_source.CopyFrom(proto.spec.batch_source)
        return proto


def _view(name: str, fingerprint: str, fields: Mapping[str, str], features_folder: str) -> FeatureView:
    """A view on one folder of the feature log; ``fields`` gives each feature's description."""
    view = MarketView(
        name=name,
        entities=[symbol],
        ttl=TIME_TO_LIVE,
        schema=[Field(name=field, dtype=Float64, description=text) for field, text in fields.items()],
        source=_file_source(name, fingerprint, features_folder),
        online=True,
        tags={"fingerprint": fingerprint, **_KNOWN_WHEN_CREATED, **slo_of(name).tags()},
    )
    view.stream_source = _heard_by_all()
    return view


def _group_view(group: str, features_folder: str) -> FeatureView:
    """The view of a catalogue group, with every feature of the group."""
    fields = {declared.name: declared.summary for declared in GROUPS[group]}
    return _view(group, group_fingerprint(group), fields, features_folder)


def _table_view(name: str, features_folder: str) -> FeatureView:
    """The view of a group of table features: it is not pushed but materialized as often as its objective requires."""
    group, slo, ttl = TABLE_GROUPS[name], slo_of(name), time_to_live(name)
    source = _file_source(name, group.fingerprint, features_folder)
    # A bar is dated by the beginning of its day and known after the end, when materialization has gone past the former.
    source.tags = {LATENESS_TAG: f"{ttl.total_seconds():g}"}
    known_at = "From when on the row could be known, in microseconds since 1970 UTC"
    return FeatureView(
        name=name,
        entities=[] if group.is_for_all else [symbol],
        ttl=ttl,
        schema=[
            *(Field(name=each.name, dtype=Float64, description=each.summary) for each in group.columns),
            Field(name=KNOWN_AT, dtype=Int64, description=known_at),
        ],
        source=source,
        online=True,
        # Not "fingerprint", by which a source of ticks knows its views.
        tags={
            "tables": ",".join(group.tables),
            "table_fingerprint": group.fingerprint,
            **_KNOWN_WHEN_CREATED,
            EVERY_TAG: f"{slo.freshness.total_seconds():g}",
            **slo.tags(),
        },
    )


def _normalised_view(chosen: FeatureSet, features_folder: str) -> FeatureView:
    """The view of a version's normalised columns, which are its own."""
    group = chosen.groups[-1]
    fields = {column.name: f"{column.method} of {column.feature}" for column in chosen.normalisations}
    return _view(group.name, group.fingerprint, fields, features_folder)


def _version_objects(
    chosen: FeatureSet, group_views: Mapping[str, FeatureView], features_folder: str
) -> list[FeatureView | FeatureService]:
    """The service of a version, and the view of its normalised columns where it has any."""
    views = dict(group_views)
    own: list[FeatureView | FeatureService] = []
    if chosen.normalisations:
        view = _normalised_view(chosen, features_folder)
        views[view.name] = view
        own.append(view)
    service = FeatureService(
        name=service_name(chosen.version),
        features=[views[group.name][list(group.columns)] for group in chosen.groups],
        tags={"feature_set": chosen.fingerprint},
    )
    return [*own, service]


def definitions(*, features_folder: PurePath, versions_folder: Path = SHIPPED_FOLDER) -> list[FeastObject]:
    """Every Feast object, with the feature log in ``features_folder`` and a service a sound version."""
    folder = str(features_folder)
    views = {group: _group_view(group, folder) for group in GROUPS}
    of_versions = [
        item
        for version in (*sound_versions(versions_folder), load_registry_version(LATEST))
        for item in _version_objects(version.feature_set, views, folder)
    ]
    return [symbol, *views.values(), *(_table_view(group, folder) for group in TABLE_GROUPS), *of_versions]


symbol = Entity(
    name="symbol", join_keys=["symbol"], value_type=ValueType.STRING, description="Instrument as the exchange names it"
)
price = _group_view("price", DEFAULT_FEATURES_FOLDER)
orderbook = _group_view("orderbook", DEFAULT_FEATURES_FOLDER)
orderflow = _group_view("orderflow", DEFAULT_FEATURES_FOLDER)
perpetual = _group_view("perpetual", DEFAULT_FEATURES_FOLDER)
temporal = _group_view("temporal", DEFAULT_FEATURES_FOLDER)
technical = _group_view("technical", DEFAULT_FEATURES_FOLDER)
candles = _group_view("candles", DEFAULT_FEATURES_FOLDER)
position = _group_view("position", DEFAULT_FEATURES_FOLDER)
bars_5m = _group_view("bars_5m", DEFAULT_FEATURES_FOLDER)
bars_15m = _group_view("bars_15m", DEFAULT_FEATURES_FOLDER)
bars_1h = _group_view("bars_1h", DEFAULT_FEATURES_FOLDER)
price_volume_features = _table_view("price_volume_features", DEFAULT_FEATURES_FOLDER)
momentum_features = _table_view("momentum_features", DEFAULT_FEATURES_FOLDER)
liquidity_features = _table_view("liquidity_features", DEFAULT_FEATURES_FOLDER)
fundamental_features = _table_view("fundamental_features", DEFAULT_FEATURES_FOLDER)
sentiment_features = _table_view("sentiment_features", DEFAULT_FEATURES_FOLDER)
macro_features = _table_view("macro_features", DEFAULT_FEATURES_FOLDER)
# Groups of other packages.
globals().update({name: _group_view(name, DEFAULT_FEATURES_FOLDER) for name in GROUPS if name not in OUR_GROUPS})
globals().update({name: _table_view(name, DEFAULT_FEATURES_FOLDER) for name in TABLE_GROUPS if name not in globals()})
# The versions are files, so what is made of them can have no names written here.
globals().update(
    {
        item.name: item
        for version in (*sound_versions(), load_registry_version(LATEST))
        for item in _version_objects(
            version.feature_set,
            {name: globals()[name] for name in GROUPS},
            DEFAULT_FEATURES_FOLDER,
        )
    }
)
