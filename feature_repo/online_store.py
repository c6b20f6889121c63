"""A Feast online store on Redis for any views: rows are stored whole, the newest wins, expired ones are not returned.

Keys and fields are those of Feast's own Redis store, so each can read what the other wrote. It uses only the errors
and the clock of this project.
"""

from __future__ import annotations

from feature_repo.feast_version import refuse_pandas  # it warns before the imports that may fail

# isort: split
import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, _versioned_fv_name
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.utils import (
    _get_entity_key_protos,
    _get_unique_entities,
    _populate_response_from_feature_data,
    make_tzaware,
)
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # protobuf ships no types
from pydantic import NonNegativeFloat

from feature_repo.newest_wins import run
from market.clock import Clock, SystemClock, to_datetime
from market.errors import InvalidRequest

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore
    from feast.infra.passthrough_provider import PassthroughProvider

refuse_pandas(version("pandas"))

WrittenRow: TypeAlias = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""Keys, values by feature, event time and creation time, as Feast hands rows to a store."""
ReadRow: TypeAlias = tuple[datetime | None, dict[str, Value] | None]
_Name: TypeAlias = Literal["feature_repo.online_store.AtomicRedisOnlineStore"]


class AtomicRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    type: _Name = "feature_repo.online_store.AtomicRedisOnlineStore"  # type: ignore[assignment]  # Feast's is "redis"
    skip_dedup: Literal[False] = False
    """There is nothing to save: rows are compared in Redis, in the round trip that writes them."""
    max_ahead_s: NonNegativeFloat = 5
    """How far after the machine's clock a row's event time may be: one of 2099 would keep every true one out."""


class AtomicRedisOnlineStore(RedisOnlineStore):
    """Feast's Redis store, with these differences.

    A row is compared with what is stored and written in one step, regardless of other writers: the greater (event time,
    creation time) wins, among equal pairs the last write, as in the offline store. All views that a read requests of
    an entity are read at once, so that they come from one ``write_views``. A row older than its view's ``ttl`` is not
    returned: its status is OUTSIDE_MAX_AGE; a null in a row is NULL_VALUE.
    """

    clock: Clock = SystemClock()

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WrittenRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Store each row unless a newer one exists; one round trip.

        Raises InvalidRequest, and writes nothing, if a row is more than ``max_ahead_s`` ahead of the clock.
        """
        self.write_together(config, [(table, data)])
        if progress is not None:
            progress(len(data))

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WrittenRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def write_together(self, config: RepoConfig, rows: Sequence[tuple[FeatureView, Sequence[WrittenRow]]]) -> int:
        """Store rows of several views, those of one entity key in one step; returns how many rows were stored.

        An entity's rows are stored in the given order, the n-th of each view with the n-th of the others.
        Raises InvalidRequest as ``online_write_batch``.
        """
        settings = cast("AtomicRedisOnlineStoreConfig", config.online_store)
        self._refuse_future(rows, settings.max_ahead_s)
        calls: dict[tuple[bytes, int], list[bytes | str]] = {}
        for view, of_view in rows:
            seen: dict[bytes, int] = {}
            name = _versioned_fv_name(view, config)
            for row in of_view:
                key = _redis_key(config.project, row[0], config.entity_key_serialization_version)
                number = seen[key] = seen.get(key, -1) + 1
                calls.setdefault((key, number), []).extend(_arguments(name, row))
        kept = "" if settings.key_ttl_seconds is None else str(settings.key_ttl_seconds)
        return sum(run(self._get_client(settings), [(key, kept, *arguments) for (key, _), arguments in calls.items()]))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """The newest row of each key, (None, None) if there is none or it is older than the view's ``ttl``."""
        names = list(requested_features or (field.name for field in table.features))
        found = self._rows(config, [(table, names, entity_keys)])
        return [(None, None) if self._is_old(table, at) else (at, values) for at, values in found[0]]

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        return await asyncio.to_thread(self.online_read, config, table, entity_keys, requested_features)

    def _read_features_per_fv(  # noqa: PLR0913, PLR0917  # Feast's interface
        self,
        config: RepoConfig,
        grouped_refs: Sequence[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,  # noqa: FBT001  # Feast's interface
        include_feature_view_version_metadata: bool,  # noqa: FBT001  # Feast's interface
    ) -> None:
        asked, places = [], []
        for view, names in grouped_refs:
            entities, indexes, rows = _get_unique_entities(view, join_key_values, entity_name_to_join_key_map)
            asked.append((view, list(names), _get_entity_key_protos(entities)))
            places.append((indexes, rows))
        for (view, names, _), (indexes, rows), found in zip(asked, places, self._rows(config, asked), strict=True):
            _populate_response_from_feature_data(
                names,
                found,
                indexes,
                online_features_response,
                full_feature_names,
                view,
                rows,
                include_feature_view_version_metadata,
            )
            old = {
                at
                for (time, _), of_row in zip(found, indexes, strict=True)
                if self._is_old(view, time)
                for at in of_row
            }
            for vector in online_features_response.results[-len(names) :]:
                _tell_truly(vector, old)

    async def _read_features_per_fv_async(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # as above
        await asyncio.to_thread(self._read_features_per_fv, *arguments, **options)

    def _rows(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, list[str], list[EntityKey]]]
    ) -> list[list[ReadRow]]:
        """Of each view the row of each key, however old; all fields of a key are read at once, in one round trip."""
        fields: dict[bytes, dict[bytes, int]] = {}
        keys = []
        for view, names, entities in asked:
            name = _versioned_fv_name(view, config)
            wanted = [*(_mmh3(f"{name}:{each}") for each in names), f"_ts:{name}".encode()]
            of_view = self._generate_redis_keys_for_entities(config, entities)
            keys.append((of_view, wanted))
            for key in of_view:
                of_key = fields.setdefault(key, {})
                for field in wanted:
                    of_key.setdefault(field, len(of_key))
        answers = self._answers(config, [(key, list(of_key)) for key, of_key in fields.items()])
        held = dict(zip(fields, answers, strict=True))
        return [
            [_row(names, [held[key][fields[key][field]] for field in wanted]) for key in of_view]
            for (_, names, _), (of_view, wanted) in zip(asked, keys, strict=True)
        ]

    def _answers(
        self, config: RepoConfig, asked: Sequence[tuple[bytes, Sequence[bytes]]]
    ) -> Sequence[Sequence[bytes | None]]:
        """Of each key its fields, in one round trip."""
        # From Feast 0.67 on, which may be configured with another client for it.
        if (read := getattr(self, "_read_hash_fields", None)) is not None:
            return cast("Sequence[Sequence[bytes | None]]", read(config, asked))
        with self._get_client(config.online_store).pipeline(transaction=False) as pipeline:
            for key, names in asked:
                pipeline.hmget(key, names)
            return cast("Sequence[Sequence[bytes | None]]", pipeline.execute())

    def _is_old(self, view: FeatureView, time: datetime | None) -> bool:
        if time is None or not view.ttl:
            return False
        return to_datetime(self.clock.now_ns()) - time > view.ttl

    def _refuse_future(self, rows: Sequence[tuple[FeatureView, Sequence[WrittenRow]]], max_ahead_s: float) -> None:
        latest = to_datetime(self.clock.now_ns()) + timedelta(seconds=max_ahead_s)
        for view, of_view in rows:
            newest = max((make_tzaware(time) for _, _, time, _ in of_view), default=None)
            if newest is not None and newest > latest:
                raise InvalidRequest(
                    f"{view.name}: event times must be at most {max_ahead_s:g} s ahead of the clock, "
                    f"was {newest.astimezone(UTC).isoformat()}; online_store.max_ahead_s allows more"
                )


