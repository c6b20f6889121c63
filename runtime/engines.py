"""The engine that rebuilds days, from settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from market.errors import InvalidSettings
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


def queue_engine(settings: Settings, servers: Servers, stores: Stores, metadata: Metadata, workers: int) -> QueueEngine:
    """The engine of all processes on the database, whose jobs each with the jobs role performs."""
    from storage.database.job_queue import JobQueue
    from training_sets.engines.job_queue import QueueEngine
    from training_sets.rebuild.queued import rebuild_kind

    kinds = [rebuild_kind(stores.raw.parquet, stores.features, kernel_cache_folder(settings))]
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
