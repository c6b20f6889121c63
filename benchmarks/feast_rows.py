"""A Feast repository with one view ``rows`` on a log of feature rows, for the benchmarks of historical retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from feast import FeatureStore

TTL: Final = timedelta(minutes=1)
OURS: Final[Mapping[str, Any]] = {"type": "feature_repo.offline_store.AsOfOfflineStore", "bitemporal": True}
"""Our offline store, which hides a row until its creation, as it does for our views."""


def name_of(number: int) -> str:
    """A symbol's name."""
    return f"S{number:02d}USDT"


def open_feast(
    log: Path, offline_store: Mapping[str, Any], features: Sequence[str], *, path: str | None = None
) -> FeatureStore:
    """The repository, made beside the log. path: of the view's source, where it is not the log's folder."""
    import feature_repo  # noqa: F401, I001  # before Feast, which is imported faster then
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.types import Float64

    repository = log.with_name(f"{log.name}_{offline_store['type'].rpartition('.')[2]}")
    repository.mkdir(exist_ok=True)
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    view = FeatureView(
        name="rows",
        entities=[symbol],
        ttl=TTL,
        schema=[Field(name=name, dtype=Float64) for name in features],
        source=FileSource(
            name="rows_log",
            path=path or str(log),
            file_format=ParquetFormat(),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(repository / "registry.db"),
            online_store={"type": "sqlite", "path": str(repository / "online.db")},
            offline_store=dict(offline_store),
            entity_key_serialization_version=3,
        )
    )
    store.apply([symbol, view])
    return store
