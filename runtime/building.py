"""What builds datasets, from settings: their stores, rules, bookkeeping and notices."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime.backfilling import backfill_place
from runtime.engines import rebuild_engine
from runtime.feature_repository import feature_store
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.tables import tables_folder
from runtime.wiring import broker_address, kernel_cache_folder, metadata_store, new_id

if TYPE_CHECKING:
    from backfill.missing_days import MissingDays
    from runtime.stores import Stores
    from storage.database.metadata import Metadata
    from training_sets.builds.bookkeeping import Bookkeeping
    from training_sets.builds.builds import DatasetBuilds
    from training_sets.builds.notices import DatasetNotices
    from training_sets.builds.place import BuildPlace
    from training_sets.dataset.inputs import DatasetRules
    from training_sets.engines.engine import Engine


@contextmanager
def dataset_builds(settings: Settings, servers: Servers, stores: Stores) -> Iterator[DatasetBuilds]:
    """Dataset builds in the stores; the definitions must have been applied."""
    from training_sets.builds.watch import BuildWatch

    with metadata_store(servers) as metadata:
        books = bookkeeping(settings, servers, metadata)
        BuildWatch(books, stores.datasets).look()
        with open_builds(settings, servers, stores, books) as builds:
            yield builds


def bookkeeping(settings: Settings, servers: Servers, metadata: Metadata) -> Bookkeeping:
    """Where the builds of all processes on the same database are recorded, queued and announced."""
    from market.clock import SystemClock
    from storage.database.job_queue import JobQueue
    from training_sets.builds.bookkeeping import Bookkeeping
    from training_sets.builds.notices import Announcer

    clock = SystemClock()
    return Bookkeeping(
        metadata,
        JobQueue(servers.postgres_url),
        announcer=Announcer(metadata, dataset_notices(settings), clock),
        clock=clock,
        make_id=new_id,
    )


def dataset_notices(settings: Settings) -> DatasetNotices:
    """The announcements of finished datasets: RabbitMQ or, without one, this process; and a lineage server."""
    post = lineage_post(settings)
    if post is None:
        return _own_notices(settings)
    from market.clock import SystemClock, to_datetime
    from training_sets.builds.open_lineage import LineageNotices
    from training_sets.dataset.manifest import read_manifest

    clock = SystemClock()
    return LineageNotices(
        _own_notices(settings),
        post,
        manifest_of=lambda dataset_id: read_manifest(settings.dataset_storage_path / dataset_id),
        now=lambda: to_datetime(clock.now_ns()),
    )


def lineage_post(settings: Settings) -> Callable[[dict[str, Any]], object] | None:
    """Hands an OpenLineage event to the server that the settings name; None where they name none."""
    if settings.feature_service_openlineage_url is None:
        return None
    from upkeep.webhook import Webhook

    return Webhook(settings.feature_service_openlineage_url, name="OpenLineage").send


def _own_notices(settings: Settings) -> DatasetNotices:
    if settings.rabbitmq_host is None:
        from training_sets.builds.notices import InProcessNotices

        return InProcessNotices()
    from ingestion.rabbitmq.notices import QueueNotices
    from training_sets.builds.notices import DATASET_READY

    return QueueNotices(broker_address(settings), DATASET_READY)


@contextmanager
def open_builds(settings: Settings, servers: Servers, stores: Stores, books: Bookkeeping) -> Iterator[DatasetBuilds]:
    from training_sets.builds.builds import DatasetBuilds

    with rebuild_engine(settings, servers, stores, settings.feature_service_engine_workers) as engine:
        place = build_place(settings, servers, stores, engine=engine)
        builds = DatasetBuilds(books, place, stores.datasets, parallel=settings.dataset_builder_max_parallel)
        try:
            yield builds
        finally:
            builds.close()


def build_place(settings: Settings, servers: Servers, stores: Stores, *, engine: Engine | None) -> BuildPlace:
    """The stores of a build, the settings' rules, and what rebuilds the days that it lacks."""
    from training_sets.builds.place import BuildPlace

    return BuildPlace(
        open_store=partial(feature_store, servers),
        features=stores.features,
        raw=stores.raw,
        versions_folder=settings.feature_registry_versions_dir,
        kernels_folder=kernel_cache_folder(settings),
        rules=_dataset_rules(settings),
        reuses_days=settings.dataset_builder_cache_enabled,
        reuses_samples=settings.dataset_builder_cache_enabled,
        engine=engine,
        draw_seed=partial(secrets.randbits, 32),
        filler=_missing_days(settings, engine),
        tables_folder=tables_folder(settings),
    )


def _missing_days(settings: Settings, engine: Engine | None) -> MissingDays | None:
    """What fetches the days that a request lacks, where the settings want it."""
    from backfill.missing_days import MissingDays
    from market.clock import SystemClock

    if not (settings.feature_service_backfill_auto and settings.feature_service_backfill_enabled):
        return None
    return MissingDays(
        partial(backfill_place, settings, engine=engine),
        SystemClock(),
        most_days=settings.feature_service_backfill_max_days,
    )


def _dataset_rules(settings: Settings) -> DatasetRules:
    from market.clock import SECOND_NS
    from quality.continuity import ContinuityRules
    from training_sets.dataset.inputs import DatasetRules

    continuity = ContinuityRules(
        max_gap_ratio=settings.dataset_max_timestamp_gap_ratio,
        min_coverage=settings.dataset_min_coverage_ratio,
        critical_gap_ns=settings.dataset_critical_gap_threshold_seconds * SECOND_NS,
        fail_on_critical=settings.dataset_fail_on_large_gaps,
        expected_interval_ns=settings.dataset_expected_timestamp_interval_seconds * SECOND_NS,
        detects_interval=settings.dataset_detect_variable_intervals,
    )
    return DatasetRules(continuity, settings.dataset_quality_checks_enabled, settings.row_grid_ns)
