"""What Feast's feature server knows of a request: the views it asks for, their keys and fields in the online store.

A plan is made of Feast's registry and kept; the registry is read again every ``REFRESH_S``, by one request while the
others use what is known. A registry that does not answer leaves the plans that there are.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from feature_repo.serving_plan import OURS_TAG, ServedView, ServingPlan, plan_of
from market.errors import FeastRefusal, FeatureServiceError, InvalidRequest, StoreUnavailable

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore, FeatureView
    from feast.errors import FeastError

REFRESH_S: Final = 30.0
"""How long a change of the registry may stay unseen."""
MOST_PLANS: Final = 256
MAX_AHEAD_S: Final = 5.0
"""How far ahead of the clock a pushed row may be: one of 2099 would keep every true one out."""


def as_feast_spells(error: FeatureServiceError) -> str:
    """An error of ours as the JSON of Feast's."""
    return json.dumps({"module": "feast.errors", "class": "FeastError", "message": str(error)})


class FeatureServing:
    """Feast's side of the feature server, on a registry and the online store; safe to share between threads."""

    def __init__(
        self,
        open_store: Callable[[], FeatureStore],
        *,
        now_s: Callable[[], float],
        away: tuple[type[Exception], ...] = (),
        refused: tuple[type[Exception], ...] = (),
    ) -> None:
        """open_store: the store on the live registry, opened by the first request. now_s: never goes back.

        away: errors by which the registry's driver says that its server does not answer. refused: that it cannot hold
        a value.
        """
        self._open_store = open_store
        self._away = away
        self._refused = refused
        self._now_s = now_s
        self._store: FeatureStore | None = None
        self._plans: dict[tuple[tuple[str, ...], str | None, bool], ServingPlan] = {}
        self._lock = threading.RLock()
        self._read_s = 0.0

    def close(self) -> None:
        """Close what is open."""
        from feature_repo.store import closing_registry

        if self._store is not None:
            with closing_registry(self._store):
                self._store = None

    def plan(self, features: Sequence[str], service: str | None, *, full_names: bool) -> ServingPlan:
        """The plan of these features or of this service. Raises FeastRefusal, InvalidRequest, StoreUnavailable."""
        asked = (tuple(features), service, full_names)
        known = self._plans.get(asked)
        if known is not None and self._now_s() - self._read_s < REFRESH_S:
            return known
        if not self._lock.acquire(blocking=known is None):
            assert known is not None
            return known  # another request reads the registry
        try:
            return self._planned(asked, known)
        finally:
            self._lock.release()

    def described(self, view: str) -> tuple[list[str], list[str]]:
        """Join keys and features of a view. Raises FeastRefusal for one that does not exist, StoreUnavailable."""
        store = self._opened()
        with self._feast_errors():
            found = store.get_feature_view(view)
        return list(found.join_keys), [field.name for field in found.features]

    def listing(self, kind: str, project: str | None, name: str | None = None) -> dict[str, Any]:
        """What the registry holds of a kind, or of that the one of a name, as ``feature_repo.registry_listing``.

        project: None is this one. Raises NotFound, StoreUnavailable.
        """
        from feature_repo.registry_listing import listed, listing

        store = self._opened()
        with self._feast_errors():
            self._refresh(store)
            asked = store.project if project is None else project
            return listing(store, kind, asked) if name is None else listed(store, kind, asked, name)

    def computed(
        self, features: Sequence[str], service: str | None, entities: Mapping[str, list[Any]], *, full_names: bool
    ) -> dict[str, Any]:
        """Feast's own answer, as its server gives it."""
        from feast.feature_server_utils import convert_response_to_dict

        store = self._opened()
        with self._feast_errors():
            asked = store.get_feature_service(service, allow_cache=True) if service else list(features)
            found = store.get_online_features(asked, entities, full_feature_names=full_names)
            return convert_response_to_dict(found.proto)

    def entity_keys(self, plan: ServingPlan, view: ServedView, entities: Mapping[str, Sequence[Any]]) -> list[bytes]:
        """The key of each entity row's hash, as Feast's Redis store names it. Raises InvalidRequest."""
        from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
        from feast.infra.online_stores.helpers import _redis_key
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.type_map import python_values_to_proto_values

        project = self._opened().project
        rows = max(map(len, entities.values()), default=0)
        columns = []
        for join_key, name in view.keys.items():
            values = [DUMMY_ENTITY_VAL] * rows if join_key == DUMMY_ENTITY_ID else list(entities[name])
            try:
                columns.append(python_values_to_proto_values(values, plan.key_types[name]))
            except Exception as error:  # whatever conversion meets in a caller's values
                raise InvalidRequest(f"entities.{name}: must be {plan.key_types[name].name}, {error}") from error
        return [
            _redis_key(project, EntityKey(join_keys=list(view.keys), entity_values=list(row)))
            for row in zip(*columns, strict=True)
        ]

    def push(self, source: str, rows: Mapping[str, list[Any]], to: str, *, now: datetime) -> None:
        """Write rows to the views behind a push source. Raises FeastRefusal, InvalidRequest, StoreUnavailable."""
        from feast.data_source import PushMode

        modes = {mode.name.lower(): mode for mode in PushMode}
        if to not in modes:
            raise InvalidRequest(f"to: must be one of {', '.join(modes)}, was {to!r}")
        store = self._opened()
        with self._feast_errors():
            views = [view for view in store.list_feature_views() if _hears(view, source)]
            _refuse_ours(views)
            store.push(source, _checked_rows(views, rows, now), allow_registry_cache=True, to=modes[to])

    def write(self, view: str, rows: Mapping[str, list[Any]], *, now: datetime) -> None:
        """Write rows of one view to the online store. Raises as ``push``."""
        store = self._opened()
        with self._feast_errors():
            found = store.get_feature_view(view)
            _refuse_ours([found])
            store.write_to_online_store(view, _checked_rows([found], rows, now))

    def materialize(self, views: Sequence[str] | None, start: datetime | None, end: datetime) -> list[str]:
        """Materialize views without a push source up to ``end``, from ``start`` or where each ended; returns which.

        views: None is every view that is not ours. Raises as ``push``.
        """
        from feature_repo.materializing import silence_feast

        store = self._opened()
        silence_feast()
        with self._feast_errors():
            if views is None:
                held = [view for view in store.list_feature_views() if view.online and OURS_TAG not in view.tags]
            else:
                held = [store.get_feature_view(name) for name in views]
                _refuse_ours(held)
            names = [view.name for view in held]
            if names and start is not None:
                store.materialize(start, end, feature_views=names)
            elif names:
                store.materialize_incremental(end, feature_views=names)
        return names

    @contextmanager
    def _feast_errors(self) -> Iterator[None]:
        """Feast's errors and those of its dependencies, as ours."""
        from feast.errors import FeastError

        try:
            yield
        except FeatureServiceError:
            raise
        except FeastError as error:
            raise _refusal(error) from error
        except self._away as error:
            raise StoreUnavailable(f"Feast's registry does not respond: {error}") from error
        except self._refused as error:
            raise InvalidRequest(
                f"request: must be of values PostgreSQL can hold, {str(error).splitlines()[0]}"
            ) from error
        except (ValueError, KeyError, TypeError) as error:  # Feast's words for a request that does not fit
            raise InvalidRequest(f"request: must be one that Feast accepts, was {error}") from error

    def _opened(self) -> FeatureStore:
        with self._lock:
            if self._store is None:
                with self._feast_errors():
                    self._store = self._open_store()
            return self._store

    def _planned(self, asked: tuple[tuple[str, ...], str | None, bool], known: ServingPlan | None) -> ServingPlan:
        if (found := self._plans.get(asked)) is not None and self._now_s() - self._read_s < REFRESH_S:
            return found  # read while this request waited
        try:
            store = self._opened()
            with self._feast_errors():
                self._refresh(store)
                plan = plan_of(store, *asked)
        except StoreUnavailable:
            if known is None:
                raise
            return known
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        self._plans[asked] = plan
        return plan

    def _refresh(self, store: FeatureStore) -> None:
        """Read the registry again where that is due."""
        with self._lock:
            if self._now_s() - self._read_s >= REFRESH_S or self._read_s == 0.0:
                store.refresh_registry()  # type: ignore[no-untyped-call]  # untyped in Feast
                self._plans.clear()
                self._read_s = self._now_s()


