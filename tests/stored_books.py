"""Books of a few rows in Parquet files, the views on them, and questions at seconds of one day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import String
from feast.value_type import ValueType

OURS = "feature_repo.offline_store.AsOfOfflineStore"
DASK = "dask"
T0 = datetime(2026, 3, 1, tzinfo=UTC)
SYMBOL = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
VENUE = Entity(name="venue", join_keys=["venue"], value_type=ValueType.INT64)

MakeStore = Callable[..., FeatureStore]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def rows_of(
    symbols: list[str | None],
    events: list[float],
    created: list[float | None],
    **features: pa.Array[Any] | list[float] | list[int],
) -> pa.Table:
    return pa.table(
        {
            "symbol": pa.array(symbols, pa.string()),
            "event_timestamp": pa.array([at(event) for event in events], pa.timestamp("us", "UTC")),
            "created": pa.array([None if c is None else at(c) for c in created], pa.timestamp("us", "UTC")),
            **features,
        }
    )


def view_of(path: Path | str, fields: list[Field], *, ttl: timedelta | None = None) -> FeatureView:
    return FeatureView(
        name="book",
        entities=[SYMBOL],
        ttl=ttl,
        schema=[Field(name="symbol", dtype=String), *fields],
        source=FileSource(path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"),
    )


def entity_rows(symbols: list[str | None], seconds: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"symbol": symbols, "event_timestamp": [at(second) for second in seconds]})


def write(table: pa.Table, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path
