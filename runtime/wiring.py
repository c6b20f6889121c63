"""The composition root: settings in, connected objects out."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.registry_versions import DEFAULT_VERSION, load_registry_version
from runtime.feature_repository import feature_serving, feature_store
from runtime.servers import Servers
from runtime.settings import Settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from api.services import ApiServices, ProcessServices
    from backfill.bybit.rest import BybitHistory
    from backfill.fetching import Place
    from backfill.jobs import BackfillJobs
    from backfill.missing_days import MissingDays
    from ingestion.pipeline.dead_letter import DeadLetter
    from ingestion.pipeline.pipeline import Availability, Pipeline, RowSink
    from ingestion.pipeline.warming import WarmingPlan
    from ingestion.rabbitmq.connection import BrokerAddress
    from market.clock import Clock
    from quality.drift import DriftLimits
    from registry.differences import RowCost
    from registry.life_cycle import RegistryLifeCycle
    from registry.serving import ServedVersion
    from runtime.stores import Stores
    from storage.database.metadata import Metadata
    from storage.database.quality_reports import QualityReports
    from storage.instruments import InstrumentPins
    from storage.online.feed import RowFeed
    from storage.online.memory import OnlineMemory
    from storage.online.store import OnlineStore
    from training_sets.builds.bookkeeping import Bookkeeping
    from training_sets.builds.builds import DatasetBuilds
    from training_sets.builds.notices import DatasetNotices
    from training_sets.builds.place import BuildPlace
    from training_sets.dataset.inputs import DatasetRules
    from training_sets.rebuild.due_days import Rebuild
    from transforms.kernel import Kernel
    from transforms.rows import FeatureSet


def kernel_cache_folder(settings: Settings) -> Path:
    """Where compiled kernels are kept."""
    return settings.feature_service_cache_path / "kernels"


def instrument_pins(settings: Settings) -> InstrumentPins:
    """The pinned scales of the raw folder, held to what raw Parquet states."""
    from storage.instruments import InstrumentPins
    from storage.raw.manifest import stated_scale

    raw_folder = settings.raw_data_storage_path
    return InstrumentPins(raw_folder, stated=partial(stated_scale, raw_folder))


def dead_letter_path(settings: Settings) -> Path:
    """Where rejected messages are kept."""
    return settings.raw_data_storage_path / "dead_letter.jsonl"


def dead_letter(settings: Settings) -> DeadLetter:
    """Where rejected messages go, within the settings' bounds."""
    from ingestion.pipeline.dead_letter import DeadLetter

    return DeadLetter(
        dead_letter_path(settings),
        most_bytes=settings.feature_service_dead_letter_mb << 20,
        most_days=settings.feature_service_dead_letter_days,
    )


def _kernel_of(settings: Settings, chosen: FeatureSet) -> Kernel:
    from transforms.kernel import compile_kernel

    return compile_kernel(chosen, kernel_cache_folder(settings))


def compiled_kernel(settings: Settings, version: str) -> Kernel:
    """The kernel of a registry version. Raises NotFound or InvalidRegistry."""
    from feature_repo.registry_versions import load_registry_version
    from transforms.kernel import compile_kernel

    chosen = load_registry_version(version, settings.feature_registry_versions_dir).feature_set
    return compile_kernel(chosen, kernel_cache_folder(settings))


def warming_plan(settings: Settings) -> WarmingPlan:
    """Where everything is that an engine of another version is warmed up from; its feature set is to be replaced."""
    from ingestion.pipeline.warming import WarmingPlan

    return WarmingPlan(
        load_registry_version(DEFAULT_VERSION).feature_set,
        kernel_cache_folder(settings),
        settings.raw_data_storage_path,
        settings.feature_service_market,
        settings.row_grid_ns,
    )


def day_rebuild(settings: Settings, stores: Stores, symbol: str, version: str) -> Rebuild:
    """The rebuild of a symbol's days for a registry version. Raises NotFound or InvalidRegistry."""
    from feature_repo.registry_versions import load_registry_version
    from training_sets.rebuild.due_days import Rebuild

    return Rebuild(
        raw=stores.raw.parquet,
        features=stores.features,
        kernel_cache=kernel_cache_folder(settings),
        symbol=symbol,
        feature_set=load_registry_version(version, settings.feature_registry_versions_dir).feature_set,
    )


