"""Selected files: the row groups of Parquet files that may hold what was asked for, and their rows.

A file is read row group by row group, the columns asked for alone: Arrow's dataset scanner takes three times as long
for the same bytes, and holds many row groups at once. Of an object store the ranges of those columns are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import and_
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from feature_repo.parquet_errors import reading
from feature_repo.parquet_pruning import key_filters, subset, time_filters
from feature_repo.read_ahead import read_ahead


@dataclass(frozen=True, slots=True)
class SelectedFile:
    """The row groups of one file that may hold what was asked for."""

    filesystem: pafs.FileSystem
    fragment: ds.ParquetFileFragment
    partition: dict[str, Any]
    """Value by partition column, None for null."""

    @property
    def is_local(self) -> bool:
        """Whether small reads are cheap."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    @property
    def row_counts(self) -> list[int]:
        """Rows of each row group that was selected."""
        return [group.num_rows for group in self.fragment.row_groups]

    def read(
        self,
        types: Mapping[str, pa.DataType],
        *,
        dictionaries: Collection[str] = (),
        only: Sequence[int] | None = None,
    ) -> Iterator[pa.Table]:
        """One table a row group with the columns of ``types``; null where this file has not the column.

        dictionaries: columns that may come as dictionaries, not cast to their type. only: which of ``row_counts``.
        Raises CorruptStore when the file is unreadable, NotFound when it is gone.
        """
        held = set(self.fragment.physical_schema.names) - self.partition.keys()
        with (
            reading(self.fragment.path),
            self.filesystem.open_input_file(self.fragment.path) as handle,
            pq.ParquetFile(
                handle,
                metadata=self.fragment.metadata,
                read_dictionary=sorted(held & set(dictionaries)),
                pre_buffer=not self.is_local,  # it saves requests, and costs a copy
                page_checksum_verification=True,
            ) as file,
        ):
            present = [name for name in types if name in held]
            groups = self.fragment.row_groups
            for at in range(len(groups)) if only is None else only:
                group = groups[at]
                rows = file.read_row_group(group.id, columns=present)
                columns = []
                for name, kind in types.items():
                    if name in held:
                        column = rows.column(name)
                        is_kept = name in dictionaries or column.type == kind
                        columns.append(column if is_kept else column.cast(kind))
                    elif name in dictionaries:
                        index = pa.repeat(pa.scalar(0, pa.int32()), group.num_rows)
                        one = pa.array([self.partition.get(name)], kind)
                        columns.append(pa.chunked_array([pa.DictionaryArray.from_arrays(index, one)]))
                    else:
                        value: Any = pa.scalar(self.partition.get(name), kind)
                        columns.append(pa.chunked_array([pa.repeat(value, group.num_rows)]))
                yield pa.Table.from_arrays(columns, names=list(types))


def row_groups(
    files: Sequence[SelectedFile], types: Mapping[str, pa.DataType], *, dictionaries: Collection[str] = ()
) -> Iterator[pa.Table]:
    """The tables of ``SelectedFile.read`` of each file in order; those of an object store are read AHEAD."""
    if all(file.is_local for file in files):
        for file in files:
            yield from file.read(types, dictionaries=dictionaries)
        return

    def read(file: SelectedFile, at: int) -> pa.Table:
        return next(file.read(types, dictionaries=dictionaries, only=[at]))

    yield from read_ahead(partial(read, file, at) for file in files for at in range(len(file.row_counts)))


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a source has to be read, in physical order, and the types of the columns asked for."""

    files: list[SelectedFile]
    types: dict[str, pa.DataType]

    def tables(self) -> Iterator[pa.Table]:
        """One table a row group."""
        return row_groups(self.files, self.types)

    def table(self) -> pa.Table:
        """All rows in one table."""
        schema = pa.schema(list(self.types.items()))
        return pa.concat_tables([schema.empty_table(), *self.tables()])

    def narrowed(
        self, *, time_field: str, low_ns: int | None, high_ns: int | None, keys: Mapping[str, pa.Array[Any]]
    ) -> Selection:
        """What of it may hold rows between the times that have one of the keys; no file is opened again."""
        files = []
        for file in self.files:
            needed = needed_row_groups(file.fragment, time_field, low_ns, high_ns, keys)
            if needed is not None:
                files.append(SelectedFile(file.filesystem, needed, file.partition))
        return Selection(files, self.types)


def needed_row_groups(
    fragment: ds.ParquetFileFragment,
    time_field: str,
    low_ns: int | None,
    high_ns: int | None,
    keys: Mapping[str, pa.Array[Any]],
) -> ds.ParquetFileFragment | None:
    """The row groups that may hold such rows by their statistics; None where none may."""
    filters = key_filters(fragment.physical_schema, keys)
    if time_field in fragment.physical_schema.names:
        filters += time_filters(fragment.physical_schema.field(time_field), low_ns, high_ns)
    needed = subset(fragment, reduce(and_, filters)) if filters else fragment
    return needed if needed.row_groups else None
