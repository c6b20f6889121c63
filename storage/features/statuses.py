"""Statuses: what the feature log says of a group at some times, read without its values."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from market.errors import CorruptStore
from storage.durable_files import FileVersion, file_version
from storage.features.log import FeatureLog
from storage.features.part_times import Int64s, part_times, time_columns
from storage.features.parts import STATUS, parts_in_order, read_listed, row_groups_of_period
from storage.parquet_files import opened_parquet, reading_parquet
from storage.places import Place
from transforms.rows import FeatureGroup
from transforms.status import STATUS_NAMES

NO_ROW: Final = -1
"""In place of a status: the group has no row at that time."""
MOST_READ: Final = 4_096
"""Parts at some times each, which a process remembers: the dates that a dataset's report looks at, and later ones."""
_NAMES: Final = pa.array(STATUS_NAMES)


def read_statuses(log: FeatureLog, symbol: str, group: FeatureGroup, times_ns: Int64s) -> npt.NDArray[np.int8]:
    """Of ascending row times, one at least: int8 (n,), values of ``transforms.status``, NO_ROW where there is none.

    Of a row that is in the log twice the one that was readable last counts, as for the log's reader. Raises
    CorruptStore, InvalidRequest when the symbol cannot name a folder.
    """
    folder = log.of_symbol(group, symbol)
    from_ns, to_ns = int(times_ns[0]), int(times_ns[-1]) + 1

    asked = times_ns.tobytes()

    def read(path: Place) -> tuple[Int64s, Int64s, Int64s] | None:
        with reading_parquet(path):
            version = file_version(path)
        return _read(path, version, group.columns, asked)

    found = [each for each in read_listed(lambda: parts_in_order(folder, from_ns, to_ns), read) if each is not None]
    statuses = np.full(len(times_ns), NO_ROW, np.int8)
    if not found:
        return statuses
    event_ns, created_ns, codes = (np.concatenate(each) for each in zip(*found, strict=True))
    if log.history_lags is not None:
        created_ns = log.history_lags.readable_ns(event_ns, created_ns)
    if not (np.diff(event_ns) > 0).all():
        order = np.lexsort((created_ns, event_ns))
        event_ns, codes = event_ns[order], codes[order]
    last = np.searchsorted(event_ns, times_ns, side="right") - 1
    is_found = (last >= 0) & (event_ns[np.maximum(last, 0)] == times_ns)
    statuses[is_found] = codes[last[is_found]]
    return statuses


@lru_cache(maxsize=MOST_READ)
def _read(
    path: Place, _version: FileVersion, columns: tuple[str, ...], asked: bytes
) -> tuple[Int64s, Int64s, Int64s] | None:
    """Row times, created times and codes of a part's rows at the asked times; None of one without all columns."""
    times_ns = np.frombuffer(asked, np.int64)
    with opened_parquet(path) as file:
        if not set(columns) <= set(file.schema_arrow.names):
            return None  # written for a registry version that names fewer of the group's features
        chosen = row_groups_of_period(file, int(times_ns[0]), int(times_ns[-1]) + 1)
        table = file.read_row_groups(chosen, [*time_columns(file.schema_arrow), STATUS])
    codes = pc.index_in(table.column(STATUS), value_set=_NAMES)
    if codes.null_count:
        raise CorruptStore(f"{path} {STATUS}: must be one of {STATUS_NAMES}, was another")
    event_ns, created_ns = part_times(table)
    at = np.flatnonzero(np.isin(event_ns, times_ns))
    return event_ns[at], created_ns[at], codes.cast(pa.int64()).to_numpy()[at]
