"""Feast's data-quality monitoring on our offline store: figures of sources, and the Parquet files that keep them.

Feast computes and keeps both for its own file store, next to the repository's registry; that is used here.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from feast import RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores.offline_store import OfflineStore


class MonitoredStore(OfflineStore):
    """What Feast asks an offline store for its figures with; answers and files are those of its own store of files."""

    @staticmethod
    def compute_monitoring_metrics(  # noqa: PLR0913, PLR0917  # Feast's interface
        config: RepoConfig,
        data_source: DataSource,
        feature_columns: list[tuple[str, str]],
        timestamp_field: str,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        histogram_bins: int = 20,
        top_n: int = 10,
    ) -> list[dict[str, Any]]:
        """A dict of figures for each column, "numeric" or "categorical", of the rows in [start_date, end_date]."""
        return _files().compute_monitoring_metrics(
            _of_files(config),
            data_source,
            feature_columns,
            timestamp_field,
            start_date,
            end_date,
            histogram_bins=histogram_bins,
            top_n=top_n,
        )

    @staticmethod
    def get_monitoring_max_timestamp(
        config: RepoConfig, data_source: DataSource, timestamp_field: str
    ) -> datetime | None:
        """The newest event time of a source; None without rows."""
        return _files().get_monitoring_max_timestamp(_of_files(config), data_source, timestamp_field)

    @staticmethod
    def ensure_monitoring_tables(config: RepoConfig) -> None:
        """Make the files that figures are kept in."""
        _files().ensure_monitoring_tables(_of_files(config))

    @staticmethod
    def save_monitoring_metrics(config: RepoConfig, metric_type: str, metrics: list[dict[str, Any]]) -> None:
        """Keep figures, in place of those of the same key."""
        _files().save_monitoring_metrics(_of_files(config), metric_type, metrics)

    @staticmethod
    def query_monitoring_metrics(  # Feast's interface
        config: RepoConfig,
        project: str,
        metric_type: str,
        filters: dict[str, Any] | None = None,
        start_date: date | None = None,
        end_date: date | None = None,
    ) -> list[dict[str, Any]]:
        """Figures that were kept, by date."""
        return _files().query_monitoring_metrics(_of_files(config), project, metric_type, filters, start_date, end_date)

    @staticmethod
    def clear_monitoring_baseline(
        config: RepoConfig,
        project: str,
        feature_view_name: str | None = None,
        feature_name: str | None = None,
        data_source_type: str | None = None,
    ) -> None:
        """Take the mark of a baseline from figures."""
        _files().clear_monitoring_baseline(
            _of_files(config), project, feature_view_name, feature_name, data_source_type
        )


def _files() -> type[OfflineStore]:
    from feast.infra.offline_stores.dask import DaskOfflineStore  # its import takes a second

    return DaskOfflineStore


def _of_files(config: RepoConfig) -> RepoConfig:
    """The same repository with Feast's own store of files, which asks for its own settings."""
    return RepoConfig(
        project=config.project,
        provider=config.provider,
        registry="unread",
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
        repo_path=config.repo_path,
    )
