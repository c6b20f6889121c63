"""Parquet as the offline store reads it: a file, a folder, one partitioned as hive does, or an Iceberg table.

1. ``ParquetSource`` lists the files, by the names that their folders keep where there are such; ``select`` leaves out
   those of other partitions, and of other periods where names state them, and, by their statistics, the row groups that
   hold none of the keys or times asked for. Files are in the order of their paths, those like our feature log's in the
   order in which they were written: of rows of equal times the last is the newest.
2. Footers of an object store are read side by side.
3. What is selected is read as ``selected_files`` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.iceberg_files import iceberg_files, is_iceberg
from feature_repo.named_files import named_files
from feature_repo.parquet_errors import reading
from feature_repo.parquet_pruning import PERIOD, PERIOD_TAG, key_filters, may_be_of, partition_schema
from feature_repo.selected_files import SelectedFile, Selection, needed_row_groups
from market.errors import InvalidRequest, NotFound
from market.written_order import stated_generation, written_order

Column: TypeAlias = "pa.ChunkedArray[Any]"

UTC_NS: Final = pa.timestamp("ns", "UTC")
_FOOTERS_AT_ONCE: Final = 16
_TEXT_FILES: Final = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".csv.gz", ".json.gz")


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file, or the Parquet files below a folder with the partition columns that its hive path spells."""

    name: str
    filesystem: pafs.FileSystem
    path: str
    is_folder: bool
    partitions: pa.Schema
    fragments: list[ds.ParquetFileFragment]
    """In physical order."""
    has_periods: bool = False
    """Whether the names of its files say of which times they are."""

    @classmethod
    def open(cls, repo_path: Path | None, source: DataSource, declared: Mapping[str, pa.DataType]) -> ParquetSource:
        """List the files; no file is read. Raises NotFound when there is nothing at the path."""
        if is_iceberg(source):
            table = iceberg_files(source)
            return cls(source.name, table.filesystem, table.location, True, table.partitions, table.fragments)  # noqa: FBT003
        if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
            raise InvalidRequest(
                f"{source.name}: must be a Parquet FileSource or an IcebergSource, was {type(source).__name__}"
            )
        filesystem, path = locate(repo_path, source)
        if path.lower().endswith(_TEXT_FILES):
            raise InvalidRequest(
                f"{source.name}: must be Parquet, which has types, was {path}; write it so once: "
                f"pandas.read_csv(path, parse_dates=[{source.timestamp_field!r}]).to_parquet(...)"
            )
        with reading(path):
            below = named_files(filesystem, path)
            is_folder = below is not None
            if below is None:
                info = filesystem.get_file_info(path)
                if info.type == pafs.FileType.NotFound:
                    raise NotFound(f"{source.name}: file or folder must exist, was {path}")
                is_folder = info.type == pafs.FileType.Directory
                below = _listed(filesystem, path) if is_folder else []
            files = sorted(file for file in below if _is_visible(file, path)) if is_folder else [path]
            relative = {file: file.removeprefix(path).lstrip("/") if is_folder else "" for file in files}
            partitions = partition_schema(relative.values(), declared)
            hive = ds.partitioning(partitions, flavor="hive")
            make = ds.ParquetFileFormat().make_fragment
            fragments = [
                cast("ds.ParquetFileFragment", make(file, filesystem, hive.parse(relative[file]))) for file in files
            ]
        has_periods = source.tags.get(PERIOD_TAG) == PERIOD
        return cls(source.name, filesystem, path, is_folder, partitions, fragments, has_periods)

    def schema(self, fragments: Sequence[ds.ParquetFileFragment]) -> pa.Schema:
        """Columns of these files together. Raises CorruptStore when a file is unreadable or two disagree on a type."""
        self._read_footers(fragments)
        schemas = []
        for fragment in fragments:
            with reading(fragment.path):
                schemas.append(_without_dictionaries(fragment.physical_schema))
        with reading(self.path):
            return pa.unify_schemas([*schemas, self.partitions], promote_options="permissive")

    def select(
        self,
        columns: Sequence[str],
        *,
        time_field: str,
        low_ns: int | None,
        high_ns: int | None,
        keys: Mapping[str, pa.Array[Any]] | None = None,
        declared: Mapping[str, pa.DataType] | None = None,
    ) -> Selection:
        """What may hold rows between the times that have one of the keys.

        Files and row groups are left out as far as partitions and statistics allow it; what is left may hold other
        rows. A column that these files have not, but others have, is null; with no file at all every column is, of its
        declared type.

        Raises InvalidRequest when no file has a column, CorruptStore when a file is unreadable.
        """
        keys = keys or {}
        names = list(dict.fromkeys(columns))
        fragments = self._of_partitions(keys)
        if self.has_periods:
            # To open a file takes a third of a millisecond, and a year of eight groups has 3,000.
            fragments = [fragment for fragment in fragments if may_be_of(fragment.path, low_ns, high_ns)]
        schema = self.schema(fragments)
        if self.has_periods:
            fragments = sorted(fragments, key=_written)
        types = {time_field: UTC_NS, **(declared or {})}
        missing = [name for name in names if name not in schema.names]
        if missing and self.fragments:
            everywhere = self.schema(self.fragments)
            for name in missing:
                if name not in everywhere.names:
                    raise InvalidRequest(
                        f"{self.name}.{name}: must be a column of the source, which has {everywhere.names}"
                    )
                types[name] = everywhere.field(name).type
        types |= {field.name: field.type for field in schema}
        files = []
        for fragment in fragments:
            with reading(fragment.path):
                needed = needed_row_groups(fragment, time_field, low_ns, high_ns, keys)
                if needed is not None:
                    partition = ds.get_partition_keys(fragment.partition_expression)
                    files.append(SelectedFile(self.filesystem, needed, partition))
        return Selection(files, {name: types.get(name, pa.null()) for name in names})

    def _read_footers(self, fragments: Sequence[ds.ParquetFileFragment]) -> None:
        """Those of a store that is far away side by side: each waits for two answers, and a year has thousands."""
        if isinstance(self.filesystem, pafs.LocalFileSystem):
            return

        def read(fragment: ds.ParquetFileFragment) -> None:
            with reading(fragment.path):
                fragment.ensure_complete_metadata()

        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            list(pool.map(read, fragments))

    def _of_partitions(self, keys: Mapping[str, pa.Array[Any]]) -> list[ds.ParquetFileFragment]:
        filters = key_filters(self.partitions, keys)
        if not filters:
            return self.fragments
        dataset = ds.FileSystemDataset(
            list[ds.Fragment](self.fragments), self.partitions, ds.ParquetFileFormat(), self.filesystem
        )
        found = cast("Iterator[ds.ParquetFileFragment]", dataset.get_fragments(reduce(and_, filters)))
        wanted = {fragment.path for fragment in found}
        return [fragment for fragment in self.fragments if fragment.path in wanted]


