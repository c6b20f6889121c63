"""The columns of published tables, from the files that are in them, and what Iceberg keeps of a file.

Files have no field ids: columns are told by name, by the table's name mapping. Whole numbers of one byte are ``int``
there, as Iceberg has no shorter one. A column that a file has not is null, where a partition does not say what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    DateType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from market.errors import CorruptStore
from storage.features.part_times import TIME

NAME_MAPPING: Final = "schema.name-mapping.default"
_TYPES: Final[Mapping[pa.DataType, IcebergType]] = {
    pa.int8(): IntegerType(),
    pa.int64(): LongType(),
    pa.float64(): DoubleType(),
    pa.string(): StringType(),
    TIME: TimestamptzType(),
}
_FIRST_PARTITION_ID: Final = 1000
_EPOCH: Final = date(1970, 1, 1)


def column_types(schema: pa.Schema, thing: str) -> dict[str, IcebergType]:
    """The columns of a file. Raises CorruptStore naming ``thing`` for a type that none of our files has."""
    found: dict[str, IcebergType] = {}
    for field in schema:
        if field.type not in _TYPES:
            raise CorruptStore(f"{thing} {field.name}: must be one of {[*map(str, _TYPES)]}, was {field.type}")
        found[field.name] = _TYPES[field.type]
    return found


def new_schema(columns: Mapping[str, IcebergType], partitioned_by: Iterable[str]) -> Schema:
    """A table's first schema: the partitions, then the columns of its files, none required, as files may lack one."""
    of_partition = {
        name: {"symbol": StringType(), "date": DateType()}.get(name, IntegerType()) for name in partitioned_by
    }
    fields = enumerate({**of_partition, **columns}.items(), start=1)
    return Schema(*(NestedField(at, name, kind, required=False) for at, (name, kind) in fields))


def partition_spec(schema: Schema, partitioned_by: Iterable[str]) -> PartitionSpec:
    """By the values themselves, so that readers take them where a file does not state them."""
    return PartitionSpec(
        *(
            PartitionField(schema.find_field(name).field_id, _FIRST_PARTITION_ID + at, IdentityTransform(), name)
            for at, name in enumerate(partitioned_by)
        )
    )


def data_file(
    table: TableMetadata, address: str, size: int, footer: pq.FileMetaData, partition: Iterable[str | int | date]
) -> DataFile:
    """What a manifest of the table says of a file. table: with every column of the file."""
    schema = table.schema()
    first = footer.row_group(0)
    unstated = {first.column(at).path_in_schema for at in range(first.num_columns) if not first.column(at).is_stats_set}
    plan = {**table.properties, **{f"write.metadata.metrics.column.{name}": "none" for name in unstated}}
    stated = data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer,
        stats_columns=compute_statistics_plan(schema, plan),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    values: list[Any] = [(value - _EPOCH).days if isinstance(value, date) else value for value in partition]
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=address,
        file_format=FileFormat.PARQUET,
        partition=Record(*values),
        file_size_in_bytes=size,
        sort_order_id=None,
        spec_id=table.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **stated.to_serialized_dict(),
    )
