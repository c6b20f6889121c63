"""Online features of third-party views: what Feast wrote to the online store, with its time or why it is missing.

Keys and fields of a view come from Feast's registry, which the first such retrieval reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_client.online import UNKNOWN_ENTITY, LookAheadError, OnlineFeature, age_of
from market.clock import MICROSECOND_NS, format_iso
from market.errors import FeastRefusal, InvalidRequest, NotFound
from storage.online.store import OnlineStore
from storage.online.table_row import stored_time_ns

if TYPE_CHECKING:
    from feature_repo.serving import FeatureServing
    from feature_repo.serving_plan import ServedView
    from feature_repo.store import FeatureStore

SYMBOL = "symbol"


class ForeignViews:
    """The views of a repository that are neither streamed nor of our tables; safe to share between threads."""

    def __init__(
        self, online: OnlineStore, open_store: Callable[[], FeatureStore], *, now_s: Callable[[], float]
    ) -> None:
        """open_store: the repository with its registry, opened by the first read. now_s: never goes back."""
        self._online = online
        self._open_store = open_store
        self._now_s = now_s
        self._opened: FeatureServing | None = None

    def features(
        self,
        entity_rows: Sequence[Mapping[str, Any]],
        references: Sequence[tuple[str, str]],
        *,
        as_of_ns: int | None,
        now_ns: int,
        fresh_for: Mapping[str, timedelta],
    ) -> list[dict[str, OnlineFeature]]:
        """What each entity row has of each view and name; one round trip. fresh_for: replaces a time to live.

        Raises InvalidRequest for a view or feature that the registry does not have, one that is computed on demand,
        or an entity row without a key; LookAheadError for a row from after ``as_of_ns``; StoreUnavailable.
        """
        from feature_repo.serving_plan import native_value

        asked = [f"{view}:{name}" for view, name in references]
        try:
            plan = self._serving.plan(asked, None, full_names=True)
        except (FeastRefusal, InvalidRequest) as error:
            raise InvalidRequest(
                f"feature_refs: must be features of the repository, was {', '.join(asked)}: {error}"
            ) from error
        if plan.is_computed:
            raise InvalidRequest(f"feature_refs: must be stored features, was one computed on demand: {asked}")
        found: list[dict[str, OnlineFeature]] = [{} for _ in entity_rows]
        fields: list[tuple[bytes, Sequence[bytes]]] = []
        for view in plan.views:
            entities = {name: [_key(row, name, view) for row in entity_rows] for name in view.keys.values()}
            fields += [(key, view.fields) for key in self._serving.entity_keys(plan, view, entities)]
        held = iter(self._online.fields(fields))
        for view in plan.views:
            for row in range(len(entity_rows)):
                *values, written = next(held)
                event_ns = None if written is None else stored_time_ns(written)
                if as_of_ns is not None and event_ns is not None and event_ns > as_of_ns:
                    names = ", ".join(f"{view.name}:{name}" for name in view.features)
                    raise LookAheadError(
                        f"{names} of {dict(entity_rows[row])}: must be known at as_of_timestamp "
                        f"{format_iso(as_of_ns)}, was of {format_iso(event_ns)}"
                    )
                age = None if event_ns is None else age_of(event_ns, now_ns)
                is_stale = age is not None and _is_older(age, view, fresh_for)
                for name, stored in zip(view.features, values, strict=True):
                    found[row][f"{view.name}:{name}"] = _feature(native_value(stored), age, is_stale=is_stale)
        return found

    def ages(
        self, view: str, symbols: Sequence[str], *, now_ns: int, fresh_for: Mapping[str, timedelta]
    ) -> dict[str, tuple[timedelta, bool]]:
        """Age of the view's newest row, and whether it is stale, by symbol that has one.

        Raises NotFound for a view that the registry does not have, InvalidRequest if its key is not a symbol.
        """
        try:
            keys, names = self._serving.described(view)
        except FeastRefusal as error:
            raise NotFound(f"feature view: must be one of the repository, was {view!r}") from error
        if keys != [SYMBOL]:
            raise InvalidRequest(f"{view}: must have the key {SYMBOL} for its freshness, was {keys}")
        name = names[0]
        rows = self.features(
            [{SYMBOL: symbol} for symbol in symbols],
            [(view, name)],
            as_of_ns=None,
            now_ns=now_ns,
            fresh_for=fresh_for,
        )
        features = zip(symbols, (row[f"{view}:{name}"] for row in rows), strict=True)
        return {
            symbol: (feature.age, feature.status == "STALE") for symbol, feature in features if feature.age is not None
        }

    @property
    def _serving(self) -> FeatureServing:
        from feature_repo.serving import FeatureServing

        if self._opened is None:
            self._opened = FeatureServing(self._open_store, now_s=self._now_s)
        return self._opened


def _key(row: Mapping[str, Any], name: str, view: ServedView) -> Any:  # noqa: ANN401  # as the view declares its key
    if name in row:
        return row[name]
    raise InvalidRequest(f"entity_rows: must have {name}, a key of {view.name}, was {dict(row)}")


def _is_older(age: timedelta, view: ServedView, fresh_for: Mapping[str, timedelta]) -> bool:
    if view.name in fresh_for:
        return age > fresh_for[view.name]
    return view.ttl_ns is not None and age > timedelta(microseconds=view.ttl_ns // MICROSECOND_NS)


def _feature(value: Any, age: timedelta | None, *, is_stale: bool) -> OnlineFeature:  # noqa: ANN401  # whatever a view holds
    if age is None:
        return OnlineFeature(None, UNKNOWN_ENTITY, "the entity has no row", None)
    if value is None:
        return OnlineFeature(None, "MISSING", "null in the newest row", age)
    return OnlineFeature(value, "STALE" if is_stale else "PRESENT", None, age)