def _written(fragment: ds.ParquetFileFragment) -> tuple[str, int, str]:
    """The order of files like our feature log's, whose footers are read; one that states no generation is the first."""
    generation = stated_generation(fragment.metadata.metadata)
    return written_order(fragment.path, -1 if generation is None else generation)


def _without_dictionaries(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema
    )


def _listed(filesystem: pafs.FileSystem, root: str) -> list[str]:
    found = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    return [entry.path for entry in found if entry.is_file]


def _is_visible(file: str, root: str) -> bool:
    """Hidden names are other programs' business: unfinished files, markers."""
    return not any(part.startswith((".", "_")) for part in file.removeprefix(root).split("/"))


def locate(repo_path: Path | None, source: FileSource) -> tuple[pafs.FileSystem, str]:
    uri, credentials = FileSource.get_uri_for_file_path(repo_path, source.path), source.resolve_credentials()
    if uri.startswith("s3://") and not source.s3_endpoint_override and not credentials:
        # As Feast makes it, it does not look for an endpoint in the environment.
        return pafs.FileSystem.from_uri(uri)
    filesystem, path = FileSource.create_filesystem_and_path(uri, source.s3_endpoint_override or "", credentials)
    if filesystem is not None:
        return filesystem, path
    return pafs.FileSystem.from_uri(path) if "://" in path else (pafs.LocalFileSystem(), path)


def ns_of(moment: datetime) -> int:
    """A naive datetime means UTC."""
    stamp = pd.Timestamp(moment)
    return int((stamp if stamp.tzinfo is not None else stamp.tz_localize("UTC")).as_unit("ns").value)
