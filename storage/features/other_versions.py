"""Rows of other versions: at which times a symbol was served, as far as the log says, with other columns than a set's.

The version that is served changes behind a row. A set has no rows at these times, and nothing is missing there.
"""

from __future__ import annotations

import numpy as np

from storage.features.log import FeatureLog
from storage.features.part_times import Int64s, part_times, time_columns
from storage.features.parts import COMMON_COLUMNS, PART, parts_in_order, read_listed
from storage.features.served_ticks import read_served_ticks
from storage.instruments import checked_symbol
from storage.parquet_files import opened_parquet
from storage.places import Place, matching
from transforms.rows import FeatureSet

_NONE = np.empty(0, np.int64)


def times_of_other_versions(
    log: FeatureLog, symbol: str, feature_set: FeatureSet, *, from_ns: int, to_ns: int
) -> Int64s:
    """Times with ``from_ns <= row time < to_ns`` at which the log shows another set, int64 (n,), ascending.

    By served parts of groups or columns that are not the set's, and by the record of what readers were given.

    Raises CorruptStore for a damaged file, InvalidRequest when the symbol cannot name a folder.
    """
    columns = {(group.name, group.fingerprint): frozenset(group.columns) for group in feature_set.groups}
    found = [
        times
        for folder in matching(log.folder, f"*/*/symbol={checked_symbol(symbol)}")
        for times in _times(folder, columns.get((folder.parent.parent.name, folder.parent.name)), from_ns, to_ns)
    ]
    given, _, _ = read_served_ticks(log, symbol, from_ns=from_ns, to_ns=to_ns)
    own, _, _ = read_served_ticks(log, symbol, from_ns=from_ns, to_ns=to_ns, feature_set=feature_set.fingerprint)
    times = np.unique(np.concatenate([_NONE, *found, np.setdiff1d(given, own)]))
    return times[(times >= from_ns) & (times < to_ns)]


def _times(folder: Place, own: frozenset[str] | None, from_ns: int, to_ns: int) -> list[Int64s]:
    def parts() -> list[Place]:
        return [path for path in parts_in_order(folder, from_ns, to_ns) if path.name.startswith(PART)]

    def read(path: Place) -> Int64s:
        with opened_parquet(path) as file:
            if own is not None and own == frozenset(file.schema_arrow.names) - COMMON_COLUMNS:
                return _NONE
            return part_times(file.read(time_columns(file.schema_arrow)))[0]

    return read_listed(parts, read)
