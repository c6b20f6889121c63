"""The result of a retrieval, as Feast returns it: a table, a frame, or a saved dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
from feast import OnDemandFeatureView
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.saved_dataset import SavedDatasetStorage, ValidationReference

from feature_repo.parquet_source import locate
from feature_repo.parquet_writing import write_file
from market.errors import InvalidRequest

MAX_BATCH_ROWS: Final = 1_000_000
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


class Evaluated(Protocol):
    """Some of the entity rows, and what answers them."""

    def evaluate(self, max_rows: int | None) -> Iterator[pa.Table]:
        """The entity rows with what each knows, so many at a time."""
        ...


class AsOfRetrievalJob(RetrievalJob):
    """A retrieval that runs each time its result is requested.

    ``to_arrow`` distinguishes a null (no row, or a null in it) from a NaN. ``to_df`` cannot: a float64 column shows
    both as NaN; an integer or bool column with nulls is pandas' nullable type; the entity frame keeps its index and
    columns.
    """

    def __init__(  # noqa: PLR0913  # Feast asks a job for each of them
        self,
        evaluate: Callable[[int | None], Iterator[pa.Table]],
        repo_path: Path | None,
        *,
        entity_df: pd.DataFrame | None = None,
        full_feature_names: bool = False,
        on_demand_feature_views: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
        provenance: Callable[[], pa.Table] | None = None,
        cut: Callable[[int], Sequence[Evaluated]] | None = None,
    ) -> None:
        self._evaluate = evaluate
        self._cut = cut
        self._provenance = provenance
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
            return to_frame(table)
        features = to_frame(table.drop_columns(list(self._entity_df.columns)))
        features.index = self._entity_df.index
        return pd.concat([self._entity_df, features], axis=1)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002  # Feast's interface
        return pa.concat_tables(self._evaluate(None))

    def to_arrow_batches(self, max_rows: int = MAX_BATCH_ROWS) -> Iterator[pa.Table]:
        """The rows of ``to_arrow``, in order, as tables of about ``max_rows`` rows; one of them is held at a time.

        Each part of an entity frame reads its own row groups: parts in order of time read each about once, parts in
        random order read all of them each time.
        """
        for table in self._evaluate(max_rows):
            yield self._part(partial(_once, table)).to_arrow()

    def to_ray_dataset(self, max_rows: int = MAX_BATCH_ROWS) -> Any:  # noqa: ANN401  # Ray is an extra
        """The rows of ``to_arrow``, in order, as a ``ray.data.Dataset`` of blocks of about ``max_rows`` rows.

        Each block is a task of the cluster, which reads what its entity rows need: nothing passes this process. Nodes
        must reach the sources by the same paths, and run this code. A pull is read here, block by block.

        Raises ImportError where Ray is not installed.
        """
        try:
            import ray.data
        except ImportError as error:
            raise ImportError("to_ray_dataset: ray must be installed: pip install 'feature-service[ray]'") from error
        if self._cut is None:
            blocks: list[Any] = [ray.put(table) for table in self.to_arrow_batches(max_rows)]
        else:
            answer: Any = ray.remote(num_cpus=1)(AsOfRetrievalJob.to_arrow)
            blocks = [answer.remote(self._part(each.evaluate)) for each in self._cut(max_rows)]
        return ray.data.from_arrow_refs(blocks)

    def _part(self, evaluate: Callable[[int | None], Iterator[pa.Table]]) -> AsOfRetrievalJob:
        """A job of some of the rows."""
        return AsOfRetrievalJob(
            evaluate,
            self._repo_path,
            full_feature_names=self._full_feature_names,
            on_demand_feature_views=self._on_demand_feature_views,
            metadata=self._metadata,
        )

    def to_provenance(self) -> pa.Table:
        """Which row each value came from: for each view its ``<view>__event`` and ``<view>__created`` times.

        A row for each entity row, in order, null where the view has none, and ``asked``, the requested time. A view
        whose source has no creation times lacks the second: it is unknown when its rows could be read. All times
        are ns in UTC.

        Raises InvalidRequest when the job asks for no entity rows.
        """
        if self._provenance is None:
            raise InvalidRequest("retrieval: must ask for entity rows to tell where values came from, was a pull")
        return self._provenance()

    def to_sql(self) -> str:
        """Raises InvalidRequest: this store does not run SQL."""
        raise InvalidRequest("to_sql: must be called on a store that runs SQL, was AsOfOfflineStore; use to_arrow()")

    def to_remote_storage(self) -> list[str]:
        """Raises InvalidRequest: use ``persist``."""
        raise InvalidRequest(
            "to_remote_storage: must be called on a store with a staging location, was AsOfOfflineStore; "
            'use persist(SavedDatasetFileStorage("s3://..."))'
        )

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,  # noqa: FBT001, FBT002  # Feast's interface
        timeout: int | None = None,  # noqa: ARG002  # Feast's interface
    ) -> None:
        """Write the result as one Parquet file: at the path when it ends in .parquet, else in its own folder.

        It is written batch by batch, as ``to_arrow_batches`` gives them.

        Raises SavedDatasetLocationAlreadyExists when something exists there and must not be overwritten.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise InvalidRequest(f"storage: must be SavedDatasetFileStorage, was {type(storage).__name__}")
        filesystem, path = locate(self._repo_path, cast("FileSource", storage.to_data_source()))
        kind = filesystem.get_file_info(path).type
        if kind != pafs.FileType.NotFound and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=path)
        if path.endswith(".parquet"):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            write_file(self.to_arrow_batches(), filesystem, path)
            return
        filesystem.create_dir(path, recursive=True)
        part = f"{path}/part-00000000.parquet"
        write_file(self.to_arrow_batches(), filesystem, part)
        for info in filesystem.get_file_info(pafs.FileSelector(path)):  # what the overwritten data set had more
            if info.path != part and info.path.endswith(".parquet"):
                filesystem.delete_file(info.path)


def _once(table: pa.Table, _max_rows: int | None) -> Iterator[pa.Table]:
    yield table


def to_frame(table: pa.Table) -> pd.DataFrame:
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        columns[name] = column.to_pandas(types_mapper=_NULLABLE.get if column.null_count else None)
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
