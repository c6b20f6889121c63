"""One Feast repository served by our API and by Feast's own server: its objects, its rows, and what both answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float64, Int64, String

from market.clock import MILLISECOND_NS, ManualClock
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.three_features import SET, B

KEY = "serving-key"
SYMBOL = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CITY = Entity(name="city", join_keys=["city"], value_type=ValueType.STRING)


def source_of(name: str, folder: Path) -> FileSource:
    return FileSource(name=f"{name}_file", path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")


def objects(folder: Path) -> list[Any]:
    """Two views of ours, two of others with keys of their own, a service, and a feature that Feast computes."""
    price, orderflow = (
        FeatureView(
            name=group.name,
            entities=[SYMBOL],
            ttl=timedelta(minutes=1),
            schema=[Field(name=name, dtype=Float64) for name in group.columns],
            source=PushSource(name="market", batch_source=source_of(group.name, folder)),
            tags={"fingerprint": group.fingerprint},
        )
        for group in SET.groups
    )
    stats = FeatureView(
        name="stats",
        entities=[DRIVER, CITY],
        ttl=timedelta(hours=1),
        schema=[
            Field(name="trips", dtype=Int64),
            Field(name="rate", dtype=Float64),
            Field(name="plate", dtype=String),
            Field(name="last", dtype=Array(Int64)),
        ],
        source=PushSource(name="drives", batch_source=source_of("stats", folder)),
    )
    sector = FeatureView(
        name="sector",
        entities=[SYMBOL],
        ttl=timedelta(0),
        schema=[Field(name="beta", dtype=Float64)],
        source=source_of("sector", folder),
    )

    @on_demand_feature_view(sources=[sector], schema=[Field(name="double_beta", dtype=Float64)], mode="python")  # type: ignore[untyped-decorator]  # untyped in Feast
    def doubled(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"double_beta": [None if beta is None else 2 * beta for beta in inputs["beta"]]}

    service = FeatureService(name="model", features=[price, sector])
    return [SYMBOL, DRIVER, CITY, price, orderflow, stats, sector, doubled, service]


@dataclass(frozen=True)
class Served:
    """One repository on one Redis: our API and Feast's own server on it."""

    store: FeatureStore
    online: OnlineStore
    ours: TestClient
    feasts: TestClient
    clock: ManualClock
    app: Any

    def put(self, symbol: str, values: Sequence[float | None], *, row_ns: int = B) -> None:
        known = np.array([np.nan if value is None else value for value in values], np.float64)
        reasons = {name: "WARMUP" for name, value in zip(SET.columns, known, strict=True) if np.isnan(value)}
        row = OnlineRow(symbol, SET, row_ns, row_ns + 20 * MILLISECOND_NS, known, np.zeros(2, np.int8), reasons)
        self.online.write([row], now_ns=row_ns)

    def ask(self, **request: object) -> dict[str, Any]:
        answer = self.ours.post("/get-online-features", json=request)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


def column(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["results"][document["metadata"]["feature_names"].index(name)]
    return found
