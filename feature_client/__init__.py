"""The small SDK that a model imports: features online and historical, never from after the time asked for."""

from __future__ import annotations

from feature_client.client import FeatureStoreClient
from feature_client.datasets import Dataset, ServedDifferently
from feature_client.historical import HistoricalFeatures, PitReport
from feature_client.online import LookAheadError, OnlineFeatures

__all__ = [
    "Dataset",
    "FeatureStoreClient",
    "HistoricalFeatures",
    "LookAheadError",
    "OnlineFeatures",
    "PitReport",
    "ServedDifferently",
]