def _hears(view: FeatureView, source: str) -> bool:
    return view.stream_source is not None and view.stream_source.name == source


def _refuse_ours(views: Sequence[FeatureView]) -> None:
    ours = [view.name for view in views if OURS_TAG in view.tags]
    if ours:
        raise InvalidRequest(f"{', '.join(ours)}: only ingest may write them, was a write over HTTP")


def _checked_rows(views: Sequence[FeatureView], rows: Mapping[str, list[Any]], now: datetime) -> pd.DataFrame:
    """The rows as a frame with times. Raises InvalidRequest for one that lacks a column or is of the future."""
    import pandas as pd

    from feature_repo.as_of_join import utc_times

    lengths = {len(column) for column in rows.values()}
    if len(lengths) != 1:
        raise InvalidRequest(f"df: must be columns of one length, was {sorted(lengths)}")
    frame = pd.DataFrame(rows)
    latest = now + timedelta(seconds=MAX_AHEAD_S)
    for view in views:
        source = view.batch_source
        assert source is not None, "Feast registers no view without one"
        needed = [*view.join_keys, *(field.name for field in view.features), source.timestamp_field]
        if missing := [name for name in needed if name not in frame.columns]:
            raise InvalidRequest(f"df: must have the columns of {view.name}, was without {', '.join(missing)}")
        for name in filter(None, (source.timestamp_field, source.created_timestamp_column)):
            if name in frame.columns and not frame[name].isna().all():
                frame[name] = utc_times(frame[name], f"df.{name}")
        if (newest := frame[source.timestamp_field].max()) > latest:
            raise InvalidRequest(f"df.{source.timestamp_field}: must not be in the future, was {newest.isoformat()}")
    return frame


def _refusal(error: FeastError) -> FeastRefusal:
    # Not Feast's own status, which is 500 of most: its clients ask again then, and it is the request that does not fit.
    is_missing = "NotFound" in type(error).__name__
    return FeastRefusal(error.to_error_detail(), status=HTTPStatus.NOT_FOUND if is_missing else HTTPStatus.BAD_REQUEST)
