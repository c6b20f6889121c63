"""History: a symbol's rows over a period as the feature log holds them, a UTC day at a time.

1. Each group is read alone: of rows of one time the latest created wins, and with ``as_of_ns`` the latest that was
   readable by then.
2. Groups are joined by row time. A group that has not a time of another is NaN there: it was added, or rebuilt, later.
3. Beside the values stands each group's status, for a value of 0 or of long ago is told from a known one by it alone.

One day is held at a time, so a period may be as long as the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market.clock import DAY_NS, floor_to, format_period, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.group_rows import AskedRows, GroupRows, read_group
from storage.features.log import FeatureLog, no_rows
from storage.features.part_times import Int64s
from storage.features.statuses import NO_ROW
from storage.places import matching
from transforms.rows import FeatureGroup, FeatureSet
from transforms.status import STATUS_NAMES

Statuses = npt.NDArray[np.int8]
_TIME: Final = pa.timestamp("ns", tz="UTC")
_STATUS: Final = pa.dictionary(pa.int8(), pa.string())
_NAMES: Final = pa.array(STATUS_NAMES)


@dataclass(frozen=True, slots=True)
class History:
    """What is asked of the log; iterating reads it again.

    groups: each with the columns asked of it and, as indices, their places in the result. as_of_ns: only what was
    readable by then; None is what is known now.
    """

    log: FeatureLog
    symbol: str
    groups: tuple[FeatureGroup, ...]
    from_ns: int
    to_ns: int
    as_of_ns: int | None = None

    def __post_init__(self) -> None:
        """Raises InvalidRequest for a period that ends before it begins, NotFound when the symbol has no row at all."""
        if self.from_ns >= self.to_ns:
            raise InvalidRequest(f"period: must begin before it ends, was {format_period(self.from_ns, self.to_ns)}")
        folders = [self.log.of_symbol(group, self.symbol) for group in self.groups]
        if not any(folder.is_dir() for folder in folders):
            names = ", ".join(group.name for group in self.groups)
            raise no_rows(self.symbol, f"{names} in {self.log.folder}")

    @property
    def columns(self) -> list[str]:
        """The features in the order asked."""
        placed = {at: name for group in self.groups for at, name in zip(group.indices, group.columns, strict=True)}
        return [placed[at] for at in range(len(placed))]

    @property
    def schema(self) -> pa.Schema:
        """symbol, timestamp (the row time) and available (when it was readable as a whole), UTC; then float64.

        Last the status of each group, named as ``status_column`` does; null where the group has no row.
        """
        types: dict[str, pa.DataType] = {"symbol": pa.string(), "timestamp": _TIME, "available": _TIME}
        types |= dict.fromkeys(self.columns, pa.float64())
        statuses = [pa.field(status_column(group.name), _STATUS) for group in self.groups]
        return pa.schema([*(pa.field(name, kind, nullable=False) for name, kind in types.items()), *statuses])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """A batch for each UTC day that has rows, ascending; NaN is "not known". Raises CorruptStore."""
        schema = self.schema
        for row_ns, available_ns, values, statuses in self._days():
            columns: list[pa.Array[Any]] = [
                pa.repeat(self.symbol, len(row_ns)),
                pa.array(row_ns).cast(_TIME),
                pa.array(available_ns).cast(_TIME),
                # from_pandas would turn NaN into null.
                *(pa.array(column, from_pandas=False) for column in values.T),
                *(pa.DictionaryArray.from_arrays(pa.array(told, mask=told == NO_ROW), _NAMES) for told in statuses.T),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _days(self) -> Iterator[tuple[Int64s, Int64s, npt.NDArray[np.float64], Statuses]]:
        for day_ns in self._dates():
            begin, end = max(self.from_ns, day_ns), min(self.to_ns, day_ns + DAY_NS)
            asked = AskedRows(
                from_ns=begin,
                to_ns=end,
                as_of_ns=self.as_of_ns,
                may_lack=True,
                history_lags=self.log.history_lags,
            )
            read = [
                (group, read_group(self.log.of_symbol(group, self.symbol), group, self.symbol, asked))
                for group in self.groups
            ]
            joined = _joined(read, len(self.columns))
            if len(joined[0]):
                yield joined

    def _dates(self) -> list[int]:
        """The UTC days of the period of which a group may have rows, ascending."""
        dates = {
            parse_iso_ns(folder.name.removeprefix("date="))
            for group in self.groups
            for folder in matching(self.log.of_symbol(group, self.symbol), "date=*")
        }
        return sorted(day for day in dates if floor_to(self.from_ns, DAY_NS) <= day < self.to_ns)


def status_column(group: str) -> str:
    """The column of a group's status, as ``position:status``: no feature has a colon in its name."""
    return f"{group}:status"


def _joined(
    read: Sequence[tuple[FeatureGroup, GroupRows]], width: int
) -> tuple[Int64s, Int64s, npt.NDArray[np.float64], Statuses]:
    row_ns = np.unique(np.concatenate([rows.row_ns for _, rows in read]))
    available_ns = np.zeros(len(row_ns), np.int64)
    values = np.full((len(row_ns), width), np.nan)
    statuses = np.full((len(row_ns), len(read)), NO_ROW, np.int8)
    for number, (group, rows) in enumerate(read):
        at = np.searchsorted(row_ns, rows.row_ns)
        values[np.ix_(at, np.array(group.indices, np.int64))] = rows.values
        statuses[at, number] = rows.status
        available_ns[at] = np.maximum(available_ns[at], rows.created_ns)
    return row_ns, available_ns, values, statuses


def groups_with(chosen: FeatureSet, features: Sequence[str] | None) -> tuple[FeatureGroup, ...]:
    """The groups that hold these columns of a set, each with those alone, placed in the order asked.

    features: names, or ``group:name``; None asks for every column. Raises InvalidRequest for one that the set has not,
    and for no name at all.
    """
    features = chosen.columns if features is None else features
    if not features:
        raise InvalidRequest("features: must be one name at least, was none; every feature is had by leaving them out")
    names = [feature.rpartition(":")[2] for feature in features]
    of_group: dict[int, list[tuple[str, int]]] = {}
    for at, (name, asked) in enumerate(zip(names, features, strict=True)):
        index = chosen.group_of.get(name)
        if index is None or asked not in {name, f"{chosen.groups[index].name}:{name}"}:
            raise InvalidRequest(
                f"features: must be of registry version {chosen.version}, was {asked!r}; "
                "feature-service features list, or GET /features/list, names them"
            )
        of_group.setdefault(index, []).append((name, at))
    if len(set(names)) != len(names):
        raise InvalidRequest(f"features: must name each feature once, was {list(features)}")
    return tuple(
        replace(
            chosen.groups[index],
            columns=tuple(name for name, _ in placed),
            indices=tuple(at for _, at in placed),
        )
        for index, placed in sorted(of_group.items())
    )
