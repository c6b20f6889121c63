"""An Iceberg table as the offline store reads it: the files of its current snapshot, each with what its partition says.

Feast's ``IcebergSource`` names the table, pyiceberg finds the files. Columns are told by their names, so a table of
which one was renamed is not read rightly; one that has deleted rows, which files alone do not show, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from feast.data_source import DataSource

from market.errors import InvalidRequest
from market.written_order import GENERATION, written_order

_FILE: Final = "file://"


@dataclass(frozen=True, slots=True)
class IcebergFiles:
    """location: of the table. fragments: in ``written_order``."""

    location: str
    filesystem: pafs.FileSystem
    partitions: pa.Schema
    fragments: list[ds.ParquetFileFragment]


def is_iceberg(source: DataSource) -> bool:
    return type(source).__name__ == "IcebergSource"


def iceberg_files(source: Any) -> IcebergFiles:  # noqa: ANN401  # Feast's IcebergSource, imported where there is one
    """The files of the table that the source names.

    Raises InvalidRequest for a catalogue of Feast's own client, and for a table with deleted rows.
    """
    if source.catalog_type == "rest":
        raise InvalidRequest(f"{source.name}: catalog_type must be one that pyiceberg opens, was 'rest'")
    catalog = source.get_catalog_client()
    try:
        table = catalog.load_table(f"{source.namespace}.{source.iceberg_table}")
        tasks = list(table.scan().plan_files())
    finally:
        catalog.close()
    schema = table.schema().as_arrow()
    names = [field.name for field in table.spec().fields if str(field.transform) == "identity"]
    partitions = pa.schema([(name, _plain(schema.field(name).type)) for name in names])
    at = names.index(GENERATION) if GENERATION in names else None
    fragments = []
    for task in sorted(
        tasks, key=lambda task: written_order(task.file.file_path, 0 if at is None else task.file.partition[at])
    ):
        if task.delete_files:
            raise InvalidRequest(
                f"{source.name}: must be a table without deleted rows, has some in {task.file.file_path}"
            )
        values = [
            pc.field(name) == pa.scalar(task.file.partition[at], partitions.field(name).type)
            for at, name in enumerate(names)
        ]
        filesystem, path = _located(task.file.file_path)
        make = ds.ParquetFileFormat().make_fragment
        fragments.append(
            cast("ds.ParquetFileFragment", make(path, filesystem, reduce(and_, values) if values else None))
        )
    filesystem = _located(tasks[0].file.file_path)[0] if tasks else pafs.LocalFileSystem()
    return IcebergFiles(table.location(), filesystem, partitions, fragments)


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(kind) else kind


def _located(address: str) -> tuple[pafs.FileSystem, str]:
    if address.startswith(_FILE):
        return pafs.LocalFileSystem(), address.removeprefix(_FILE)
    return pafs.FileSystem.from_uri(address) if "://" in address else (pafs.LocalFileSystem(), address)
