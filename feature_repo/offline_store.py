"""Feast's offline store on Parquet: every entity row comes back once, with the newest row of each view it may know.

It serves any Feast repository whose sources are Parquet files, folders or hive-partitioned folders, and uses only
the errors of this project. The join itself is ``feature_repo.as_of_join``.
"""

from __future__ import annotations

import feature_repo.feast_version  # noqa: F401  # it warns before the imports that may fail

# isort: split
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, cast

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
from feast import FeatureView, RepoConfig
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _get_requested_feature_views_to_features_dict, compute_non_entity_date_range
from pydantic import NonNegativeFloat

from feature_repo.as_of_join import NO_GROUP, group_rows, newest_positions, times_ns
from feature_repo.asked_view import AskedView, declared_types, observed_entities, source_of
from feature_repo.entity_files import EntityFiles
from feature_repo.entity_rows import EntityRows, check_columns
from feature_repo.feast_version import requested_on_demand_views
from feature_repo.iceberg_files import is_iceberg
from feature_repo.logged_features import write_logged
from feature_repo.monitoring import MonitoredStore
from feature_repo.parquet_source import ParquetSource, ns_of
from feature_repo.parquet_writing import append, locked
from feature_repo.retrieval import Retrieval
from feature_repo.retrieval_job import AsOfRetrievalJob
from feature_repo.source_rows import SourceRows
from feature_repo.tick_join import TickJoin, TicksConfig
from market.errors import InvalidRequest, NotFound

_log = logging.getLogger(__name__)

LATENESS_TAG: Final = "materialize_lateness_s"
"""Tag of a source whose rows come later than those of others."""


class AsOfOfflineStoreConfig(FeastConfigBaseModel):
    type: Literal["feature_repo.offline_store.AsOfOfflineStore"] = "feature_repo.offline_store.AsOfOfflineStore"
    bitemporal: bool = False
    """Whether a row created after the time asked for stays unknown, without ``filter_by_created_timestamp``.

    A view with the tag ``created_timestamp_is: availability`` is always read so."""
    materialize_lateness_s: NonNegativeFloat = 0
    """How far before the time asked for a materialization reads again: incremental ones begin where the last one ended,
    and would never see a row that came later than that. The online store keeps the newer row."""
    ticks: TicksConfig | None = None
    """What answers for views with ticks between whole seconds, which no log holds; None is the log alone."""


