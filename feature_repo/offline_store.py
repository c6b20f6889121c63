"""Feast's offline store on Parquet: every entity row comes back once, with the newest row of each view it may know.

It serves any Feast repository whose sources are Parquet files, folders or hive-partitioned folders, and needs nothing
of this project but its errors. The join itself is ``feature_repo.as_of_join``.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.saved_dataset import SavedDatasetStorage, ValidationReference
from feast.types import from_feast_to_pyarrow_type
from feast.utils import (
    _get_requested_feature_views_to_features_dict,
    _get_requested_on_demand_feature_views,
    compute_non_entity_date_range,
)

from feature_repo.as_of_join import (
    NO_GROUP,
    NO_ROW,
    NULL_NS,
    Int64Array,
    as_of_positions,
    group_rows,
    newest_positions,
    oldest_ns,
    times_ns,
    utc_times,
)
from market.errors import CorruptStore, InvalidRequest, NotFound

Column: TypeAlias = "pa.ChunkedArray[Any]"

EVENT_TIMESTAMP: Final = "event_timestamp"
_UTC_NS: Final = pa.timestamp("ns", "UTC")
_UNIT_NS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
_PART: Final = re.compile(r"part-(\d{8})\.parquet")
# A longer list of keys prunes next to no row group and is compared with the statistics of each.
_LARGEST_KEY_FILTER: Final = 1_000
_NULLABLE: Final[dict[pa.DataType, Any]] = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}


class AsOfOfflineStoreConfig(FeastConfigBaseModel):
    type: Literal["feature_repo.offline_store.AsOfOfflineStore"] = "feature_repo.offline_store.AsOfOfflineStore"
    bitemporal: bool = True
    """Whether a row created after the time asked for stays unknown, without ``filter_by_created_timestamp``."""


class AsOfRetrievalJob(RetrievalJob):
    """A retrieval that runs each time its result is asked for.

    ``to_arrow`` tells a null (no row, or a null in it) from a NaN. ``to_df`` cannot: a float64 column shows both as
    NaN; an integer or bool column with nulls is pandas' nullable type; the entity frame keeps its index and columns.
    """

    def __init__(
        self,
        evaluate: Callable[[], pa.Table],
        repo_path: Path | None,
        *,
        entity_df: pd.DataFrame | None = None,
        full_feature_names: bool = False,
        on_demand_feature_views: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._evaluate = evaluate
        self._repo_path = repo_path
        self._entity_df = entity_df
        self._full_feature_names = full_feature_names
        self._on_demand_feature_views = list(on_demand_feature_views)
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def to_df(
        self, validation_reference: ValidationReference | None = None, timeout: int | None = None
    ) -> pd.DataFrame:
        table = self.to_arrow(validation_reference=validation_reference, timeout=timeout)
        if self._entity_df is None:
            return _to_frame(table)
        features = _to_frame(table.drop_columns(list(self._entity_df.columns)))
        features.index = self._entity_df.index
        return pd.concat([self._entity_df, features], axis=1)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002  # Feast's interface
        return self._evaluate()

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,  # noqa: FBT001, FBT002  # Feast's interface
        timeout: int | None = None,
    ) -> None:
        """Write the result as one Parquet file: at the path when it ends in .parquet, else in a folder of its own.

        Raises SavedDatasetLocationAlreadyExists when something is there and may not be overwritten.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise InvalidRequest(f"storage: must be SavedDatasetFileStorage, was {type(storage).__name__}")
        filesystem, path = _locate(self._repo_path, cast("FileSource", storage.to_data_source()))
        kind = filesystem.get_file_info(path).type
        if kind != pafs.FileType.NotFound and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=path)
        table = self.to_arrow(timeout=timeout)
        if path.endswith(".parquet"):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            _write_file(table, filesystem, path)
            return
        filesystem.create_dir(path, recursive=True)
        part = f"{path}/part-00000000.parquet"
        _write_file(table, filesystem, part)
        for info in filesystem.get_file_info(pafs.FileSelector(path)):  # what the overwritten data set had more
            if info.path != part and info.path.endswith(".parquet"):
                filesystem.delete_file(info.path)


