"""Times of a part: what is on the disk, and what readers make of it.

event_timestamp and created_timestamp are microseconds, as open table formats have no finer time. A row time is lossless
so. The created time is rounded up, so that whoever goes by it never knows a row before it was readable; beside it
``available_ns`` is exact. At any time of whole microseconds both say the same.

Parts that were written before state both times in nanoseconds and have no ``available_ns``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from market.clock import MICROSECOND_NS

Int64s = npt.NDArray[np.int64]

EVENT: Final = "event_timestamp"
CREATED: Final = "created_timestamp"
AVAILABLE: Final = "available_ns"
TIME: Final = pa.timestamp("us", tz="UTC")
TIME_BEFORE: Final = pa.timestamp("ns", tz="UTC")
"""Of both times in parts that were written before."""


def time_columns(schema: pa.Schema) -> list[str]:
    """The columns that ``part_times`` needs of a part with this schema."""
    return [EVENT, CREATED if schema.get_field_index(AVAILABLE) < 0 else AVAILABLE]


def part_times(table: pa.Table) -> tuple[Int64s, Int64s]:
    """Row times and when each row was readable, int64 (n,) ns each, of a part's rows with ``time_columns``."""
    event_ns = table.column(EVENT).cast(TIME_BEFORE).cast(pa.int64()).to_numpy()
    available = table.column(AVAILABLE if AVAILABLE in table.column_names else CREATED)
    return event_ns, available.cast(pa.int64()).to_numpy()


def stated_ns(available_ns: Int64s) -> Int64s:
    """When rows are readable to whoever goes by their created time, int64 ns: rounded up to a microsecond."""
    return -(-available_ns // MICROSECOND_NS) * MICROSECOND_NS


def stated_times(row_ns: Int64s, available_ns: Int64s) -> list[pa.Array[Any]]:
    """The three columns of a part. row_ns: of whole microseconds."""
    return [
        pa.array(row_ns).cast(TIME_BEFORE).cast(TIME),  # raises where something would be lost
        pa.array(stated_ns(available_ns)).cast(TIME_BEFORE).cast(TIME),
        pa.array(available_ns),
    ]


def times_in_microseconds(table: pa.Table) -> pa.Table:
    """The rows of a part as they are written now, whenever it was written."""
    if AVAILABLE in table.column_names:
        return table
    event, created, available = stated_times(*part_times(table))
    fields: list[pa.Field[Any]] = [pa.field(EVENT, TIME, nullable=False), pa.field(CREATED, TIME, nullable=False)]
    kept = [name for name in table.column_names if name not in {EVENT, CREATED}]
    fields += [pa.field(AVAILABLE, pa.int64(), nullable=False), *(table.schema.field(name) for name in kept)]
    schema = pa.schema(fields).with_metadata(dict(table.schema.metadata or {}))
    return pa.Table.from_arrays([event, created, available, *(table.column(name) for name in kept)], schema=schema)


def event_unit_ns(file: pq.ParquetFile) -> int:
    """How long one step of the row times that the file's statistics state is."""
    is_before = file.schema_arrow.field(EVENT).type == TIME_BEFORE
    return 1 if is_before else MICROSECOND_NS
