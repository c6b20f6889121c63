"""Parquet as the offline store reads and writes it: a file, a folder of files, or a folder partitioned as hive does."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from market.errors import CorruptStore, InvalidRequest, NotFound

Column: TypeAlias = "pa.ChunkedArray[Any]"

UTC_NS: Final = pa.timestamp("ns", "UTC")
_UNIT_NS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
_PART: Final = re.compile(r"part-(\d{8})\.parquet")
# A longer list of keys prunes next to no row group and is compared with the statistics of each.
_LARGEST_KEY_FILTER: Final = 1_000


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file, or the Parquet files below a folder with the partition columns that its hive path spells."""

    name: str
    filesystem: pafs.FileSystem
    path: str
    is_folder: bool
    partitions: pa.Schema
    fragments: list[ds.Fragment]
    """In physical order."""

    @classmethod
    def open(cls, repo_path: Path | None, source: DataSource, declared: Mapping[str, pa.DataType]) -> ParquetSource:
        """List the files; no file is read. Raises NotFound when there is nothing at the path."""
        if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
            raise InvalidRequest(f"{source.name}: must be a Parquet FileSource, was {type(source).__name__}")
        filesystem, path = locate(repo_path, source)
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
        types = {time_field: UTC_NS, **(declared or {})}
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
            write_file(pa.concat_tables([written, table]), self.filesystem, self.path)
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
            write_file(rows.drop_columns(names), self.filesystem, f"{folder}/part-{number:08d}.parquet")


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


def locate(repo_path: Path | None, source: FileSource) -> tuple[pafs.FileSystem, str]:
    uri = FileSource.get_uri_for_file_path(repo_path, source.path)
    filesystem, path = FileSource.create_filesystem_and_path(
        uri, source.s3_endpoint_override or "", source.resolve_credentials()
    )
    if filesystem is not None:
        return filesystem, path
    return pafs.FileSystem.from_uri(path) if "://" in path else (pafs.LocalFileSystem(), path)


def write_file(table: pa.Table, filesystem: pafs.FileSystem, path: str) -> None:
    """Write beside, then move: nobody sees half a file."""
    folder, _, name = path.rpartition("/")
    unfinished = f"{folder}/.{name}.unfinished"
    pq.write_table(table, unfinished, filesystem=filesystem)
    filesystem.move(unfinished, path)


@contextmanager
def locked(folder: str) -> Iterator[None]:
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


def ns_of(moment: datetime) -> int:
    """A naive datetime means UTC."""
    stamp = pd.Timestamp(moment)
    return int((stamp if stamp.tzinfo is not None else stamp.tz_localize("UTC")).as_unit("ns").value)