class AsOfOfflineStore(OfflineStore):
    """Point-in-time retrieval by the rules of the semantics page; see ``AsOfRetrievalJob`` for the results.

    Rows of equal event and creation time are told apart by physical order: files by path, then rows as written.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: PLR0917  # Feast's interface
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,  # noqa: FBT001, FBT002  # Feast's interface
        *,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Each entity row with the features known at its time.

        Without ``entity_df`` the entity rows are the distinct keys and event times that the views hold in
        [start_date, end_date], in order of time, then keys; a view's key that another view has not is null.

        Raises:
            InvalidRequest: ``entity_df`` is not a frame, lacks a column or holds a wrong type; when the job runs, a
                source lacks a column.
            NotFound, CorruptStore: when the job runs, a source is missing or unreadable.
        """
        settings = cast("AsOfOfflineStoreConfig", config.offline_store)
        bitemporal = settings.bitemporal or filter_by_created_timestamp
        on_demand = _get_requested_on_demand_feature_views(feature_refs, project, registry)
        by_view, _ = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, on_demand)
        views = [_View.of(view, names, full_feature_names=full_feature_names) for view, names in by_view.items()]

        if entity_df is None:
            start, end = compute_non_entity_date_range(feature_views, start_date=start_date, end_date=end_date)
            entity_df = _observed_entities(config.repo_path, views, low_ns=_ns_of(start), high_ns=_ns_of(end))
            span: tuple[datetime | None, datetime | None] = (start, end)
        else:
            span = (None, None)
        if not isinstance(entity_df, pd.DataFrame):
            raise InvalidRequest(
                f"entity_df: must be a pandas DataFrame, this store runs no SQL, was {type(entity_df).__name__}"
            )
        _check_columns(entity_df, views)
        time_column = _time_column(entity_df)
        thing = f"entity_df.{time_column}"
        times = utc_times(entity_df[time_column], thing)
        entity_df = entity_df.assign(**{time_column: times})
        entity_ns = times_ns(_to_column(times, thing), thing)
        if span[0] is None and len(times) > 0:
            span = (times.min().floor("us").to_pydatetime(), times.max().floor("us").to_pydatetime())

        def evaluate() -> pa.Table:
            table = _entity_table(entity_df)
            for view in views:
                joined = _join(config.repo_path, view, entity_df, entity_ns, bitemporal=bitemporal)
                for name, column in zip(joined.column_names, joined.columns, strict=True):
                    table = table.append_column(name, column)
            return table

        return AsOfRetrievalJob(
            evaluate,
            config.repo_path,
            entity_df=entity_df,
            full_feature_names=full_feature_names,
            on_demand_feature_views=on_demand,
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in entity_df.columns if name != time_column],
                min_event_timestamp=span[0],
                max_event_timestamp=span[1],
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0917  # Feast's interface
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """The newest row of each key with an event time in [start_date, end_date]; a null key belongs to no entity."""
        pull = _Pull(data_source, join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)

        def evaluate() -> pa.Table:
            rows, event_ns, created_ns = pull.read(config.repo_path, start_date, end_date)
            group = group_rows([rows[name] for name in pull.keys], rows.num_rows)
            newest = newest_positions(group, event_ns, created_ns)
            return rows.take(newest[group[newest] != NO_GROUP])

        return AsOfRetrievalJob(evaluate, config.repo_path)

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0917  # Feast's interface
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row with an event time in [start_date, end_date], in physical order."""
        pull = _Pull(data_source, join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return AsOfRetrievalJob(lambda: pull.read(config.repo_path, start_date, end_date)[0], config.repo_path)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows: as a new part file of a folder (one in each partition concerned), or to a single file.

        A reader sees a file as it was or with all its new rows. Writers of one folder wait for each other.

        Raises InvalidRequest when the columns are not the source's, do not fit its types or it is not local.
        """
        source = _source_of(feature_view)
        to_raw = {mapped: raw for raw, mapped in source.field_mapping.items()}
        table = table.rename_columns([to_raw.get(name, name) for name in table.column_names])
        parquet = _Parquet.open(config.repo_path, source, _declared_types(feature_view))
        if not isinstance(parquet.filesystem, pafs.LocalFileSystem):
            raise InvalidRequest(f"{parquet.path}: must be a local path to be written to")
        schema = parquet.schema(parquet.fragments)
        if parquet.fragments:
            if sorted(schema.names) != sorted(table.column_names):
                raise InvalidRequest(
                    f"{source.name}: rows must have the columns {schema.names}, was {table.column_names}"
                )
            try:
                table = table.select(schema.names).cast(schema)
            except pa.ArrowException as error:
                raise InvalidRequest(f"{source.name}: rows must fit the source's types, {error}") from error
        with _locked(parquet.path if parquet.is_folder else parquet.path.rpartition("/")[0]):
            parquet.append(table)
        if progress is not None:
            progress(table.num_rows)

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Columns of all files together, partition columns included; Feast's own asks the first file."""
        parquet = _Parquet.open(config.repo_path, data_source, {})
        schema = parquet.schema(parquet.fragments)
        return [(field.name, str(field.type)) for field in schema]


