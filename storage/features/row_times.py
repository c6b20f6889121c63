"""Row times: which rows the feature log has of a symbol, and when each could be read as a whole."""

from __future__ import annotations

from typing import Final

import numpy as np

from storage.features.log import FeatureLog
from storage.features.part_times import Int64s, part_times, time_columns
from storage.features.parts import parts_in_order, read_listed, row_groups_of_period
from storage.parquet_files import opened_parquet
from storage.places import Place
from transforms.rows import FeatureGroup, FeatureSet

_NONE: Final = np.empty(0, np.int64)


def read_row_times(
    log: FeatureLog, symbol: str, feature_set: FeatureSet, *, from_ns: int, to_ns: int, is_first: bool = False
) -> tuple[Int64s, Int64s]:
    """Times of the rows in [from_ns, to_ns] that every group with rows there has, and when each could be read.

    Both int64 (n,), ascending by row time. A row that is in the log twice counts as available with its later created
    time, as the log's reader takes that one; is_first: with its earlier one, when it was as it was known first. A row
    is readable when the last of its groups is.

    Raises CorruptStore, InvalidRequest when the symbol cannot name a folder.
    """
    row_ns, available_ns = _NONE, _NONE
    is_begun = False
    for group in feature_set.groups:
        of_group = _group_times(log, symbol, group, (from_ns, to_ns), is_first=is_first)
        if len(of_group[0]) == 0:
            continue
        if not is_begun:
            row_ns, available_ns = of_group
            is_begun = True
            continue
        if np.array_equal(row_ns, of_group[0]):
            available_ns = np.maximum(available_ns, of_group[1])
            continue
        row_ns, at, of = np.intersect1d(row_ns, of_group[0], assume_unique=True, return_indices=True)
        available_ns = np.maximum(available_ns[at], of_group[1][of])
    return row_ns, available_ns


def _group_times(
    log: FeatureLog, symbol: str, group: FeatureGroup, period: tuple[int, int], *, is_first: bool
) -> tuple[Int64s, Int64s]:
    from_ns, to_ns = period
    folder = log.of_symbol(group, symbol)

    def read(path: Place) -> tuple[Int64s, Int64s]:
        with opened_parquet(path) as file:
            if not set(group.columns) <= set(file.schema_arrow.names):
                return _NONE, _NONE  # written for a registry version that names fewer of the group's features
            row_groups = row_groups_of_period(file, from_ns, to_ns + 1)
            table = file.read_row_groups(row_groups, time_columns(file.schema_arrow))
        return part_times(table)

    found = read_listed(lambda: parts_in_order(folder, from_ns, to_ns + 1), read)
    event_ns = np.concatenate([_NONE, *(event_ns for event_ns, _ in found)])
    created_ns = np.concatenate([_NONE, *(created_ns for _, created_ns in found)])
    if log.history_lags is not None:
        created_ns = log.history_lags.readable_ns(event_ns, created_ns)
    # Rows that are there once and in order, as those of rebuilt days are, need no sorting, which costs the most.
    if (np.diff(event_ns) > 0).all():
        row_ns, available_ns = event_ns, created_ns
    else:
        row_ns, at = np.unique(event_ns, return_inverse=True)
        available_ns = np.full(len(row_ns), np.iinfo(np.int64).max if is_first else 0, np.int64)
        (np.minimum if is_first else np.maximum).at(available_ns, at, created_ns)
    wanted = slice(*np.searchsorted(row_ns, (from_ns, to_ns + 1)).tolist())
    return row_ns[wanted], available_ns[wanted]
