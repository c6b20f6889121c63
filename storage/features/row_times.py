"""Row times: which rows the feature log has of a symbol, and when each could be read as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from storage.features.log import FeatureLog
from storage.features.part_times import Int64s, part_times, time_columns
from storage.features.parts import parts_in_order, read_listed, row_groups_of_period
from storage.parquet_files import opened_parquet
from storage.places import Place
from transforms.rows import FeatureGroup, FeatureSet

_NONE: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class RowTimes:
    """Times of rows, ascending, and when each could be read as it is now, and as it was known first: int64 (n,) ns.

    The last two differ where a row is in the log more than once: the log's reader takes the one that was created last.
    """

    row_ns: Int64s
    available_ns: Int64s
    first_ns: Int64s

    def __len__(self) -> int:
        return len(self.row_ns)

    def only(self, chosen: Int64s | slice) -> RowTimes:
        return RowTimes(self.row_ns[chosen], self.available_ns[chosen], self.first_ns[chosen])


def read_row_times(log: FeatureLog, symbol: str, feature_set: FeatureSet, *, from_ns: int, to_ns: int) -> RowTimes:
    """The rows in [from_ns, to_ns] that every group with rows there has.

    A row is readable when the last of its groups is.

    Raises CorruptStore, InvalidRequest when the symbol cannot name a folder.
    """
    found: RowTimes | None = None
    for group in feature_set.groups:
        of_group = _group_times(log, symbol, group, (from_ns, to_ns))
        if len(of_group):
            found = of_group if found is None else _of_both(found, of_group)
    return RowTimes(_NONE, _NONE, _NONE) if found is None else found


def _of_both(one: RowTimes, other: RowTimes) -> RowTimes:
    if not np.array_equal(one.row_ns, other.row_ns):
        _, at, of = np.intersect1d(one.row_ns, other.row_ns, assume_unique=True, return_indices=True)
        one, other = one.only(at), other.only(of)
    return RowTimes(
        one.row_ns,
        np.maximum(one.available_ns, other.available_ns),
        np.maximum(one.first_ns, other.first_ns),
    )


def _group_times(log: FeatureLog, symbol: str, group: FeatureGroup, period: tuple[int, int]) -> RowTimes:
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
        row_ns, available_ns, first_ns = event_ns, created_ns, created_ns
    else:
        row_ns, at = np.unique(event_ns, return_inverse=True)
        available_ns, first_ns = np.zeros(len(row_ns), np.int64), np.full(len(row_ns), np.iinfo(np.int64).max)
        np.maximum.at(available_ns, at, created_ns)
        np.minimum.at(first_ns, at, created_ns)
    wanted = slice(*np.searchsorted(row_ns, (from_ns, to_ns + 1)).tolist())
    return RowTimes(row_ns, available_ns, first_ns).only(wanted)
