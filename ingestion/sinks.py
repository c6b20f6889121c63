"""Where closed rows go: the feature log and the online store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ingestion.pipeline import ServedRows
from storage.feature_log import FeatureLogWriter
from storage.online import OnlineStore
from storage.online_vector import OnlineRow
from transforms.rows import FeatureRows
from transforms.status import REASON_NAMES


class FeatureLogSink:
    """Every row to Parquet."""

    def __init__(self, log: FeatureLogWriter) -> None:
        self._log = log

    def write(self, served: Sequence[ServedRows]) -> None:
        for each in served:
            self._log.append(each.rows, each.available_ns)

    def close(self) -> None:
        self._log.close()


class OnlineSink:
    """The newest row of each symbol to Feast's online store."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store

    def write(self, served: Sequence[ServedRows]) -> None:
        newest = [online_row(each.rows, int(each.available_ns[-1])) for each in served]
        self._store.write(newest, now_ns=max(row.available_ns for row in newest))

    def close(self) -> None:
        self._store.close()


def online_row(rows: FeatureRows, available_ns: int) -> OnlineRow:
    """The last of ``rows``, with the reasons of what it does not know."""
    assert rows.reasons is not None, "rows from the engine have reasons"
    reasons = rows.reasons[-1]
    return OnlineRow(
        symbol=rows.symbol,
        feature_set=rows.feature_set,
        row_ns=int(rows.row_ns[-1]),
        available_ns=available_ns,
        values=rows.values[-1],
        status=rows.status[-1],
        reasons={rows.feature_set.columns[at]: REASON_NAMES[reasons[at]] for at in np.flatnonzero(reasons)},
    )
