"""Feast's store on our registry, online store and offline store, and retrieval through it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from feast import FeatureStore, RepoConfig
from feast.infra.registry.sql import SqlRegistry, SqlRegistryConfig
from feast.repo_config import RegistryConfig

from feature_repo.project import PROJECT

if TYPE_CHECKING:
    from transforms.rows import FeatureSet

__all__ = [
    "GUARD",
    "GUARD_NAME",
    "FeatureStore",
    "client_yaml",
    "closing_registry",
    "export_registry",
    "open_repository",
    "open_store",
    "retrieve",
    "sql_registry",
]

ENTITY_KEY_VERSION: Final = 3
MATERIALIZE_LATENESS_S: Final = 3600
"""What incremental materialization reads again; feature_store.yaml says the same to Feast's own commands."""
OFFLINE_STORE: Final = "feature_repo.offline_store.AsOfOfflineStore"
MATERIALIZATION: Final = "materialization: {pull_latest_features: true}\n"
"""The newest row of each key alone: of all rows, Feast's writer would keep the first of those of equal time."""

GUARD_NAME: Final = "refuse_feast_apply.py"
GUARD: Final = '''"""Refuses `feast apply` in this folder, which imports every module that it finds."""

raise RuntimeError(
    "feast apply: must be run where the definitions are, was run in a read-only folder: it would drop every "
    "view that it does not find here; views of your own are registered by `feature-service apply`"
)
'''
"""A module next to a yaml for readers: Feast treats objects that it does not find as removed."""


def sql_registry(*, postgres_url: str, engine_options: Mapping[str, Any]) -> RegistryConfig:
    """Feast's SQL registry, whose tables the first store to open it makes; ``engine_options`` are SQLAlchemy's."""
    return SqlRegistryConfig(
        registry_type="sql", path=postgres_url, sqlalchemy_config_kwargs={"echo": False, **engine_options}
    )


def open_store(*, registry: RegistryConfig | Path, online_store: Mapping[str, str]) -> FeatureStore:
    """Feast's store on a registry, or the file of one.

    online_store: as in a feature_store.yaml, of type redis.
    """
    return FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(registry) if isinstance(registry, Path) else registry,
            online_store=dict(online_store),
            offline_store={"type": OFFLINE_STORE, "bitemporal": True, "materialize_lateness_s": MATERIALIZE_LATENESS_S},
            materialization={"pull_latest_features": True},
            entity_key_serialization_version=ENTITY_KEY_VERSION,
        )
    )


@contextmanager
def closing_registry(store: FeatureStore) -> Iterator[FeatureStore]:
    """The store, whose connections to an SQL registry are closed at the end; Feast itself keeps them."""
    try:
        yield store
    finally:
        if isinstance(store.registry, SqlRegistry):
            store.registry.write_engine.dispose()


def export_registry(store: FeatureStore, path: Path) -> None:
    """Write the whole registry as a file that Feast's file registry reads; a reader sees the old one or the new one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    unfinished.write_bytes(store.registry.proto().SerializeToString())
    unfinished.replace(path)


def open_repository(repo_path: Path) -> FeatureStore:
    """Feast's store of the folder with a ``feature_store.yaml``."""
    return FeatureStore(repo_path=str(repo_path))


def client_yaml(
    *, registry: Path, online_store: Mapping[str, str], offline_store: Mapping[str, Any] | None = None
) -> str:
    """The ``feature_store.yaml`` of a process that reads features.

    registry: its file; a relative path is one from the yaml's folder. offline_store: where historical ones come from,
    and what ``feast materialize-incremental`` reads; without it the process has Feast alone and reads online ones.
    """
    what, needs = "folder", "feast[redis]"
    use = 'get_online_features(features=..., entity_rows=[{"symbol": ...}])'
    if offline_store is not None:
        what, needs = "file", "feature-service and the folders below"
        use = "get_historical_features(entity_df=..., features=...)"
    settings = "".join(f"  {name}: {json.dumps(value)}\n" for name, value in online_store.items())
    offline = "" if offline_store is None else f"offline_store: {json.dumps(offline_store)}\n{MATERIALIZATION}"
    return (
        f"# Copy this {what} to any process that has {needs}, then:\n"
        f'#   FeatureStore(repo_path=".").{use}\n'
        f"project: {PROJECT}\n"
        "provider: local\n"
        f'registry: "{registry}"\n'
        "online_store:\n"
        f"{settings}"
        f"{offline}"
        f"entity_key_serialization_version: {ENTITY_KEY_VERSION}\n"
    )


def retrieve(store: FeatureStore, chosen: FeatureSet, entities: pd.DataFrame) -> pd.DataFrame:
    """The features of a registry version as they were known at each entity row's time.

    entities: symbol, event_timestamp. Returns symbol, timestamp and the version's columns in its order, a row for each
    entity row in its order; NaN and null are NaN.
    """
    from feature_repo.registry_versions import service_name

    service = store.get_feature_service(service_name(chosen.version))
    found = store.get_historical_features(entity_df=entities, features=service).to_df()
    return found.rename(columns={"event_timestamp": "timestamp"})[["symbol", "timestamp", *chosen.columns]]
