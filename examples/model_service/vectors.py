"""Finished vectors, from Feast's online store and from ``features.live``, and the rule by which one is taken.

Nothing is computed from a value: a vector is taken as it was served, or refused.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feast import FeatureStore

from examples.model_service.model import Metadata
from market.clock import parse_iso_ns, to_datetime
from market.errors import Conflict, NotFound


class StaleVector(Conflict):
    """The newest vector is too old to act on."""


class IncompleteVector(Conflict):
    """A feature of the model is not known."""


class OtherFeatures(Conflict):
    """What is served is not what the model was trained on."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One row of one symbol as it was served. missing: why each unknown feature is, where the sender says so."""

    symbol: str
    source: str
    row_time: datetime
    feature_registry_version: str
    feature_set: str
    values: Mapping[str, float]
    missing: Mapping[str, str]


def checked(vector: Vector, metadata: Metadata, *, now: datetime, max_age: timedelta) -> Vector:
    """The vector, if a model may act on it. Raises OtherFeatures, StaleVector, IncompleteVector."""
    if vector.feature_set != metadata.feature_set:
        raise OtherFeatures(
            f"{vector.symbol}: must be of registry version {metadata.feature_registry_version} as the model is, "
            f"feature set {metadata.feature_set}, was {vector.feature_registry_version}, {vector.feature_set}"
        )
    if (age := now - vector.row_time) > max_age:
        raise StaleVector(
            f"{vector.symbol}: must be at most {max_age.total_seconds():g} s old, was {age.total_seconds():.3f} s"
        )
    if lacking := [name for name in metadata.features if name not in vector.values]:
        told = ", ".join(f"{name} ({vector.missing.get(name, 'no value')})" for name in lacking)
        raise IncompleteVector(f"{vector.symbol}: must have every feature of the model, was without {told}")
    return vector


class OnlineVectors:
    """Vectors through Feast's own SDK; safe among threads. repo_path: the folder ``client`` of the service's data."""

    def __init__(self, repo_path: Path) -> None:
        self._store = FeatureStore(repo_path=str(repo_path))

    def read(self, symbol: str, version: str, features: Sequence[str]) -> Vector:
        """The newest values of some features of a registry version. Raises NotFound."""
        service = self._store.get_feature_service(f"features_v{version.replace('.', '_')}")
        of_view = {
            feature.name: projection.name
            for projection in service.feature_view_projections
            for feature in projection.features
        }
        found = self._store.get_online_features(
            features=[f"{of_view[name]}:{name}" for name in features], entity_rows=[{"symbol": symbol}]
        ).to_dict(include_event_timestamps=True)
        seconds = [found[f"{name}__ts"][0] for name in features]
        if not any(seconds):
            raise NotFound(f"symbol: must be one that has sent data, was {symbol!r}")
        values = {name: found[name][0] for name in features if found[name][0] is not None}
        # Feast tells the second of a row's time: an age may come out up to a second too high, never too low.
        oldest = datetime.fromtimestamp(min(seconds), UTC)
        return Vector(symbol, "feast", oldest, version, service.tags["feature_set"], values, {})


class LiveVectors:
    """The newest vector of each symbol that ``features.live`` brought."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, Vector] = {}

    def take(self, document: Mapping[str, Any]) -> None:
        """One message; an older row than the newest one changes nothing."""
        vector = Vector(
            document["symbol"],
            "features.live",
            to_datetime(parse_iso_ns(document["timestamp"])),
            document["feature_registry_version"],
            document["feature_set"],
            document["features"],
            document["missing"],
        )
        with self._lock:
            held = self._newest.get(vector.symbol)
            if held is None or held.row_time < vector.row_time:
                self._newest[vector.symbol] = vector

    def read(self, symbol: str) -> Vector:
        """Raises NotFound."""
        with self._lock:
            found = self._newest.get(symbol)
        if found is None:
            raise NotFound(
                f"symbol: must be one with a row on features.live, was {symbol!r}; MODEL_SERVICE_BROKER_URL "
                "must name Feature Service's RabbitMQ"
            )
        return found