def write_views(store: FeatureStore, frames: Mapping[str, pd.DataFrame]) -> int:
    """Write frames of several views so that a reader of an entity sees all of their rows or none.

    frames: by view, as ``FeatureStore.write_to_online_store`` takes one. Returns how many rows were newer than those
    stored. Raises InvalidRequest if the repository has another online store, or a row is in the future.
    """
    provider = cast("PassthroughProvider", store._get_provider())  # noqa: SLF001  # it is named nowhere else
    online = provider.online_store
    if not isinstance(online, AtomicRedisOnlineStore):
        raise InvalidRequest(f"online_store: must be AtomicRedisOnlineStore, was {type(online).__name__}")
    rows = []
    for name, frame in frames.items():
        view = store.get_feature_view(name)
        mapping = view.batch_source.field_mapping if view.batch_source is not None else None
        rows.append((view, provider._prep_rows_to_write_for_ingestion(view, frame, mapping)))  # noqa: SLF001  # as writes of Feast do
    return online.write_together(store.config, rows)


def _arguments(view: str, row: WrittenRow) -> list[bytes | str]:
    _, values, time, created = row
    fields: list[bytes | str] = []
    for name, value in values.items():
        fields += (_mmh3(f"{view}:{name}"), value.SerializeToString())
    return [
        f"_ts:{view}",
        _timestamp(time),
        f"_created:{view}",
        "" if created is None else _timestamp(created),
        str(len(fields)),
        *fields,
    ]


def _timestamp(time: datetime) -> bytes:
    written = Timestamp()
    written.FromDatetime(make_tzaware(time))
    return cast("bytes", written.SerializeToString())


def _row(names: Sequence[str], stored: Sequence[Any]) -> ReadRow:
    time = stored[-1]
    if time is None:
        return None, None
    moment = Timestamp.FromString(time).ToDatetime(tzinfo=UTC)
    return moment, {name: Value.FromString(value or b"") for name, value in zip(names, stored, strict=False)}


def _tell_truly(vector: GetOnlineFeaturesResponse.FeatureVector, old: set[int]) -> None:
    """Statuses of a column as they are; values of rows that are too old are taken out."""
    for at, status in enumerate(vector.statuses):
        if at in old:
            vector.values[at].Clear()
            vector.statuses[at] = FieldStatus.OUTSIDE_MAX_AGE
        elif status == FieldStatus.PRESENT and vector.values[at].WhichOneof("val") is None:
            vector.statuses[at] = FieldStatus.NULL_VALUE
