"""Rows of a log with history lags, as Feast would retrieve them from the log of a service that was so slow.

Feast reads the parts themselves, which state when each row could be read and know no lags. The rows are therefore read
from the log and joined with the function with which Feast's offline store joins them, group by group.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS
from storage.features.group_rows import AskedRows, read_versions
from storage.features.history_lags import HistoryLags
from storage.features.log import FeatureLog
from storage.features.part_times import stated_ns
from training_sets.request.request import LONGEST_LAG_NS
from transforms.rows import FeatureSet

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def with_history_lags(log: FeatureLog, lag_ms: tuple[int, ...] | None) -> FeatureLog:
    """The log as a dataset with these lags reads it; None leaves it as it is."""
    return log if lag_ms is None else replace(log, history_lags=HistoryLags(lag_ms))


def rows_as_of(log: FeatureLog, chosen: FeatureSet, symbol: str, row_ns: Int64s, had_ns: Int64s) -> Float64s:
    """What is known of a symbol at some moments: float64 (n, columns), NaN where nothing is.

    row_ns: int64 (n,), ascending, each readable at its moment. had_ns: int64 (n,), the moments, at most LONGEST_LAG_NS
    after their row. Memory holds the rows of a UTC date. Raises CorruptStore.
    """
    found = np.full((len(row_ns), len(chosen.columns)), np.nan)
    for day in np.split(np.arange(len(row_ns)), np.flatnonzero(np.diff(row_ns // DAY_NS)) + 1):
        if len(day) > 0:
            found[day] = _of_day(log, chosen, symbol, row_ns[day], had_ns[day])
    return found


def _of_day(log: FeatureLog, chosen: FeatureSet, symbol: str, row_ns: Int64s, had_ns: Int64s) -> Float64s:
    from feature_repo.as_of_join import NO_ROW, as_of_positions

    found = np.full((len(row_ns), len(chosen.columns)), np.nan)
    asked = AskedRows(
        from_ns=int(row_ns[0]),
        to_ns=int(row_ns[-1]) + LONGEST_LAG_NS + 1,
        may_lack=True,
        history_lags=log.history_lags,
    )
    for group in chosen.groups:
        rows = read_versions(log.of_symbol(group, symbol), group, symbol, asked)
        position = as_of_positions(
            np.zeros(len(had_ns), np.int64),
            stated_ns(had_ns),
            row_group=np.zeros(len(rows.row_ns), np.int64),
            event_ns=rows.row_ns,
            created_ns=stated_ns(rows.created_ns),
            ttl_ns=LONGEST_LAG_NS,
            bitemporal=True,
        )
        is_known = position != NO_ROW
        found[np.ix_(is_known, np.array(group.indices, np.int64))] = rows.values[position[is_known]]
    return found
