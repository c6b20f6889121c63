"""Feast's store on our registry, online store and offline store, and retrieval through it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd
from feast import FeatureStore, RepoConfig

if TYPE_CHECKING:
    from transforms.rows import FeatureSet

__all__ = ["FeatureStore", "client_yaml", "open_repository", "open_store", "retrieve"]

PROJECT: Final = "feature_service"
ENTITY_KEY_VERSION: Final = 3
OFFLINE_STORE: Final = "feature_repo.offline_store.AsOfOfflineStore"


def open_store(*, registry: Path, redis_connection: str) -> FeatureStore:
    """Feast's store; ``redis_connection`` in the form of Feast's Redis online store, "host:port,db=0"."""
    return FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(registry),
            online_store={"type": "redis", "connection_string": redis_connection},
            offline_store={"type": OFFLINE_STORE},
            entity_key_serialization_version=ENTITY_KEY_VERSION,
        )
    )


def open_repository(repo_path: Path) -> FeatureStore:
    """Feast's store of the folder with a ``feature_store.yaml``."""
    return FeatureStore(repo_path=str(repo_path))


def client_yaml(*, registry: Path, redis_connection: str) -> str:
    """The ``feature_store.yaml`` of a process that has Feast alone and reads online features."""
    return (
        "# Copy this file to any process that has feast[redis], then:\n"
        '#   FeatureStore(repo_path=".").get_online_features(features=..., entity_rows=[{"symbol": ...}])\n'
        f"project: {PROJECT}\n"
        "provider: local\n"
        f'registry: "{registry}"\n'
        "online_store:\n"
        "  type: redis\n"
        f'  connection_string: "{redis_connection}"\n'
        f"entity_key_serialization_version: {ENTITY_KEY_VERSION}\n"
    )


def retrieve(store: FeatureStore, chosen: FeatureSet, entities: pd.DataFrame) -> pd.DataFrame:
    """The features of a registry version as they were known at each entity row's time.

    entities: symbol, event_timestamp. Returns symbol, timestamp and the version's columns in its order, a row for each
    entity row in its order; NaN and null are NaN.
    """
    from feature_repo.definitions import service_name

    service = store.get_feature_service(service_name(chosen.version))
    found = store.get_historical_features(entity_df=entities, features=service).to_df()
    return found.rename(columns={"event_timestamp": "timestamp"})[["symbol", "timestamp", *chosen.columns]]
