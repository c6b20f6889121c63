"""What the HTTP API and the health of a process answer from, from settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from feature_repo.registry_versions import DEFAULT_VERSION, load_registry_file
from market.errors import InvalidSettings
from runtime.backfilling import backfill_jobs
from runtime.building import bookkeeping, open_builds
from runtime.feature_repository import FeatureServices, feature_serving
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import (
    broker_address,
    drift_limits,
    kernel_of,
    metadata_store,
    new_id,
    online_store,
    quality_limits,
    quality_reports,
    queues_read,
    row_feed,
    warming_plan,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from api.services import ApiServices, ProcessServices
    from ingestion.tape.present import Present
    from registry.differences import RowCost
    from registry.life_cycle import RegistryLifeCycle
    from registry.serving import ServedVersion
    from runtime.stores import Stores
    from storage.database.metadata import Metadata
    from storage.online.memory import OnlineMemory
    from transforms.rows import FeatureSet


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
    from ingestion.tape.feature_cost import FeatureMeter
    from registry.serving import ServedVersion
    from storage.database.alerts import AlertStore
    from storage.database.freshness import FreshnessStore
    from storage.database.metric_writer import request_writer
    from storage.database.upkeep import UpkeepStore
    from storage.online.memory import OnlineMemory

    key = settings.feature_service_api_key
    with (
        metadata_store(servers) as metadata,
        open_builds(settings, servers, stores, bookkeeping(settings, servers, metadata)) as builds,
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
            quality_limits=quality_limits(settings),
            open_kernel=partial(kernel_of, settings),
            open_whole=stores.raw.open_whole,
            present=partial(_present, settings, stores),
            feature_meter=FeatureMeter(warming_plan(settings)),
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


def _present(settings: Settings, stores: Stores, symbol: str, chosen: FeatureSet, most_trades: int) -> Present:
    from ingestion.tape.present import present_market
    from market.clock import SystemClock

    return present_market(
        settings.raw_folder,
        symbol,
        stores.pins,
        kernel_of(settings, chosen),
        grid_ns=settings.row_grid_ns,
        now_ns=SystemClock().now_ns(),
        most_trades=most_trades,
    )


@contextmanager
def registry_life_cycle(settings: Settings, servers: Servers, metadata: Metadata) -> Iterator[RegistryLifeCycle]:
    """The versions of the settings' folder and their state; new ones come into Feast's registry by themselves."""
    from ingestion.pipeline.row_cost import RowCosts
    from market.clock import SystemClock, to_datetime
    from registry.active import ActiveVersion
    from registry.agreement import Agreement
    from registry.differences import Differences, RowCost
    from registry.folder import VersionFolder
    from registry.life_cycle import RegistryLifeCycle
    from storage.database.activations import ActivationStore
    from storage.database.ingest_workers import living_workers
    from storage.database.registry_versions import RegistryStore

    clock = SystemClock()

    costs = RowCosts(warming_plan(settings))

    def now() -> datetime:
        return to_datetime(clock.now_ns())

    def measure(sets: list[FeatureSet]) -> list[RowCost]:
        return [
            RowCost(None if each.ms is None else round(each.ms, 4), each.rows, each.reason) for each in costs.of(sets)
        ]

    with (
        closing(RegistryStore(servers.postgres_url)) as store,
        closing(ActivationStore(servers.postgres_url)) as activations,
    ):
        yield RegistryLifeCycle(
            ActiveVersion(store, by_files=None if settings.feature_registry_use_db else version_by_files(settings)),
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
            services=FeatureServices(settings, servers),
        )


def version_by_files(settings: Settings) -> str:
    """The version that is served where the database is not asked. Raises InvalidRegistry for a broken legacy file."""
    legacy = settings.feature_registry_config_path
    return DEFAULT_VERSION if legacy is None else load_registry_file(legacy).version


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
    """A registry of figures with those of the process itself.

    Raises InvalidSettings where the process began with prometheus_client's variable for shared files.
    """
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, values

    # Importing feast.metrics sets that variable too, so prometheus_client is imported before Feast, by runtime.roles.
    if values.ValueClass is not values.MutexValue:
        rule = "PROMETHEUS_MULTIPROC_DIR: must not be set, because each process has its own metrics, was set"
        raise InvalidSettings("settings", [rule])
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
        "make_trace_id": new_id,
        "symbols": settings.feature_service_symbols,
        "raw": stores.raw.parquet,
        "versions_folder": settings.feature_registry_versions_dir,
        "check_queue": None if settings.rabbitmq_host is None else partial(check_broker, broker_address(settings)),
        "registry": registry if registry is not None else metrics_registry(),
        "started_ns": clock.now_ns(),
    }