@dataclass(frozen=True, slots=True)
class _View:
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
    def of(cls, view: FeatureView, features: Sequence[str], *, full_feature_names: bool) -> _View:
        source = _source_of(view)
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
            declared=_declared_types(view),
        )


@dataclass(frozen=True, slots=True)
class _Pull:
    """Rows of a source between two times, as materialization and saved data sets ask for them."""

    source: DataSource
    join_keys: list[str]
    features: list[str]
    timestamp: str
    created: str | None

    @property
    def keys(self) -> list[str]:
        return [name for name in self.join_keys if name != DUMMY_ENTITY_ID]

    def read(
        self, repo_path: Path | None, start: datetime | None, end: datetime | None
    ) -> tuple[pa.Table, Int64Array, Int64Array | None]:
        parquet = _Parquet.open(repo_path, self.source, {})
        columns = [*self.keys, *self.features, self.timestamp, *([self.created] if self.created else [])]
        if not self.features:  # Feast's way to ask for all columns
            columns += parquet.schema(parquet.fragments).names
        low_ns, high_ns = (None if moment is None else _ns_of(moment) for moment in (start, end))
        rows = parquet.read(columns, time_field=self.timestamp, low_ns=low_ns, high_ns=high_ns)
        event_ns = times_ns(rows[self.timestamp], f"{self.source.name}.{self.timestamp}")
        is_within = np.ones(rows.num_rows, np.bool_)
        if low_ns is not None:
            is_within &= event_ns >= low_ns
        if high_ns is not None:
            is_within &= (event_ns <= high_ns) & (event_ns != NULL_NS)
        rows = rows.filter(pa.array(is_within))
        created_ns = times_ns(rows[self.created], f"{self.source.name}.{self.created}") if self.created else None
        if not self.keys:
            rows = rows.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * rows.num_rows, pa.string()))
        return rows, event_ns[is_within], created_ns


