"""Rows of one source between two times, as materialization and saved data sets ask for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from feature_repo.as_of_join import NULL_NS, Int64Array, times_ns
from feature_repo.parquet_source import UTC_NS, ParquetSource, ns_of
from market.errors import NotFound

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceRows:
    """Rows of a source between two times, as materialization and saved data sets ask for them."""

    source: DataSource
    join_keys: list[str]
    features: list[str]
    timestamp: str
    created: str | None

    @property
    def keys(self) -> list[str]:
        return [name for name in self.join_keys if name != DUMMY_ENTITY_ID]

    def read(
        self, repo_path: Path | None, start: datetime | None, end: datetime | None
    ) -> tuple[pa.Table, Int64Array, Int64Array | None]:
        """The rows, in physical order, with their event and creation times."""
        rows = pa.concat_tables(self.stream(repo_path, start, end))
        event_ns = times_ns(rows[self.timestamp], f"{self.source.name}.{self.timestamp}")
        created_ns = times_ns(rows[self.created], f"{self.source.name}.{self.created}") if self.created else None
        return rows, event_ns, created_ns

    def _nothing(self) -> pa.Table:
        """No row, with the columns that rows would have."""
        types: dict[str, pa.DataType] = dict.fromkeys([*(self.keys or [DUMMY_ENTITY_ID]), *self.features], pa.null())
        types |= dict.fromkeys([self.timestamp, *([self.created] if self.created else [])], UTC_NS)
        return pa.schema(types).empty_table()

    def stream(self, repo_path: Path | None, start: datetime | None, end: datetime | None) -> Iterator[pa.Table]:
        """The rows row group by row group, in physical order, after an empty table; that alone without a source."""
        try:
            parquet = ParquetSource.open(repo_path, self.source, {})
        except NotFound as error:
            _log.warning("%s; it counts as empty", error)
            yield self._nothing()
            return
        columns = [*self.keys, *self.features, self.timestamp, *([self.created] if self.created else [])]
        if not self.features:  # Feast's way to ask for all columns
            columns += parquet.schema(parquet.fragments).names
        low_ns, high_ns = (None if moment is None else ns_of(moment) for moment in (start, end))
        selection = parquet.select(columns, time_field=self.timestamp, low_ns=low_ns, high_ns=high_ns)
        empty = pa.schema(list(selection.types.items())).empty_table()
        for rows in chain((empty,), selection.tables()):
            event_ns = times_ns(rows[self.timestamp], f"{self.source.name}.{self.timestamp}")
            is_within = np.ones(rows.num_rows, np.bool_)
            if low_ns is not None:
                is_within &= event_ns >= low_ns
            if high_ns is not None:
                is_within &= (event_ns <= high_ns) & (event_ns != NULL_NS)
            within = rows.filter(pa.array(is_within))
            if not self.keys:
                dummy = pa.array([DUMMY_ENTITY_VAL] * within.num_rows, pa.string())
                within = within.append_column(DUMMY_ENTITY_ID, dummy)
            yield within
