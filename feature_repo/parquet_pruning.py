"""Which files and row groups may hold what is asked for, by partitions and statistics, as filters of Arrow's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from market.clock import MICROSECOND_NS

HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


PERIOD_TAG: Final = "files_are_named_by"
"""Tag of a source that says what the names of its files state."""
PERIOD: Final = "period"
"""The value of ``PERIOD_TAG`` of one like our feature log: ``<kind>-<first row>-<last row>…``, times in ns."""
_NAMED: Final = re.compile(r"[a-z]+-(\d{1,19})-(\d{1,19})(?:-[0-9a-f-]+)?\.parquet")
_UNIT_NS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


# A longer list of keys prunes next to no row group and is compared with the statistics of each.
_LARGEST_KEY_FILTER: Final = 1_000


def key_filters(schema: pa.Schema, keys: Mapping[str, pa.Array[Any]]) -> list[pc.Expression]:
    """Filters by the keys' distinct values, ``keys``."""
    filters = []
    for name, values in keys.items():
        if name not in schema.names or not 0 < len(values) <= _LARGEST_KEY_FILTER:
            continue
        try:
            filters.append(pc.field(name).isin(values.cast(schema.field(name).type)))
        except pa.ArrowException:
            continue  # nothing is pruned; the join names a key of a wrong type, or finds none
    return filters


def time_filters(field: pa.Field[Any], low_ns: int | None, high_ns: int | None) -> list[pc.Expression]:
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


def may_be_of(path: str, low_ns: int | None, high_ns: int | None) -> bool:
    """Whether a file named by its period may hold rows between these times; one of another name may hold any."""
    named = _NAMED.fullmatch(path.rpartition("/")[2])
    if named is None:
        return True
    # A file holds times rounded to microseconds.
    first_ns, last_ns = int(named[1]) - MICROSECOND_NS, int(named[2]) + MICROSECOND_NS
    return (low_ns is None or last_ns >= low_ns) and (high_ns is None or first_ns <= high_ns)


def subset(fragment: ds.ParquetFileFragment, wanted: pc.Expression) -> ds.ParquetFileFragment:
    subset: Any = fragment.subset  # its stub returns the file format
    return cast("ds.ParquetFileFragment", subset(wanted, schema=fragment.physical_schema))


def partition_schema(paths: Iterable[str], declared: Mapping[str, pa.DataType]) -> pa.Schema:
    """Partition columns of hive paths: of their declared type, else int64 where all values are whole numbers."""
    values: dict[str, set[str]] = {}
    for path in paths:
        for segment in path.split("/")[:-1]:
            name, is_hive, value = segment.partition("=")
            if is_hive:
                values.setdefault(name, set()).add(unquote(value))
    return pa.schema([(name, declared.get(name) or _partition_type(found)) for name, found in values.items()])


def _partition_type(values: set[str]) -> pa.DataType:
    is_whole = all(re.fullmatch(r"0|-?[1-9]\d{0,17}", value) for value in values - {HIVE_NULL})
    return pa.int64() if is_whole else pa.string()