@dataclass(frozen=True, slots=True)
class _Parquet:
    """A Parquet file, or the Parquet files below a folder with the partition columns that its hive path spells."""

    name: str
    filesystem: pafs.FileSystem
    path: str
    is_folder: bool
    partitions: pa.Schema
    fragments: list[ds.Fragment]
    """In physical order."""

    @classmethod
    def open(cls, repo_path: Path | None, source: DataSource, declared: Mapping[str, pa.DataType]) -> _Parquet:
        """List the files; no file is read. Raises NotFound when there is nothing at the path."""
        if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
            raise InvalidRequest(f"{source.name}: must be a Parquet FileSource, was {type(source).__name__}")
        filesystem, path = _locate(repo_path, source)
        with _reading(path):
            info = filesystem.get_file_info(path)
            if info.type == pafs.FileType.NotFound:
                raise NotFound(f"{source.name}: file or folder must exist, was {path}")
            is_folder = info.type == pafs.FileType.Directory
            files = [path]
            if is_folder:
                below = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
                files = sorted(entry.path for entry in below if entry.is_file and _is_visible(entry.path, path))
            relative = {file: file.removeprefix(path).lstrip("/") if is_folder else "" for file in files}
            partitions = _partition_schema(relative.values(), declared)
            hive = ds.partitioning(partitions, flavor="hive")
            make = ds.ParquetFileFormat().make_fragment
            fragments: list[ds.Fragment] = [make(file, filesystem, hive.parse(relative[file])) for file in files]
        return cls(source.name, filesystem, path, is_folder, partitions, fragments)

    def schema(self, fragments: Sequence[ds.Fragment]) -> pa.Schema:
        """Columns of these files together. Raises CorruptStore when a file is unreadable or two disagree on a type."""
        schemas = []
        for fragment in fragments:
            with _reading(getattr(fragment, "path", self.path)):
                schemas.append(_without_dictionaries(fragment.physical_schema))
        with _reading(self.path):
            return pa.unify_schemas([*schemas, self.partitions], promote_options="permissive")

    def read(
        self,
        columns: Sequence[str],
        *,
        time_field: str,
        low_ns: int | None,
        high_ns: int | None,
        keys: Mapping[str, Column] | None = None,
        declared: Mapping[str, pa.DataType] | None = None,
    ) -> pa.Table:
        """Rows that may lie between the times and have one of the keys, in physical order.

        Rows outside are left out as far as their files and row groups can be skipped by it. A column that these files
        have not, but others have, is null; with no file at all every column is, of its declared type.

        Raises InvalidRequest when no file has a column, CorruptStore when a file is unreadable.
        """
        keys = keys or {}
        fragments = self._select(self.fragments, self.partitions, _key_filters(self.partitions, keys))
        schema = self.schema(fragments)
        types = {time_field: _UTC_NS, **(declared or {})}
        missing = [name for name in dict.fromkeys(columns) if name not in schema.names]
        if missing and self.fragments:
            everywhere = self.schema(self.fragments)
            for name in missing:
                if name not in everywhere.names:
                    raise InvalidRequest(
                        f"{self.name}.{name}: must be a column of the source, which has {everywhere.names}"
                    )
                types[name] = everywhere.field(name).type
        filters = _key_filters(schema, keys)
        if time_field in schema.names:
            filters += _time_filters(schema.field(time_field), low_ns, high_ns)
        present = [name for name in dict.fromkeys(columns) if name in schema.names]
        with _reading(self.path):
            dataset = ds.FileSystemDataset(fragments, schema, ds.ParquetFileFormat(), self.filesystem)
            rows = dataset.to_table(columns=present, filter=reduce(and_, filters) if filters else None)
        for name in missing:
            rows = rows.append_column(name, _nulls(rows.num_rows, types.get(name, pa.null())))
        return rows

    def _select(
        self, fragments: list[ds.Fragment], schema: pa.Schema, filters: Sequence[pc.Expression]
    ) -> list[ds.Fragment]:
        if not filters:
            return fragments
        dataset = ds.FileSystemDataset(fragments, schema, ds.ParquetFileFormat(), self.filesystem)
        return list(dataset.get_fragments(reduce(and_, filters)))

    def append(self, table: pa.Table) -> None:
        """Add rows; the caller holds the folder's lock and has given them the columns of ``schema``."""
        if not self.is_folder:
            with _reading(self.path):
                written = pq.read_table(self.path, filesystem=self.filesystem)
            table = table.select(written.column_names).cast(written.schema)
            _write_file(pa.concat_tables([written, table]), self.filesystem, self.path)
            return
        names = self.partitions.names
        group = _partition_groups(table, names)
        for code in range(int(group.max(initial=-1)) + 1):
            rows = table.filter(pa.array(group == code))
            folder = "/".join([self.path, *(f"{name}={_hive_value(rows[name][0])}" for name in names)])
            self.filesystem.create_dir(folder, recursive=True)
            taken = [
                _PART.fullmatch(info.base_name) for info in self.filesystem.get_file_info(pafs.FileSelector(folder))
            ]
            number = 1 + max((int(match[1]) for match in taken if match), default=-1)
            _write_file(rows.drop_columns(names), self.filesystem, f"{folder}/part-{number:08d}.parquet")


def _join(
    repo_path: Path | None, view: _View, entity_df: pd.DataFrame, entity_ns: Int64Array, *, bitemporal: bool
) -> pa.Table:
    """The view's features for each entity row, null where it has no row."""
    asked = {name: _to_column(entity_df[name], f"entity_df.{name}") for name in view.keys}
    times = entity_ns if len(entity_ns) else np.zeros(1, np.int64)  # no entity row still asks for the columns' types
    parquet = _Parquet.open(repo_path, view.source, view.declared)
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
        _concat_keys(asked[name], rows[raw], f"entity_df.{name}", f"{thing}.{raw}") for name, raw in view.keys.items()
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


