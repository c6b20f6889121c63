"""What Feast's own writer makes of our rows, and what its reader finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from storage.online.vector import OnlineRow

Repository = Callable[..., FeatureStore]


def pushed_frame(rows: Sequence[OnlineRow]) -> pd.DataFrame:
    """The rows as ``FeatureStore.push`` takes them."""
    return pd.DataFrame(
        {
            "symbol": [row.symbol for row in rows],
            "event_timestamp": pd.to_datetime([row.row_ns for row in rows], utc=True),
            "created_timestamp": pd.to_datetime([row.available_ns for row in rows], utc=True),
            **{column: [float(row.values[i]) for row in rows] for i, column in enumerate(rows[0].feature_set.columns)},
        }
    )


def push(repo: FeatureStore, rows: Sequence[OnlineRow]) -> None:
    repo.push("market_features_push", pushed_frame(rows))


def feast_online(repo: FeatureStore, views: Mapping[str, Sequence[str]], symbol: str = "BTCUSDT") -> dict[str, Any]:
    references = [f"{view}:{name}" for view, names in views.items() for name in names]
    answer = repo.get_online_features(features=references, entity_rows=[{"symbol": symbol}]).to_dict()
    return {name: values[0] for name, values in answer.items() if name != "symbol"}


def feast_status(repo: FeatureStore, view: str, feature: str, symbol: str) -> tuple[str, float | None]:
    """Feast's status of one feature and its value."""
    answer = repo.get_online_features(features=[f"{view}:{feature}"], entity_rows=[{"symbol": symbol}])
    result = answer.proto.results[list(answer.proto.metadata.feature_names.val).index(feature)]
    return FieldStatus.Name(result.statuses[0]), answer.to_dict()[feature][0]
