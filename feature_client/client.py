"""The client of a feature repository: online reads through the packed vector, historical ones through Feast.

Feast, pandas and pyarrow are imported by the first historical retrieval: a model that only reads online starts without.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from feature_client.datasets import Dataset, check_vector
from feature_client.downloads import downloaded
from feature_client.historical import pit_report
from feature_client.online import (
    LookAheadError,
    OnlineFeatures,
    parse_references,
)
from feature_client.reading import OnlineReading
from feature_client.repository import folder_named, repository_folder
from feature_client.retrievals import Retrieval, RetrievalLog, RetrievalStats
from market.clock import MINUTE_NS, Clock, SystemClock, to_ns
from market.errors import InvalidRequest, NotFound
from storage.online.store import OnlineStore
from storage.places import place_of

if TYPE_CHECKING:
    import pandas as pd

    from feature_client.historical_frame import HistoricalFeatures
    from feature_client.history import FeatureHistory
    from feature_repo.store import FeatureStore


@dataclass(frozen=True, slots=True)
class ViewFreshness:
    """One symbol's newest row of a view; ``status`` is the group's, such as OK or WARMUP."""

    age: timedelta
    is_stale: bool
    status: str


@dataclass(frozen=True, slots=True)
class FeatureCoverage:
    """The share of entity rows that have each feature, present and fresh; and what is missing, with the reason.

    coverage: 0 to 1 by reference. missing: reason by symbol, or keys of an entity without one, and reference.
    """

    coverage: dict[str, float]
    missing: dict[tuple[str, str], str]

    @property
    def is_complete(self) -> bool:
        return not self.missing


class FeatureStoreClient:
    """Features of the repository whose ``feature_store.yaml`` is in ``repo_path``; safe to share between threads.

    ``repo_path`` may also be the folder of definitions next to that file, as in ``FeatureStoreClient("feature_repo")``.
    """

    def __init__(
        self,
        repo_path: str | Path = ".",
        *,
        clock: Clock | None = None,
        fresh_for: Mapping[str, timedelta] | None = None,
    ) -> None:
        """``fresh_for``: by view, how old its newest row may be. The first read opens the connection.

        Raises NotFound without a feature_store.yaml, InvalidRequest when it is not one with Redis.
        """
        self._repo_path = repository_folder(Path(repo_path))
        self._clock = clock or SystemClock()
        self._log = RetrievalLog()
        path = self._repo_path / "feature_store.yaml"
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise NotFound(
                f"repo_path: must hold feature_store.yaml, was {self._repo_path}; feature-service run, demo and apply "
                "write it to client/ and historical/ of their data folder"
            ) from error
        if not isinstance(config, dict) or not isinstance(config.get("online_store"), dict) or "project" not in config:
            raise InvalidRequest(f"{path}: must name a project and an online_store, was {config!r}")
        self._online = OnlineStore.connect(config["online_store"], project=config["project"])
        self._reading = OnlineReading(self._online, lambda: self._feast, fresh_for=dict(fresh_for or {}))
        self._datasets = folder_named(config, "DATASET_STORAGE_PATH")
        self._logged = folder_named(config, "FEATURE_LOG_STORAGE_PATH")
        self._has_offline_store = "offline_store" in config

    def get_online_features(
        self,
        feature_refs: Sequence[str],
        entity_rows: Sequence[dict[str, Any]],
        *,
        as_of_timestamp: datetime | None = None,
        registry_version: str | None = None,
    ) -> OnlineFeatures:
        """The newest value of each ``view:feature`` of each ``{"symbol": ...}``; one round trip for streamed views.

        Third-party views can be read too, by their own keys: entity rows name these in addition to the symbol
        or in its place. Their first read opens Feast's registry, which takes seconds.

        registry_version: of the rows of that version, if it is served as active or as shadow; else Conflict.

        Raises ValueError (LookAheadError), naming features and times, when a row is from after ``as_of_timestamp``;
        InvalidRequest for a feature that the rows do not have; StoreUnavailable.

        A naive ``as_of_timestamp`` is local time, like ``datetime.now()`` and in Python generally; a naive time in
        an entity frame is UTC, as in Feast.
        """
        began = time.perf_counter_ns()
        references = parse_references(feature_refs)
        now_ns = self._clock.now_ns()
        try:
            as_of_ns = None if as_of_timestamp is None else to_ns(as_of_timestamp.astimezone(UTC))
            by_row = self._reading.features(
                entity_rows, references, as_of_ns=as_of_ns, now_ns=now_ns, version=registry_version
            )
            found = tuple({reference: row[reference] for reference in feature_refs} for row in by_row)
        except LookAheadError:
            self._log.add(Retrieval(now_ns, time.perf_counter_ns() - began, 1))
            raise
        nulls = Counter(reference for row in found for reference, feature in row.items() if feature.value is None)
        took_ns = time.perf_counter_ns() - began
        self._log.add(Retrieval(now_ns, took_ns, 0, tuple(feature_refs), len(found), nulls))
        return OnlineFeatures(tuple(entity_rows), found)

    def get_historical_features(self, entity_df: pd.DataFrame, feature_refs: Sequence[str]) -> HistoricalFeatures:
        """A frame: each entity row with the features that were available at its ``event_timestamp``.

        Its ``pit_report`` is the proof of that. If the repository names a source of ticks, as
        ``historical/feature_store.yaml`` does, they are those of the row that a reader was given then, including
        ticks between seconds; else of the newest whole second of the log. That yaml is used if this one, next to it,
        has none.

        A view whose source does not state when its rows could be read proves nothing: the report says so, and so
        does a warning.

        Raises InvalidRequest when the repository's offline store cannot give the proof, and whatever that store raises.
        """
        from feature_client.historical_frame import HistoricalFeatures
        from feature_repo.retrieval_job import AsOfRetrievalJob

        began = time.perf_counter_ns()
        try:
            job = self._feast.get_historical_features(
                entity_df=entity_df, features=list(feature_refs), filter_by_created_timestamp=True
            )
        except KeyError as error:
            raise InvalidRequest(f"feature_refs: must be features of their views, was {error}") from error
        if not isinstance(job, AsOfRetrievalJob):
            raise InvalidRequest(
                f"offline_store: must be feature_repo.offline_store.AsOfOfflineStore in {self._repo_path}, as in the "
                f"service's historical/feature_store.yaml, was {self._feast.config.offline_store.type}"
            )
        frame = job.to_df()
        report = pit_report(job.to_provenance())
        if report.undated_views:
            warnings.warn(
                f"{', '.join(report.undated_views)}: must say from when on each row could be read "
                "(created_timestamp_column) to be proven, was taken as known at its event_timestamp",
                stacklevel=2,
            )
        counts = {reference: int(frame[reference.partition(":")[2]].isna().sum()) for reference in feature_refs}
        nulls = {reference: count for reference, count in counts.items() if count}
        took_ns = time.perf_counter_ns() - began
        self._log.add(
            Retrieval(self._clock.now_ns(), took_ns, report.violations, tuple(feature_refs), len(frame), nulls)
        )
        return HistoricalFeatures.of(frame, report)

    def history(
        self,
        symbol: str,
        features: Sequence[str] | None,
        start: datetime,
        end: datetime,
        *,
        as_of: datetime | None = None,
    ) -> FeatureHistory:
        """The rows of a symbol with ``start <= row time < end`` from the feature log, a UTC day at a time.

        features: ``view:feature``, or only names; None is every feature of every view. as_of: what was readable by
        then; None means what is known now. A naive time means UTC.

        Raises InvalidRequest for a feature that the repository does not have, or a repository without a feature log;
        NotFound when the symbol has no row.
        """
        from feature_client.history import FeatureHistory, logged_groups
        from storage.features.history import History

        log, groups = logged_groups(self._feast, self._repo_path, features)
        as_of_ns = None if as_of is None else to_ns(as_of)
        return FeatureHistory(History(log, symbol, groups, to_ns(start), to_ns(end), as_of_ns))

    def dataset(self, dataset: str | Path, *, url: str | None = None, api_key: str | None = None) -> Dataset:
        """A finished training set: by its id in the service's folder, by path or ``s3://`` address, or from an API.

        The repository's yaml states the folder (that of ``historical/`` does). url: of a service, from which the
        dataset is downloaded once into the user's cache. Raises NotFound; InvalidRequest when neither a path,
        a folder nor an url is known; StoreUnavailable.
        """
        if url is not None:
            cache = Path.home() / ".cache" / "feature-service" / "datasets"
            return Dataset.open(downloaded(url, str(dataset), api_key=api_key, folder=cache))
        given = place_of(dataset) if isinstance(dataset, str) else dataset
        if len(given.parts) > 1 or isinstance(dataset, Path):
            return Dataset.open(given, log_folder=self._logged)
        if self._datasets is None:
            raise InvalidRequest(
                f"dataset: must be a path, or have an url, for {self._repo_path} names no folder of datasets"
            )
        return Dataset.open(self._datasets / dataset, log_folder=self._logged)

    def check_served(self, symbol: str, *, feature_registry_version: str, feature_set: str) -> None:
        """Check that the symbol's newest row is of the registry version and feature set that a model was trained on.

        Raises ServedDifferently naming both, NotFound for a symbol without a row, StoreUnavailable.
        """
        [vector] = self._online.read([symbol])
        if vector is None:
            known = ", ".join(sorted(self._online.symbols())) or "none yet"
            raise NotFound(f"symbol: must be one that has sent data, which is {known}, was {symbol!r}")
        check_vector(vector, feature_registry_version=feature_registry_version, feature_set=feature_set)

    def get_feature_freshness(self, view: str, symbols: Sequence[str] | None = None) -> dict[str, ViewFreshness]:
        """The view's newest row by symbol; without ``symbols``, of every symbol.

        Raises NotFound when no row has the view.
        """
        found = self._reading.freshness(view, symbols, now_ns=self._clock.now_ns())
        freshness = {symbol: ViewFreshness(*each) for symbol, each in found.items()}
        if not freshness:
            raise NotFound(f"feature view: must have an online row, was {view!r}")
        return freshness

    def validate_feature_coverage(
        self, feature_refs: Sequence[str], entity_rows: Sequence[dict[str, Any]]
    ) -> FeatureCoverage:
        """Which of the features each entity row has now; a stale one is missing."""
        found = self.get_online_features(feature_refs, entity_rows)
        missing = {
            (_said(entity), reference): feature.reason or feature.status
            for entity, features in zip(found.entity_rows, found.features, strict=True)
            for reference, feature in features.items()
            if feature.status != "PRESENT"
        }
        lacking = [reference for _, reference in missing]
        count = len({_said(row) for row in entity_rows})
        return FeatureCoverage(
            {reference: 1 - lacking.count(reference) / count if count else 1.0 for reference in feature_refs}, missing
        )

    def get_retrieval_stats(self, window_minutes: float = 60) -> RetrievalStats:
        """Latency, null rates and violations of this client's retrievals in the last ``window_minutes``."""
        return self._log.stats(since_ns=self._clock.now_ns() - round(window_minutes * MINUTE_NS))

    def close(self) -> None:
        """Close the connections."""
        self._online.close()

    @cached_property
    def _feast(self) -> FeatureStore:
        from feature_repo.store import open_repository

        # The service writes one yaml that Feast alone can read, and beside it one that reads history too.
        beside = self._repo_path.resolve().parent / "historical"
        has_none = not self._has_offline_store and (beside / "feature_store.yaml").is_file()
        return open_repository(beside if has_none else self._repo_path)


def _said(entity: Mapping[str, Any]) -> str:
    """An entity in a report: its symbol, or its keys where it has none."""
    return entity["symbol"] if "symbol" in entity else ", ".join(f"{name}={value}" for name, value in entity.items())