def make_pipeline(
    settings: Settings,
    kernel: Kernel,
    *,
    sinks: Sequence[RowSink] = (),
    availability: Availability | None = None,
    log_flush_rows: int = 3600,
) -> Pipeline:
    """A pipeline into the raw folder and the feature log, and to further sinks.

    availability: when rows count as readable; None is the live rule. log_flush_rows: rows of a symbol that wait for one
    part of the feature log.
    """
    from ingestion.pipeline.pipeline import Pipeline, available_now
    from ingestion.sinks.sinks import FeatureLogSink
    from storage.features.log import FeatureLogWriter

    return Pipeline(
        kernel,
        instrument_pins(settings),
        raw_folder=settings.raw_data_storage_path,
        dead_letter=dead_letter(settings),
        sinks=[FeatureLogSink(FeatureLogWriter(settings.feature_log_storage_path, flush_rows=log_flush_rows)), *sinks],
        availability=availability or available_now,
        tape_sync_ms=settings.feature_service_tape_sync_ms,
        market=settings.feature_service_market,
    )


def online_store(servers: Servers) -> OnlineStore:
    """The online store on Redis."""
    from feature_repo.project import PROJECT
    from storage.online.store import OnlineStore

    return OnlineStore.connect(servers.online_store, project=PROJECT)


def row_feed(servers: Servers) -> RowFeed:
    """The rows of any symbol as they are stored."""
    from feature_repo.project import PROJECT
    from storage.online.feed import RowFeed

    return RowFeed.connect(servers.online_store, project=PROJECT)


@contextmanager
def metadata_store(servers: Servers) -> Iterator[Metadata]:
    """The metadata tables, brought up to the newest schema."""
    from storage.database.metadata import Metadata
    from storage.database.schema import upgrade

    upgrade(servers.postgres_url)
    metadata = Metadata(servers.postgres_url)
    try:
        yield metadata
    finally:
        metadata.close()


@contextmanager
def dataset_builds(settings: Settings, servers: Servers, stores: Stores) -> Iterator[DatasetBuilds]:
    """Dataset builds in the stores; the definitions must have been applied."""
    from training_sets.builds.watch import BuildWatch

    with metadata_store(servers) as metadata:
        books = bookkeeping(settings, servers, metadata)
        BuildWatch(books, stores.datasets).look()
        with _dataset_builds(settings, servers, stores, books) as builds:
            yield builds


@contextmanager
def backfill_jobs(settings: Settings, servers: Servers) -> Iterator[BackfillJobs]:
    """Backfills into the settings' raw folder; the schema must have been brought up."""
    from backfill.jobs import BackfillJobs
    from storage.database.backfill_jobs import BackfillStore
    from storage.database.job_queue import JobQueue

    with closing(BackfillStore(servers.postgres_url)) as store:
        jobs = BackfillJobs(
            store,
            JobQueue(servers.postgres_url),
            partial(backfill_place, settings),
            make_id=_new_id,
            most_days=settings.feature_service_backfill_max_days,
            is_enabled=settings.feature_service_backfill_enabled,
        )
        try:
            yield jobs
        finally:
            jobs.close()


def exchange_history(settings: Settings, sleep: Callable[[float], None], *, clock: Clock) -> BybitHistory:
    """The exchange's history by REST. sleep: how its client waits."""
    from backfill.bybit.rest import BybitHistory
    from ingestion.venues.bybit.rest import REST_URLS

    key, secret = settings.bybit_api_key, settings.bybit_api_secret
    return BybitHistory(
        settings.bybit_rest_url or REST_URLS[settings.bybit_environment],
        clock,
        category=settings.feature_service_market.category,
        delay_ms=settings.feature_service_backfill_rate_limit_delay_ms,
        credentials=None if key is None or secret is None else (key.get_secret_value(), secret.get_secret_value()),
        sleep=sleep,
    )


def backfill_place(settings: Settings, sleep: Callable[[float], None]) -> Place:
    """Where history comes from and goes to. sleep: how its client waits."""
    from backfill.bybit.archive import ADDRESSES
    from backfill.fetching import Place
    from market.clock import SystemClock

    clock = SystemClock()
    trades, orderbook = ADDRESSES.get(settings.feature_service_market.category, ("", ""))
    return Place(
        settings.raw_data_storage_path,
        instrument_pins(settings),
        exchange_history(settings, sleep, clock=clock),
        settings.bybit_trades_archive or trades,
        settings.bybit_orderbook_archive or orderbook,
        clock,
    )


@contextmanager
def quality_reports(servers: Servers) -> Iterator[QualityReports]:
    """The kept reports, for as long as the block lasts."""
    from storage.database.quality_reports import QualityReports

    with closing(QualityReports(servers.postgres_url)) as reports:
        yield reports


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
        make_id=_new_id,
    )


def dataset_notices(settings: Settings) -> DatasetNotices:
    """Where it is told that a dataset became ready or failed: RabbitMQ, or this process when none is configured."""
    if settings.rabbitmq_host is None:
        from training_sets.builds.notices import InProcessNotices

        return InProcessNotices()
    from ingestion.rabbitmq.notices import QueueNotices
    from training_sets.builds.notices import DATASET_READY

    return QueueNotices(broker_address(settings), DATASET_READY)