class AsOfOfflineStore(MonitoredStore):
    """Point-in-time retrieval by the rules of the semantics page; see ``AsOfRetrievalJob`` for the results.

    Of rows of equal event and creation time the last stands: files are in the order of their paths, those of our
    feature log in the order in which they were written, and rows in that of their file.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: PLR0913, PLR0917  # Feast's interface
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
        """Each entity row with the features known at its time: those of the row that a reader would have been given.

        Without ``ticks`` in the configuration that is the newest in the log. A text as ``entity_df`` is the path of
        Parquet with the entity rows, a file or a folder; they are read in parts where the result is.

        Without ``entity_df`` the entity rows are the distinct keys and event times that the views hold in
        [start_date, end_date], in order of time, then keys; a view's key that another view does not have is null.

        Raises:
            InvalidRequest: ``entity_df`` is no frame and no path, lacks a column or holds a wrong type; when the job
                runs, a source lacks a column.
            NotFound, CorruptStore: when the job runs, a source is missing or unreadable.
        """
        settings = cast("AsOfOfflineStoreConfig", config.offline_store)
        bitemporal = settings.bitemporal or filter_by_created_timestamp
        on_demand = requested_on_demand_views(feature_refs, project, registry)
        by_view, _ = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, on_demand)
        views = [AskedView.of(view, names, full_feature_names=full_feature_names) for view, names in by_view.items()]

        if entity_df is None:
            start, end = compute_non_entity_date_range(feature_views, start_date=start_date, end_date=end_date)
            entity_df = observed_entities(config.repo_path, views, low_ns=ns_of(start), high_ns=ns_of(end))
            span: tuple[datetime | None, datetime | None] = (start, end)
        else:
            span = (None, None)
        files = EntityFiles.open(config.repo_path, entity_df) if isinstance(entity_df, str) else None
        frame = files.empty_frame() if files is not None else entity_df
        if not isinstance(frame, pd.DataFrame):
            raise InvalidRequest(
                f"entity_df: must be a pandas DataFrame or the path of Parquet, was {type(entity_df).__name__}"
            )
        ticks = TickJoin.of(settings.ticks, config.repo_path, zip(by_view, views, strict=True))
        logged = [view for view in views if not any(join.answers(view) for join in ticks)]
        check_columns(frame, [(view.keys, view.features) for view in views])
        rows, frame = EntityRows.of(frame)
        times = frame[rows.time_name]
        if files is not None:
            span = files.span() or span
        elif span[0] is None and len(times) > 0:
            span = (times.min().floor("us").to_pydatetime(), times.max().floor("us").to_pydatetime())

        asked = Retrieval(config.repo_path, logged, ticks, rows if files is None else files, bitemporal=bitemporal)
        return AsOfRetrievalJob(
            asked.evaluate,
            config.repo_path,
            entity_df=frame if files is None else None,
            full_feature_names=full_feature_names,
            on_demand_feature_views=on_demand,
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in frame.columns if name != rows.time_name],
                min_event_timestamp=span[0],
                max_event_timestamp=span[1],
            ),
            provenance=asked.provenance,
            cut=asked.cut,
        )

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0913, PLR0917  # Feast's interface
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """The newest row of each key with an event time in [start_date, end_date]; a null key belongs to no entity.

        A source that does not exist yet has no rows, and logs a warning: it must not stop the other views.

        ``materialize_lateness_s``, of the configuration or in the source's tags, moves the start back.
        """
        settings = cast("AsOfOfflineStoreConfig", config.offline_store)
        lateness_s = max(settings.materialize_lateness_s, float(data_source.tags.get(LATENESS_TAG, 0)))
        begin = None if start_date is None else start_date - timedelta(seconds=lateness_s)
        pulled = SourceRows(
            data_source, join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column
        )

        def evaluate(max_rows: int | None) -> Iterator[pa.Table]:  # noqa: ARG001  # one row a key is no stream
            table, event_ns, created_ns = pulled.read(config.repo_path, begin, end_date)
            group = group_rows([table[name] for name in pulled.keys], table.num_rows)
            newest = newest_positions(group, event_ns, created_ns)
            yield table.take(newest[group[newest] != NO_GROUP])

        return AsOfRetrievalJob(evaluate, config.repo_path)

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0913, PLR0917  # Feast's interface
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
        pulled = SourceRows(
            data_source, join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column
        )

        def evaluate(max_rows: int | None) -> Iterator[pa.Table]:
            if max_rows is None:
                yield pulled.read(config.repo_path, start_date, end_date)[0]
            else:
                yield from pulled.stream(config.repo_path, start_date, end_date)

        return AsOfRetrievalJob(evaluate, config.repo_path)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows: as a new part file of a folder (one in each partition concerned), or to a single file.

        A reader sees a file as it was or with all its new rows. Writers of one folder wait for each other.

        Raises InvalidRequest when the columns are not the source's, do not fit its types, or the source is not local.
        """
        source = source_of(feature_view)
        to_raw = {mapped: raw for raw, mapped in source.field_mapping.items()}
        table = table.rename_columns([to_raw.get(name, name) for name in table.column_names])
        parquet = ParquetSource.open(config.repo_path, source, declared_types(feature_view))
        if is_iceberg(source) or not isinstance(parquet.filesystem, pafs.LocalFileSystem):
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
        with locked(parquet.path if parquet.is_folder else parquet.path.rpartition("/")[0]):
            append(parquet, table)
        if progress is not None:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,  # noqa: ARG004  # Feast's interface
        logging_config: LoggingConfig,
        registry: BaseRegistry,  # noqa: ARG004  # Feast's interface
    ) -> None:
        """Append served rows, a table or the Parquet at a path, to the folder that the feature service names.

        A reader sees a file whole or not at all. Raises InvalidRequest for another destination than files.
        """
        write_logged(config.repo_path, data, logging_config.destination)

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """Check that existing data is readable: Parquet, with timestamps as such. Missing data is not an error.

        Raises InvalidRequest, CorruptStore.
        """
        try:
            parquet = ParquetSource.open(config.repo_path, data_source, {})
        except NotFound:
            return
        if not parquet.fragments:
            return
        schema = parquet.schema(parquet.fragments)
        raws = {mapped: raw for raw, mapped in data_source.field_mapping.items()}
        for name in filter(None, (data_source.timestamp_field, data_source.created_timestamp_column)):
            raw = raws.get(name, name)
            if raw not in schema.names:
                raise InvalidRequest(f"{data_source.name}.{raw}: must be a column of the source, was {schema.names}")
            nothing: pa.ChunkedArray[Any] = pa.chunked_array([], schema.field(raw).type)
            times_ns(nothing, f"{data_source.name}.{raw}")

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Columns of all files together, partition columns included; Feast's own asks the first file."""
        parquet = ParquetSource.open(config.repo_path, data_source, {})
        schema = parquet.schema(parquet.fragments)
        return [(field.name, str(field.type)) for field in schema]
