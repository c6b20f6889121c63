"""The engine of rebuilds, leakage checks, materializations and reports, from settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market.errors import InvalidSettings
from runtime.settings import load_settings
from runtime.wiring import kernel_cache_folder, metadata_store, new_id

if TYPE_CHECKING:
    from runtime.servers import Servers
    from runtime.settings import Settings
    from runtime.stores import Stores
    from storage.database.metadata import Metadata
    from training_sets.engines.engine import Engine
    from training_sets.engines.job_queue import QueueEngine


@contextmanager
def rebuild_engine(settings: Settings, servers: Servers, stores: Stores, workers: int) -> Iterator[Engine | None]:
    """What computes missing days, so many of them side by side; None is the process that asks.

    Raises InvalidSettings when the engine's package is not installed.
    """
    if settings.feature_service_engine == "queue":
        with metadata_store(servers) as metadata:
            yield queue_engine(settings, servers, stores, metadata, workers)
    else:
        yield _engine_without_database(settings, workers)


@contextmanager
def engine_of_command(settings: Settings, stores: Stores, workers: int) -> Iterator[Engine | None]:
    """The same of a command, which needs a database for nothing else."""
    from runtime.servers import running_servers

    if settings.feature_service_engine == "queue":
        with running_servers(settings) as servers, rebuild_engine(settings, servers, stores, workers) as engine:
            yield engine
    else:
        yield _engine_without_database(settings, workers)


@contextmanager
def engine_of_repository(
    repo_path: Path, *, engine: str | None, ray_address: str | None, workers: int | None
) -> Iterator[Engine | None]:
    """What brings the views of a Feast repository online; None is the process that asks.

    What is not given is taken from the environment and the repository's ``.env``. Raises InvalidSettings.
    """
    from runtime.stores import open_stores

    if engine is None and ray_address is not None:
        engine = "ray"
    given = {
        "FEATURE_SERVICE_ENGINE": engine,
        "RAY_ADDRESS": ray_address,
        "FEATURE_SERVICE_ENGINE_WORKERS": None if workers is None else str(workers),
    }
    named = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(named, env_file=repo_path / ".env")
    with engine_of_command(settings, open_stores(settings), settings.feature_service_engine_workers) as opened:
        yield opened


def queue_engine(settings: Settings, servers: Servers, stores: Stores, metadata: Metadata, workers: int) -> QueueEngine:
    """The engine of all processes on the database, whose jobs each with the jobs role performs."""
    from backfill.archived_days import archived_kind
    from runtime.backfilling import archive_addresses
    from runtime.queued_reports import report_kind
    from runtime.queued_views import views_kind
    from storage.database.job_queue import JobQueue
    from training_sets.checks.queued import recomputing_kinds
    from training_sets.engines.job_queue import Kind, QueueEngine
    from training_sets.rebuild.queued import rebuild_kind

    trades, orderbook = archive_addresses(settings)
    kinds: list[Kind[Any]] = [
        rebuild_kind(stores.raw.parquet, stores.features, kernel_cache_folder(settings)),
        *recomputing_kinds(stores.raw.parquet, stores.features, kernel_cache_folder(settings)),
        archived_kind(stores.raw.parquet, trades=trades, orderbook=orderbook),
        views_kind(),
        report_kind(stores.raw.parquet, stores.features, settings.feature_registry_versions_dir),
    ]
    return QueueEngine(metadata, JobQueue(servers.postgres_url), kinds, new_id, workers)


def _engine_without_database(settings: Settings, workers: int) -> Engine | None:
    if settings.feature_service_engine == "ray":
        if find_spec("ray") is None:
            raise InvalidSettings(
                "settings", ["FEATURE_SERVICE_ENGINE: ray needs its package: pip install 'feature-service[ray]'"]
            )
        from training_sets.engines.ray import RayCluster

        assert settings.ray_address is not None, "checked when the settings were read"
        return RayCluster(settings.ray_address, workers)
    if workers == 1:
        return None
    from training_sets.engines.pool import Pool

    return Pool(workers)