def _observed_entities(repo_path: Path | None, views: Sequence[_View], *, low_ns: int, high_ns: int) -> pd.DataFrame:
    """The distinct keys and event times that the views hold in [low_ns, high_ns]."""
    observed = []
    for view in views:
        rows = _Parquet.open(repo_path, view.source, view.declared).read(
            [*view.keys.values(), view.timestamp],
            time_field=view.timestamp,
            low_ns=low_ns,
            high_ns=high_ns,
            declared=view.declared,
        )
        event_ns = times_ns(rows[view.timestamp], f"{view.source.name}.{view.timestamp}")
        event = pa.chunked_array([pa.array(event_ns).cast(_UTC_NS)])
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
    return _to_frame(distinct.sort_by([(name, "ascending") for name in names]))


def _source_of(view: FeatureView) -> FileSource:
    if not isinstance(view.batch_source, FileSource):
        raise InvalidRequest(f"{view.name}: must have a FileSource, was {type(view.batch_source).__name__}")
    return view.batch_source


def _join_keys(view: FeatureView) -> list[str]:
    return [field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]


def _declared_types(view: FeatureView) -> dict[str, pa.DataType]:
    """Types that the view declares, by source column."""
    to_raw = {mapped: raw for raw, mapped in _source_of(view).field_mapping.items()}
    fields = [*view.entity_columns, *view.features]
    return {to_raw.get(field.name, field.name): from_feast_to_pyarrow_type(field.dtype) for field in fields}


def _time_column(entity_df: pd.DataFrame) -> str:
    """The column named event_timestamp, else the only one of datetimes."""
    if EVENT_TIMESTAMP in entity_df.columns:
        return EVENT_TIMESTAMP
    candidates = [str(name) for name in entity_df.select_dtypes(["datetime", "datetimetz"]).columns]
    if len(candidates) != 1:
        raise InvalidRequest(
            f"entity_df: must have the column {EVENT_TIMESTAMP} or one of datetimes, was {list(entity_df.columns)}"
        )
    return candidates[0]


def _check_columns(entity_df: pd.DataFrame, views: Sequence[_View]) -> None:
    if not entity_df.columns.is_unique or not all(isinstance(name, str) for name in entity_df.columns):
        raise InvalidRequest(f"entity_df: column names must be unique texts, was {list(entity_df.columns)}")
    names = set(entity_df.columns)
    for view in views:
        for key in view.keys:
            if key not in entity_df.columns:
                raise InvalidRequest(f"entity_df: must have the join key {key}, was {list(entity_df.columns)}")
        for name in view.features:
            if name in names:
                raise InvalidRequest(f"{name}: must not be a column twice; full_feature_names=True tells them apart")
            names.add(name)


def _entity_table(entity_df: pd.DataFrame) -> pa.Table:
    """The entity frame without its index; a NaN of a float column stays a NaN."""
    names = list(entity_df.columns)
    return pa.Table.from_arrays(
        [_to_column(entity_df[name], f"entity_df.{name}", keep_nan=True) for name in names], names
    )


def _to_column(series: pd.Series[Any], thing: str, *, keep_nan: bool = False) -> Column:
    is_float = isinstance(series.dtype, np.dtype) and series.dtype.kind == "f"
    try:
        values = pa.array(series, from_pandas=not (keep_nan and is_float))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidRequest(f"{thing}: must hold values of one type, was {error}") from error
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def _to_frame(table: pa.Table) -> pd.DataFrame:
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        columns[name] = column.to_pandas(types_mapper=_NULLABLE.get if column.null_count else None)
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def _concat_keys(asked: Column, held: Column, asked_thing: str, held_thing: str) -> Column:
    """Both columns in one, of a type that holds either's values exactly."""
    try:
        if pa.types.is_dictionary(asked.type):
            asked = asked.cast(asked.type.value_type)
        both = [pa.schema([("key", column.type)]) for column in (asked, held)]
        common = pa.unify_schemas(both, promote_options="permissive").field(0).type
        if pa.types.is_integer(held.type) and pa.types.is_floating(common):
            common = held.type  # whole numbers that a null made float in pandas
        return pa.chunked_array([*asked.cast(common).chunks, *held.cast(common).chunks], common)
    except pa.ArrowException as error:
        raise InvalidRequest(
            f"{asked_thing}: must have the type of {held_thing}, {held.type}, was {asked.type}"
        ) from error


