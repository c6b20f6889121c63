"""Registries of Feast that views are applied to, and rows of a view."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

from feature_repo.store import closing_registry, open_store, sql_registry
from storage.database.feast_schema import FEAST_WRITER_ENGINE

ROOT = Path(__file__).parents[1]
REDIS_DB = 9
ONLINE_STORE = {"type": "redis", "connection_string": f"localhost:6379,db={REDIS_DB}"}
T0 = datetime(2026, 3, 1, tzinfo=UTC)


@contextmanager
def sql_store(url: str) -> Iterator[FeatureStore]:
    registry = sql_registry(postgres_url=url, engine_options=FEAST_WRITER_ENGINE)
    with closing_registry(open_store(registry=registry, online_store=ONLINE_STORE)) as store:
        yield store


def file_store(registry: Path) -> FeatureStore:
    return open_store(registry=registry, online_store=ONLINE_STORE)


def view_named(name: str, folder: Path, *features: str) -> tuple[Entity, FeatureView]:
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    view = FeatureView(
        name=name,
        entities=[symbol],
        ttl=timedelta(minutes=1),
        schema=[Field(name=feature, dtype=Float64) for feature in features],
        source=FileSource(name=f"{name}_log", path=str(folder / name), timestamp_field="event_timestamp"),
    )
    (folder / name).mkdir(parents=True, exist_ok=True)
    stamp = pa.array([T0], pa.timestamp("us", "UTC"))
    row: dict[str, Any] = {"symbol": ["X"], "event_timestamp": stamp}
    row |= {feature: [1.0] for feature in features}
    pq.write_table(pa.table(row), folder / name / "part-0.parquet")
    return symbol, view


def log_price(view: FeatureView, symbol: str, number: int, *, second: float, value: float) -> None:
    assert isinstance(view.batch_source, FileSource)
    folder = Path(view.batch_source.path)
    moment = pa.array([T0 + timedelta(seconds=second)], pa.timestamp("ns", "UTC"))
    columns: dict[str, Any] = {"event_timestamp": moment, "created_timestamp": moment, "symbol": [symbol]}
    columns |= {field.name: [value] for field in view.features}
    pq.write_table(pa.table(columns), folder / f"part-{number}.parquet")
