"""Tables of drivers, customers and places in Parquet files, and Feast repositories on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, OnDemandFeatureView, RepoConfig
from feast.types import Float64, Int64
from feast.value_type import ValueType

from tests.stored_books import at

NAN = float("nan")
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
PLACE = Entity(name="place", join_keys=["place_id"], value_type=ValueType.INT64)

FeastObject = Entity | FeatureView | OnDemandFeatureView
MakeStore = Callable[..., FeatureStore]


def repository(folder: Path, *objects: FeastObject) -> FeatureStore:
    """A Feast repository on our offline store, with the objects applied."""
    store = FeatureStore(
        config=RepoConfig(
            project="cases",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "feature_repo.offline_store.AsOfOfflineStore", "bitemporal": True},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )
    store.apply(list(objects))
    return store


def stored(path: Path, columns: dict[str, Any], events: list[float], created: list[float] | None = None) -> Path:
    """A Parquet file of rows with their event times and, when given, creation times."""
    table = pa.table(
        columns
        | {"event_timestamp": [at(event) for event in events]}
        | ({} if created is None else {"created": [at(moment) for moment in created]})
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def source(path: Path, *, created: bool = False) -> FileSource:
    return FileSource(
        path=str(path),
        timestamp_field="event_timestamp",
        created_timestamp_column="created" if created else "",
    )


def driver_view(path: Path, *, name: str = "driver_stats") -> FeatureView:
    return FeatureView(
        name=name,
        entities=[DRIVER],
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="trips", dtype=Int64),
            Field(name="rate", dtype=Float64),
        ],
        source=source(path, created=True),
    )