def _nulls(count: int, kind: pa.DataType) -> Column:
    return pa.chunked_array([pa.array([None] * count, kind)])


def _key_filters(schema: pa.Schema, keys: Mapping[str, Column]) -> list[pc.Expression]:
    filters = []
    for name, column in keys.items():
        values = pc.unique(column).drop_null()
        if name not in schema.names or len(values) > _LARGEST_KEY_FILTER:
            continue
        try:
            filters.append(pc.field(name).isin(values.cast(schema.field(name).type)))
        except pa.ArrowException:
            continue  # nothing is pruned; the join names a key of a wrong type, or finds none
    return filters


def _time_filters(field: pa.Field[Any], low_ns: int | None, high_ns: int | None) -> list[pc.Expression]:
    """Bounds in the column's own unit, so that statistics compare; rounded down, the low one lets a little more in."""
    if not pa.types.is_timestamp(field.type):
        return []
    unit_ns = _UNIT_NS[field.type.unit]
    filters = []
    if low_ns is not None:
        filters.append(pc.field(field.name) >= pa.scalar(low_ns // unit_ns, field.type))
    if high_ns is not None:
        filters.append(pc.field(field.name) <= pa.scalar(high_ns // unit_ns, field.type))
    return filters


def _without_dictionaries(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema
    )


def _is_visible(file: str, root: str) -> bool:
    """Hidden names are other programs' business: unfinished files, markers."""
    return not any(part.startswith((".", "_")) for part in file.removeprefix(root).split("/"))


def _partition_schema(paths: Iterable[str], declared: Mapping[str, pa.DataType]) -> pa.Schema:
    """Partition columns of hive paths: of their declared type, else int64 where all values are whole numbers."""
    values: dict[str, set[str]] = {}
    for path in paths:
        for segment in path.split("/")[:-1]:
            name, is_hive, value = segment.partition("=")
            if is_hive:
                values.setdefault(name, set()).add(unquote(value))
    return pa.schema([(name, declared.get(name) or _partition_type(found)) for name, found in values.items()])


def _partition_type(values: set[str]) -> pa.DataType:
    is_whole = all(re.fullmatch(r"0|-?[1-9]\d{0,17}", value) for value in values - {_HIVE_NULL})
    return pa.int64() if is_whole else pa.string()


def _partition_groups(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.intp]:
    """Which partition each row belongs to, numbered from 0; nulls are a partition."""
    if not names:
        return np.zeros(table.num_rows, np.intp)
    keys = pd.MultiIndex.from_arrays([table[name].to_pandas() for name in names])
    return pd.factorize(keys, use_na_sentinel=False)[0]


def _hive_value(value: pa.Scalar[Any]) -> str:
    return quote(str(value.as_py()), safe="") if value.is_valid else _HIVE_NULL


def _locate(repo_path: Path | None, source: FileSource) -> tuple[pafs.FileSystem, str]:
    uri = FileSource.get_uri_for_file_path(repo_path, source.path)
    filesystem, path = FileSource.create_filesystem_and_path(
        uri, source.s3_endpoint_override or "", source.resolve_credentials()
    )
    if filesystem is not None:
        return filesystem, path
    return pafs.FileSystem.from_uri(path) if "://" in path else (pafs.LocalFileSystem(), path)


def _write_file(table: pa.Table, filesystem: pafs.FileSystem, path: str) -> None:
    """Write beside, then move: nobody sees half a file."""
    folder, _, name = path.rpartition("/")
    unfinished = f"{folder}/.{name}.unfinished"
    pq.write_table(table, unfinished, filesystem=filesystem)
    filesystem.move(unfinished, path)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the folder against other writers; the system lets go when a process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path}: must exist while it is read, {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise CorruptStore(f"{path}: must be readable Parquet with one type a column, {error}") from error


def _ns_of(moment: datetime) -> int:
    """A naive datetime means UTC."""
    stamp = pd.Timestamp(moment)
    return int((stamp if stamp.tzinfo is not None else stamp.tz_localize("UTC")).as_unit("ns").value)
