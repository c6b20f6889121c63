"""The small SDK that a model imports: online and historical features, never from after the requested time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_client.client import FeatureStoreClient
from feature_client.datasets import Dataset, ServedDifferently
from feature_client.historical import PitReport
from feature_client.online import LookAheadError, OnlineFeatures
from feature_client.ordering import feature_matrix

if TYPE_CHECKING:
    from feature_client.historical_frame import HistoricalFeatures

__all__ = [
    "Dataset",
    "FeatureStoreClient",
    "HistoricalFeatures",
    "LookAheadError",
    "OnlineFeatures",
    "PitReport",
    "ServedDifferently",
    "feature_matrix",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # a module's attribute
    if name == "HistoricalFeatures":  # a pandas frame, which a model that only reads online does not import
        from feature_client.historical_frame import HistoricalFeatures

        return HistoricalFeatures
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
