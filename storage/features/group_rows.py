"""The rows of one group of one symbol, read from the parts of the feature log that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from market.clock import format_iso
from market.errors import CorruptStore
from storage.features.history_lags import HistoryLags
from storage.features.part_times import Int64s, part_times, time_columns
from storage.features.parts import (
    PART,
    STATUS,
    check_part,
    parts_in_order,
    read_listed,
    row_groups_of_period,
)
from storage.parquet_files import opened_parquet
from storage.places import Place
from transforms.rows import FeatureGroup, FeatureSet
from transforms.status import STATUS_NAMES


@dataclass(frozen=True, slots=True)
class GroupRows:
    """One group's rows, ascending and without duplicates, unless they are ``read_versions``."""

    row_ns: Int64s
    created_ns: Int64s
    values: npt.NDArray[np.float64]
    status: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRows:
    """Which rows of a group are read: ``from_ns <= row time < to_ns``, None is no bound.

    served_only: pass over rebuilt days. as_of_ns: only rows that were readable by then. may_lack: of a part that was
    written for a version that names fewer features the others are NaN; else its rows count as not computed.
    history_lags: of the log that is read.
    """

    from_ns: int | None
    to_ns: int | None
    served_only: bool = False
    as_of_ns: int | None = None
    may_lack: bool = False
    history_lags: HistoryLags | None = None


def read_group(folder: Place, group: FeatureGroup, symbol: str, asked: AskedRows) -> GroupRows:
    """The rows below a symbol's folder of the group. Raises CorruptStore."""
    read = read_versions(folder, group, symbol, asked)
    kept = _kept_rows(read.row_ns, read.created_ns, asked)
    return GroupRows(read.row_ns[kept], read.created_ns[kept], read.values[kept], read.status[kept])


def read_versions(folder: Place, group: FeatureGroup, symbol: str, asked: AskedRows) -> GroupRows:
    """Every version of these rows, in the order in which they were written, some outside the period among them.

    Raises CorruptStore.
    """

    def parts() -> list[Place]:
        listed = parts_in_order(folder, asked.from_ns, asked.to_ns)
        return [path for path in listed if path.name.startswith(f"{PART}-") or not asked.served_only]

    def read(path: Place) -> pa.Table | None:
        with opened_parquet(path) as file:
            known = set(file.schema_arrow.names)
            held = tuple(name for name in group.columns if name in known)
            if not (held if asked.may_lack else held == group.columns):
                return None
            check_part(file, path, replace(group, columns=held), symbol)
            row_groups = row_groups_of_period(file, asked.from_ns, asked.to_ns)
            return file.read_row_groups(row_groups, [*time_columns(file.schema_arrow), *held, STATUS])

    tables = [table for table in read_listed(parts, read) if table is not None]
    count = sum(table.num_rows for table in tables)
    row_ns, created_ns = np.empty(count, np.int64), np.empty(count, np.int64)
    # A column in one piece, as it is read: the reader lays the groups' columns side by side.
    values, status = np.empty((count, len(group.columns)), order="F"), np.empty(count, np.int8)
    start = 0
    for table in tables:
        end = start + table.num_rows
        row_ns[start:end], created_ns[start:end] = part_times(table)
        for index, name in enumerate(group.columns):
            values[start:end, index] = table.column(name).to_numpy() if name in table.column_names else np.nan
        codes = pc.index_in(table.column(STATUS), value_set=pa.array(STATUS_NAMES))
        if codes.null_count:
            raise CorruptStore(f"{folder} {STATUS}: must be one of {STATUS_NAMES}, was another")
        status[start:end] = codes.to_numpy()
        start = end
    if asked.history_lags is not None:
        created_ns = asked.history_lags.readable_ns(row_ns, created_ns)
    if asked.as_of_ns is not None:
        is_known = created_ns <= asked.as_of_ns
        row_ns, created_ns, values, status = row_ns[is_known], created_ns[is_known], values[is_known], status[is_known]
    return GroupRows(row_ns, created_ns, values, status)


def _kept_rows(row_ns: Int64s, created_ns: Int64s, asked: AskedRows) -> Int64s | slice:
    """Which of the rows that were read are asked for, in order, of each time the last written."""
    count = len(row_ns)
    if (np.diff(row_ns) > 0).all():
        # As those of one part, or of days that follow each other: nothing is sorted or copied.
        first = 0 if asked.from_ns is None else int(np.searchsorted(row_ns, asked.from_ns))
        return slice(first, count if asked.to_ns is None else int(np.searchsorted(row_ns, asked.to_ns)))
    # Stable: of one row time and one created time, the part and then the position written last stays last.
    order = np.lexsort((created_ns, row_ns))
    sorted_ns = row_ns[order]
    is_last = np.append(sorted_ns[1:] != sorted_ns[:-1], np.ones(min(count, 1), np.bool_))
    in_period = np.ones(count, np.bool_)
    if asked.from_ns is not None:
        in_period &= sorted_ns >= asked.from_ns
    if asked.to_ns is not None:
        in_period &= sorted_ns < asked.to_ns
    return order[is_last & in_period]


def whole_rows(groups: Sequence[GroupRows]) -> list[GroupRows]:
    """Of each group the rows at the times that every one of them has."""
    common = groups[0].row_ns
    for group in groups[1:]:
        common = np.intersect1d(common, group.row_ns, assume_unique=True)
    found = []
    for group in groups:
        at = np.searchsorted(group.row_ns, common)
        found.append(GroupRows(common, group.created_ns[at], group.values[at], group.status[at]))
    return found


def raise_missing_row(symbol: str, feature_set: FeatureSet, groups: list[GroupRows]) -> NoReturn:
    """Raises CorruptStore naming the first row that a group lacks and another has."""
    everywhere = np.unique(np.concatenate([read.row_ns for read in groups]))
    missing = {
        group.name: int(lacking[0])
        for group, read in zip(feature_set.groups, groups, strict=True)
        if len(lacking := np.setdiff1d(everywhere, read.row_ns))
    }
    name, row_ns = min(missing.items(), key=lambda entry: entry[1])
    raise CorruptStore(
        f"feature log of {symbol}, group {name}: must have every row the other groups have, was without "
        f"{format_iso(row_ns)}"
    )
