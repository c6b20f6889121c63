"""One feature view joined to the entity rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.file_source import FileSource
from feast.types import from_feast_to_pyarrow_type

from feature_repo.as_of_join import NO_ROW, Int64Array, as_of_positions, group_rows, oldest_ns, times_ns
from feature_repo.entity_rows import EVENT_TIMESTAMP, concat_keys, to_column
from feature_repo.parquet_source import UTC_NS, ParquetSource
from feature_repo.retrieval_job import to_frame
from market.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class AskedView:
    """What is asked of one feature view, in the source's column names."""

    source: FileSource
    keys: dict[str, str]
    """Source column by column of the entity frame."""
    features: dict[str, str]
    """Source column by column of the result."""
    timestamp: str
    created: str | None
    ttl_ns: int | None
    declared: dict[str, pa.DataType]

    @classmethod
    def of(cls, view: FeatureView, features: Sequence[str], *, full_feature_names: bool) -> AskedView:
        source = source_of(view)
        to_raw = {mapped: raw for raw, mapped in source.field_mapping.items()}
        projection = view.projection
        prefix = f"{projection.name_alias or view.name}__" if full_feature_names else ""
        created = source.created_timestamp_column
        return cls(
            source=source,
            keys={projection.join_key_map.get(key, key): to_raw.get(key, key) for key in _join_keys(view)},
            features={prefix + name: to_raw.get(name, name) for name in features},
            timestamp=to_raw.get(source.timestamp_field, source.timestamp_field),
            created=to_raw.get(created, created) if created else None,
            ttl_ns=view.ttl // timedelta(microseconds=1) * 1_000 if view.ttl else None,
            declared=declared_types(view),
        )


def join_view(
    repo_path: Path | None, view: AskedView, entity_df: pd.DataFrame, entity_ns: Int64Array, *, bitemporal: bool
) -> pa.Table:
    """The view's features for each entity row, null where it has no row."""
    asked = {name: to_column(entity_df[name], f"entity_df.{name}") for name in view.keys}
    times = entity_ns if len(entity_ns) else np.zeros(1, np.int64)  # no entity row still asks for the columns' types
    parquet = ParquetSource.open(repo_path, view.source, view.declared)
    rows = parquet.read(
        [*view.keys.values(), view.timestamp, *([view.created] if view.created else []), *view.features.values()],
        time_field=view.timestamp,
        low_ns=None if view.ttl_ns is None else int(oldest_ns(times.min(keepdims=True), view.ttl_ns)[0]),
        high_ns=int(times.max()),
        keys={view.keys[name]: column for name, column in asked.items()},
        declared=view.declared,
    )
    thing = view.source.name
    both = [
        concat_keys(asked[name], rows[raw], f"entity_df.{name}", f"{thing}.{raw}") for name, raw in view.keys.items()
    ]
    group = group_rows(both, len(entity_ns) + rows.num_rows)
    position = as_of_positions(
        group[: len(entity_ns)],
        entity_ns,
        row_group=group[len(entity_ns) :],
        event_ns=times_ns(rows[view.timestamp], f"{thing}.{view.timestamp}"),
        created_ns=times_ns(rows[view.created], f"{thing}.{view.created}") if view.created else None,
        ttl_ns=view.ttl_ns,
        bitemporal=bitemporal,
    )
    features = pa.Table.from_arrays([rows[raw] for raw in view.features.values()], names=list(view.features))
    found = cast("pa.Int64Array", pa.array(position, mask=position == NO_ROW))
    return features.combine_chunks().take(found)


def observed_entities(repo_path: Path | None, views: Sequence[AskedView], *, low_ns: int, high_ns: int) -> pd.DataFrame:
    """The distinct keys and event times that the views hold in [low_ns, high_ns]."""
    observed = []
    for view in views:
        rows = ParquetSource.open(repo_path, view.source, view.declared).read(
            [*view.keys.values(), view.timestamp],
            time_field=view.timestamp,
            low_ns=low_ns,
            high_ns=high_ns,
            declared=view.declared,
        )
        event_ns = times_ns(rows[view.timestamp], f"{view.source.name}.{view.timestamp}")
        event = pa.chunked_array([pa.array(event_ns).cast(UTC_NS)])
        keys = [rows[raw] for raw in view.keys.values()]
        table = pa.Table.from_arrays([event, *keys], [EVENT_TIMESTAMP, *view.keys])
        is_within = pa.array((event_ns >= low_ns) & (event_ns <= high_ns))
        observed.append(table.filter(is_within).drop_null())
    names = list(dict.fromkeys([EVENT_TIMESTAMP, *(name for view in views for name in view.keys)]))
    try:
        merged = pa.concat_tables(observed, promote_options="permissive")
    except pa.ArrowException as error:
        raise InvalidRequest(f"feature views: must agree on the types of their keys, {error}") from error
    distinct = merged.group_by(names, use_threads=False).aggregate([])
    return to_frame(distinct.sort_by([(name, "ascending") for name in names]))


def source_of(view: FeatureView) -> FileSource:
    if not isinstance(view.batch_source, FileSource):
        raise InvalidRequest(f"{view.name}: must have a FileSource, was {type(view.batch_source).__name__}")
    return view.batch_source


def _join_keys(view: FeatureView) -> list[str]:
    return [field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]


def declared_types(view: FeatureView) -> dict[str, pa.DataType]:
    """Types that the view declares, by source column."""
    to_raw = {mapped: raw for raw, mapped in source_of(view).field_mapping.items()}
    fields = [*view.entity_columns, *view.features]
    return {to_raw.get(field.name, field.name): from_feast_to_pyarrow_type(field.dtype) for field in fields}
