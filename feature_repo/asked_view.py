"""What a retrieval asks of one feature view, in the words of its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
from feast import FeatureView
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.file_source import FileSource
from feast.types import from_feast_to_pyarrow_type

from feature_repo.as_of_join import times_ns
from feature_repo.entity_rows import EVENT_TIMESTAMP
from feature_repo.iceberg_files import is_iceberg
from feature_repo.parquet_source import UTC_NS, ParquetSource
from feature_repo.retrieval_job import to_frame
from market.errors import InvalidRequest

CREATED_TAG: Final = "created_timestamp_is"
"""Tag of a view that says what the creation times of its rows mean."""


AVAILABILITY: Final = "availability"
"""The value of ``CREATED_TAG`` of a view whose rows could be read from their creation on."""


@dataclass(frozen=True, slots=True)
class AskedView:
    """What is asked of one feature view, in the source's column names."""

    name: str
    source: DataSource
    keys: dict[str, str]
    """Source column by column of the entity frame."""
    features: dict[str, str]
    """Source column by column of the result."""
    timestamp: str
    created: str | None
    ttl_ns: int | None
    declared: dict[str, pa.DataType]
    is_known_when_created: bool
    """Whether the view declares that its rows could be read from their creation on."""

    @property
    def search_columns(self) -> list[str]:
        """What finding the rows takes."""
        return [*self.keys.values(), self.timestamp, *([self.created] if self.created else [])]

    @property
    def columns(self) -> list[str]:
        """Every column of the source that is read."""
        return [*self.search_columns, *self.features.values()]

    def times(self) -> AskedView:
        """The same view, asked for the times that its rows have, instead of their features."""
        times = {f"{self.name}__event": self.timestamp}
        if self.created is not None:
            times[f"{self.name}__created"] = self.created
        return replace(self, features=times)

    @classmethod
    def of(cls, view: FeatureView, features: Sequence[str], *, full_feature_names: bool) -> AskedView:
        source = source_of(view)
        to_raw = {mapped: raw for raw, mapped in source.field_mapping.items()}
        projection = view.projection
        prefix = f"{projection.name_alias or view.name}__" if full_feature_names else ""
        created = source.created_timestamp_column
        return cls(
            name=projection.name_alias or view.name,
            source=source,
            keys={projection.join_key_map.get(key, key): to_raw.get(key, key) for key in _join_keys(view)},
            features={prefix + name: to_raw.get(name, name) for name in features},
            timestamp=to_raw.get(source.timestamp_field, source.timestamp_field),
            created=to_raw.get(created, created) if created else None,
            ttl_ns=view.ttl // timedelta(microseconds=1) * 1_000 if view.ttl else None,
            declared=declared_types(view),
            is_known_when_created=view.tags.get(CREATED_TAG) == AVAILABILITY,
        )


def observed_entities(repo_path: Path | None, views: Sequence[AskedView], *, low_ns: int, high_ns: int) -> pd.DataFrame:
    """The distinct keys and event times that the views hold in [low_ns, high_ns]."""
    observed = []
    for view in views:
        rows = (
            ParquetSource.open(repo_path, view.source, view.declared)
            .select(
                [*view.keys.values(), view.timestamp],
                time_field=view.timestamp,
                low_ns=low_ns,
                high_ns=high_ns,
                declared=view.declared,
            )
            .table()
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


def source_of(view: FeatureView) -> DataSource:
    source = view.batch_source
    if source is None or not (isinstance(source, FileSource) or is_iceberg(source)):
        raise InvalidRequest(f"{view.name}: must have a FileSource or an IcebergSource, was {type(source).__name__}")
    return source


def address_of(source: DataSource) -> str:
    """Where the rows of a source are, in words."""
    if isinstance(source, FileSource):
        return str(source.path)
    return str(source.name)


def _join_keys(view: FeatureView) -> list[str]:
    return [field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]


def declared_types(view: FeatureView) -> dict[str, pa.DataType]:
    """Types that the view declares, by source column."""
    to_raw = {mapped: raw for raw, mapped in source_of(view).field_mapping.items()}
    fields = [*view.entity_columns, *view.features]
    return {to_raw.get(field.name, field.name): from_feast_to_pyarrow_type(field.dtype) for field in fields}