def broker_address(settings: Settings) -> BrokerAddress:
    """Where RabbitMQ is; RABBITMQ_HOST must be set."""
    from ingestion.rabbitmq.connection import BrokerAddress

    assert settings.rabbitmq_host is not None
    return BrokerAddress(
        settings.rabbitmq_host,
        settings.rabbitmq_port,
        settings.rabbitmq_user,
        settings.rabbitmq_password.get_secret_value(),
        settings.rabbitmq_vhost,
    )


def drift_limits(settings: Settings) -> DriftLimits:
    """From when on a column of served rows has drifted."""
    from quality.drift import DriftLimits

    return DriftLimits(
        psi=settings.feature_service_drift_psi,
        ks=settings.feature_service_drift_ks,
        missing_rate=settings.feature_service_drift_missing_rate,
    )


def queues_read(settings: Settings) -> dict[str, tuple[int, int]]:
    """Messages that wait and readers of each queue that ingest reads; RABBITMQ_HOST must be set.

    Not for a thread that runs an event loop. Raises StoreUnavailable.
    """
    from ingestion.rabbitmq.queue_lengths import queue_lengths
    from ingestion.sources.gateway.queues import gateway_queues
    from ingestion.sources.gateway.sharing import shard_queues

    has_positions = settings.position_manager_host is not None
    queues = gateway_queues(
        trade_queue=settings.ws_gateway_trade_queue, has_positions=has_positions, kept=settings.ws_gateway_kept or ()
    )
    shards = () if settings.feature_service_shards is None else shard_queues(settings.feature_service_shards)
    return queue_lengths(broker_address(settings), (*queues, *shards))


@contextmanager
def api_services(
    settings: Settings,
    servers: Servers,
    stores: Stores,
    *,
    registry: CollectorRegistry | None = None,
    memory: OnlineMemory | None = None,
    serving: ServedVersion | None = None,
) -> Iterator[ApiServices]:
    """What the HTTP API needs; the definitions must have been applied. Builds wait for a process with the jobs role.

    registry: the figures of this process; None is a registry of the API's own. memory: the newest rows of the ingest
    role, when it runs in this process. serving: the registry version where a request names none.
    """
    from api.limits import RequestLimits
    from api.services import ApiServices
    from registry.serving import ServedVersion
    from storage.database.alerts import AlertStore
    from storage.database.freshness import FreshnessStore
    from storage.database.metric_writer import request_writer
    from storage.database.upkeep import UpkeepStore
    from storage.online.memory import OnlineMemory

    key = settings.feature_service_api_key
    with (
        metadata_store(servers) as metadata,
        _dataset_builds(settings, servers, stores, bookkeeping(settings, servers, metadata)) as builds,
        backfill_jobs(settings, servers) as backfills,
        closing(online_store(servers)) as online,
        closing(UpkeepStore(servers.postgres_url)) as upkeep,
        closing(FreshnessStore(servers.postgres_url)) as freshness,
        closing(AlertStore(servers.postgres_url)) as alerts,
        quality_reports(servers) as reports,
        registry_life_cycle(settings, servers, metadata) as life_cycle,
        closing(request_writer(servers.postgres_url)) as requests,
        closing(feature_serving(servers)) as feature_server,
    ):
        yield ApiServices(
            **_process_facts(settings, stores, registry),
            upkeep=upkeep,
            freshness=freshness,
            alerts=alerts,
            online=online,
            metadata=metadata,
            builds=builds,
            backfills=backfills,
            quality_reports=reports,
            requests=requests,
            drift_limits=drift_limits(settings),
            open_kernel=partial(_kernel_of, settings),
            open_whole=stores.raw.open_whole,
            queue_lengths=None if settings.rabbitmq_host is None else partial(queues_read, settings),
            feed=row_feed(servers),
            api_key=None if key is None else key.get_secret_value(),
            memory=OnlineMemory() if memory is None else memory,
            serving=ServedVersion(DEFAULT_VERSION) if serving is None else serving,
            cors_origins=settings.feature_service_cors_origins or (),
            limits=RequestLimits(
                body_bytes=settings.feature_service_max_body_bytes,
                predictions_bytes=settings.feature_service_max_predictions_bytes,
                reads_per_s=settings.feature_service_reads_per_second,
                changes_per_s=settings.feature_service_changes_per_second,
            ),
            features=stores.features,
            datasets=stores.datasets,
            life_cycle=life_cycle,
            feature_server=feature_server,
        )


