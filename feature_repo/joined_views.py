"""Views that are joined to samples of symbols: what they are, what was known of them, and their past alone.

What was known is asked of Feast, as any reader asks; a row counts from its event time and its creation on, whatever the
repository says. The past alone is read from the files and searched row by row: it shares nothing with the join, so that
the one can be held against the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
from feast import FeatureStore, FeatureView, OnDemandFeatureView
from feast.base_feature_view import BaseFeatureView
from feast.types import from_feast_to_pyarrow_type

from feature_repo.as_of_join import NULL_NS
from feature_repo.asked_view import AskedView, address_of, source_of
from feature_repo.entity_rows import EVENT_TIMESTAMP
from feature_repo.parquet_source import ParquetSource
from feature_repo.serving_plan import OURS_TAG
from feature_repo.source_rows import SourceRows
from market.clock import MICROSECOND_NS, SECOND_NS, to_datetime
from market.errors import InvalidRequest

SYMBOL: Final = "symbol"

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Joined:
    """A view and those of its features that are asked for."""

    view: FeatureView
    asked: AskedView

    @property
    def columns(self) -> list[str]:
        return list(self.asked.features)


class JoinedViews:
    """Features of registered views with the symbol for a key, or with none.

    keys: the values of other keys, one for all samples, or texts of them.

    Raises InvalidRequest naming the reference that cannot be joined.
    """

    def __init__(self, store: FeatureStore, references: Sequence[str], keys: Mapping[str, str | int]) -> None:
        self._store = store
        known = {view.name: view for view in store.list_all_feature_views()}
        wanted: dict[str, list[str]] = {}
        for reference in references:
            view, _, name = reference.partition(":")
            wanted.setdefault(view, []).append(name)
        self._views = [_joined(known, name, features) for name, features in wanted.items()]
        lacking = {
            key: joined.view.name for joined in self._views for key in joined.asked.keys if key not in {SYMBOL, *keys}
        }
        if lacking:
            told = ", ".join(f"{key} of {view}" for key, view in lacking.items())
            raise InvalidRequest(f"feature_keys: must have every key of the views but {SYMBOL}, was without {told}")
        if unused := keys.keys() - {key for joined in self._views for key in joined.asked.keys}:
            raise InvalidRequest(f"feature_keys: must be keys of the views, was {', '.join(sorted(unused))}")
        self._keys = {key: _key(self._views, key, value) for key, value in keys.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """``view__name``, view after view in the order in which each was named first."""
        return tuple(column for joined in self._views for column in joined.columns)

    @property
    def references(self) -> tuple[str, ...]:
        """``view:name`` of each column."""
        return tuple(column.replace("__", ":", 1) for column in self.columns)

    @property
    def undated(self) -> list[str]:
        """The views whose rows do not state when they could be read, so that this cannot be proven."""
        return [joined.view.name for joined in self._views if joined.asked.created is None]

    def values(self, symbols: Sequence[str], at_ns: Int64s) -> Float64s:
        """What was known of each symbol at its time, (n,) each: float64 (n, columns), NaN where nothing was.

        Raises InvalidRequest, NotFound, CorruptStore of the sources.
        """
        if len(at_ns) == 0:
            return np.empty((0, len(self.columns)))
        entities = pd.DataFrame({SYMBOL: np.array(symbols, object), EVENT_TIMESTAMP: pd.to_datetime(at_ns, utc=True)})
        for key, value in self._keys.items():
            entities[key] = value
        job = self._store.get_historical_features(
            entity_df=entities,
            features=list(self.references),
            full_feature_names=True,
            filter_by_created_timestamp=True,
        )
        found = job.to_arrow()
        return np.stack([_numbers(found[name], name) for name in self.columns], axis=1)

    def values_of_past(self, symbols: Sequence[str], at_ns: Int64s) -> Float64s:
        """As ``values``, each of the rows alone that had happened and been created by then."""
        return np.concatenate([self._of_past(joined, symbols, at_ns) for joined in self._views], axis=1)

    def document(self) -> list[dict[str, Any]]:
        """What the views are, as JSON; another after every change of their definitions."""
        return [
            {
                "name": joined.view.name,
                "keys": list(joined.asked.keys),
                "ttl_seconds": None if joined.asked.ttl_ns is None else joined.asked.ttl_ns / SECOND_NS,
                "source": address_of(joined.asked.source),
                "event_timestamp": joined.asked.timestamp,
                "created_timestamp": joined.asked.created,
                "definition": hashlib.sha256(
                    joined.view.to_proto().spec.SerializeToString(deterministic=True)
                ).hexdigest(),
            }
            for joined in self._views
        ]

    def files(self) -> Iterator[tuple[pafs.FileSystem, str]]:
        """Every file of the sources. Raises NotFound, CorruptStore."""
        for joined in self._views:
            source = ParquetSource.open(self._store.config.repo_path, joined.asked.source, {})
            yield from ((source.filesystem, fragment.path) for fragment in source.fragments)

    def _of_past(self, joined: _Joined, symbols: Sequence[str], at_ns: Int64s) -> Float64s:
        asked = joined.asked
        raws = list(asked.features.values())
        pulled = SourceRows(asked.source, list(asked.keys.values()), raws, asked.timestamp, asked.created)
        # A datetime has no nanoseconds: the rows of the span, and of a microsecond around it.
        until = to_datetime(int(at_ns.max()) + MICROSECOND_NS)
        since = None if asked.ttl_ns is None else to_datetime(int(at_ns.min()) - asked.ttl_ns)
        rows, event_ns, created_ns = pulled.read(self._store.config.repo_path, since, until)
        known_ns = event_ns if created_ns is None else np.where(created_ns == NULL_NS, event_ns, created_ns)
        columns = np.stack([_numbers(rows[raw], name) for name, raw in asked.features.items()], axis=1)
        found = np.full((len(at_ns), len(raws)), np.nan)
        of_symbol = np.array(symbols, object)
        for symbol in dict.fromkeys(symbols):
            own = np.flatnonzero(_has(rows, asked, {**self._keys, SYMBOL: symbol}) & (event_ns != NULL_NS))
            own_event_ns, own_known_ns = event_ns[own], known_ns[own]
            for at in np.flatnonzero(of_symbol == symbol).tolist():
                time_ns = int(at_ns[at])
                is_past = (own_event_ns <= time_ns) & (own_known_ns <= time_ns)
                if asked.ttl_ns is not None:
                    is_past &= own_event_ns >= time_ns - asked.ttl_ns
                past = own[is_past]
                if len(past) > 0:
                    found[at] = columns[max(past.tolist(), key=lambda row: (event_ns[row], known_ns[row], row))]
        return found


def _joined(known: Mapping[str, BaseFeatureView], name: str, features: Sequence[str]) -> _Joined:
    view = known.get(name)
    if view is None:
        raise InvalidRequest(f"features: must be of views of the repository, {', '.join(sorted(known))}, was {name}")
    if isinstance(view, OnDemandFeatureView) or not isinstance(view, FeatureView):
        raise InvalidRequest(f"features: must be stored, was of {name}, which is computed on demand")
    if OURS_TAG in view.tags:
        raise InvalidRequest(f"features: must be of the registry version where they are of {name}, was of another")
    types = {field.name: from_feast_to_pyarrow_type(field.dtype) for field in view.features}
    for feature in features:
        if feature not in types:
            raise InvalidRequest(f"features: {name} must have the feature, was {feature}; it has {', '.join(types)}")
        if not _is_number(types[feature]):
            raise InvalidRequest(f"features: must be numbers, was {name}:{feature} of {types[feature]}")
    source_of(view)
    return _Joined(view, AskedView.of(view, features, full_feature_names=True))


def _key(views: Sequence[_Joined], name: str, value: str | int) -> str | int:
    """The value as the views declare their key. Raises InvalidRequest if it is not of its type."""
    for joined in views:
        for field in joined.view.entity_columns:
            if joined.view.projection.join_key_map.get(field.name, field.name) == name:
                try:
                    found: str | int = pa.scalar(value).cast(from_feast_to_pyarrow_type(field.dtype)).as_py()
                except pa.ArrowException as error:
                    raise InvalidRequest(
                        f"feature_keys.{name}: must be of {field.dtype}, the key of {joined.view.name}, was {value!r}"
                    ) from error
                value = found
    return value


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _numbers(column: pa.ChunkedArray[Any], name: str) -> Float64s:
    """As float64, null as NaN. Raises InvalidRequest for what is no number, or an integer that float64 has not."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    try:
        numbers = column.cast(pa.float64())
    except pa.ArrowException as error:
        raise InvalidRequest(f"{name}: must be numbers that float64 holds, was {column.type}, {error}") from error
    return np.array(numbers.to_numpy(), np.float64)


def _has(rows: pa.Table, asked: AskedView, keys: Mapping[str, str | int]) -> npt.NDArray[np.bool_]:
    """Which rows have the keys, bool (n,)."""
    is_own = np.ones(rows.num_rows, np.bool_)
    for key, raw in asked.keys.items():
        column = rows[raw]
        try:
            value = pa.scalar(keys[key]).cast(column.type)
        except pa.ArrowException as error:
            raise InvalidRequest(f"{key}: must fit {asked.name}.{raw}, {column.type}, was {keys[key]!r}") from error
        is_own &= pc.equal(column, value).fill_null(fill_value=False).to_numpy()
    return is_own