@contextmanager
def registry_life_cycle(settings: Settings, servers: Servers, metadata: Metadata) -> Iterator[RegistryLifeCycle]:
    """The versions of the settings' folder and their state; new ones come into Feast's registry by themselves."""
    from ingestion.pipeline.row_cost import RowCosts
    from market.clock import SystemClock, to_datetime
    from registry.agreement import Agreement
    from registry.differences import Differences, RowCost
    from registry.folder import VersionFolder
    from registry.life_cycle import RegistryLifeCycle
    from runtime.feature_repository import apply_feature_store
    from storage.database.activations import ActivationStore
    from storage.database.ingest_workers import living_workers
    from storage.database.registry_versions import RegistryStore

    clock = SystemClock()

    costs = RowCosts(warming_plan(settings))

    def now() -> datetime:
        return to_datetime(clock.now_ns())

    def measure(sets: list[FeatureSet]) -> list[RowCost]:
        return [RowCost(each.ms, each.rows, each.reason) for each in costs.of(sets)]

    with (
        closing(RegistryStore(servers.postgres_url)) as store,
        closing(ActivationStore(servers.postgres_url)) as activations,
    ):
        yield RegistryLifeCycle(
            store,
            Agreement(
                activations,
                workers=lambda: living_workers(metadata, now()),
                now=now,
                wait=time.sleep,
                within=timedelta(seconds=settings.feature_registry_activation_seconds),
            ),
            differences=Differences(
                VersionFolder(settings.feature_registry_versions_dir), settings.feature_log_storage_path, measure
            ),
            row_budget_ms=settings.feature_registry_row_budget_ms,
            now=now,
            announce=partial(apply_feature_store, settings, servers),
        )


@contextmanager
def process_services(
    settings: Settings, servers: Servers, stores: Stores, *, registry: CollectorRegistry, serving: ServedVersion
) -> Iterator[ProcessServices]:
    """What health and metrics of a process without the API need."""
    from api.services import ProcessServices
    from storage.database.alerts import AlertStore
    from storage.database.freshness import FreshnessStore
    from storage.database.upkeep import UpkeepStore

    with (
        metadata_store(servers) as metadata,
        closing(online_store(servers)) as online,
        closing(UpkeepStore(servers.postgres_url)) as upkeep,
        closing(FreshnessStore(servers.postgres_url)) as freshness,
        closing(AlertStore(servers.postgres_url)) as alerts,
    ):
        facts = _process_facts(settings, stores, registry)
        yield ProcessServices(
            **facts,
            serving=serving,
            online=online,
            metadata=metadata,
            upkeep=upkeep,
            freshness=freshness,
            alerts=alerts,
        )


def metrics_registry() -> CollectorRegistry:
    """A registry of figures with those of the process itself."""
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, values

    # Importing feast.metrics sets a variable that makes the values of every registry live in shared files.
    assert values.ValueClass is values.MutexValue, "prometheus_client is imported before Feast, by runtime.roles"
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _process_facts(settings: Settings, stores: Stores, registry: CollectorRegistry | None) -> dict[str, Any]:
    from ingestion.rabbitmq.check import check_broker
    from market.clock import SystemClock

    clock = SystemClock()
    return {
        "clock": clock,
        "make_trace_id": _new_id,
        "symbols": settings.feature_service_symbols,
        "raw": stores.raw.parquet,
        "versions_folder": settings.feature_registry_versions_dir,
        "check_queue": None if settings.rabbitmq_host is None else partial(check_broker, broker_address(settings)),
        "registry": registry if registry is not None else metrics_registry(),
        "started_ns": clock.now_ns(),
    }


@contextmanager
def _dataset_builds(
    settings: Settings, servers: Servers, stores: Stores, books: Bookkeeping
) -> Iterator[DatasetBuilds]:
    from training_sets.builds.builds import DatasetBuilds

    place = build_place(settings, servers, stores)
    builds = DatasetBuilds(books, place, stores.datasets, parallel=settings.dataset_builder_max_parallel)
    try:
        yield builds
    finally:
        builds.close()


def build_place(settings: Settings, servers: Servers, stores: Stores) -> BuildPlace:
    """The stores of a build, and the settings' rules."""
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
        rebuild_workers=settings.dataset_builder_rebuild_workers,
        draw_seed=partial(secrets.randbits, 32),
        filler=_missing_days(settings),
    )


def _missing_days(settings: Settings) -> MissingDays | None:
    """What fetches the days that a request lacks, where the settings want it."""
    from backfill.missing_days import MissingDays
    from market.clock import SystemClock

    if not (settings.feature_service_backfill_auto and settings.feature_service_backfill_enabled):
        return None
    return MissingDays(
        partial(backfill_place, settings), SystemClock(), most_days=settings.feature_service_backfill_max_days
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


def _new_id() -> str:
    return uuid.uuid4().hex
