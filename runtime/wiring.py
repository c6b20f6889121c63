"""The composition root: settings in, connected objects out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.servers import Servers
from runtime.settings import Settings, object_store_properties

if TYPE_CHECKING:
    from ingestion.pipeline.dead_letter import DeadLetter
    from ingestion.pipeline.pipeline import Pipeline
    from ingestion.pipeline.served_rows import Availability, RowSink
    from ingestion.pipeline.warming import WarmingPlan
    from ingestion.rabbitmq.connection import BrokerAddress
    from market.instruments import Instrument
    from quality.drift import DriftLimits
    from quality.limits import QualityLimits
    from runtime.stores import Stores
    from storage.database.metadata import Metadata
    from storage.database.quality_reports import QualityReports
    from storage.instruments import InstrumentPins
    from storage.objects.path import ObjectPath
    from storage.online.feed import RowFeed
    from storage.online.store import OnlineStore
    from storage.places import Place
    from storage.raw.published import Published
    from training_sets.rebuild.due_days import Rebuild
    from transforms.kernel import Kernel
    from transforms.rows import FeatureSet


def kernel_cache_folder(settings: Settings) -> Path:
    """Where compiled kernels are kept."""
    return settings.feature_service_cache_path / "kernels"


def instrument_pins(settings: Settings, published: Published | None = None) -> InstrumentPins:
    """The pinned scales of the raw folder, held to what raw Parquet states, by ``published`` where that is given."""
    from storage.instruments import InstrumentPins
    from storage.raw.manifest import stated_scale

    def stated(symbol: str, *, is_pinned: bool) -> Instrument | None:  # noqa: ARG001  # it is asked all the same
        return stated_scale(settings.raw_data_storage_path, symbol)

    return InstrumentPins(settings.raw_folder, stated=stated if published is None else published.scale)


def prepare_places(settings: Settings) -> None:
    """Make the top folders of stores and archive in an object store. Raises InvalidSettings, StoreUnavailable."""
    places = object_places(settings)
    if places:
        object_store_properties()  # of which the endpoint is checked
    for place in places:
        place.prepare()


def object_places(settings: Settings) -> list[ObjectPath]:
    """The tops of stores and archive that are in an object store."""
    from storage.objects.path import ObjectPath

    places = (
        settings.raw_data_storage_path,
        settings.feature_log_storage_path,
        settings.dataset_storage_path,
        settings.feature_service_archive_path,
    )
    return [place for place in places if isinstance(place, ObjectPath)]


def prepared_place(address: str) -> Place:
    """A folder of this machine, or one in an object store, made as the top of a store.

    Raises InvalidRequest, StoreUnavailable.
    """
    from storage.objects.path import ObjectPath
    from storage.places import place_of

    place = place_of(address)
    if isinstance(place, ObjectPath):
        place.prepare()
    return place


def dead_letter_path(settings: Settings) -> Path:
    """Where rejected messages are kept."""
    return settings.raw_folder / "dead_letter.jsonl"


def dead_letter(settings: Settings) -> DeadLetter:
    """Where rejected messages go, within the settings' bounds."""
    from ingestion.pipeline.dead_letter import DeadLetter

    return DeadLetter(
        dead_letter_path(settings),
        most_bytes=settings.feature_service_dead_letter_mb << 20,
        most_days=settings.feature_service_dead_letter_days,
    )


def kernel_of(settings: Settings, chosen: FeatureSet) -> Kernel:
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
    from feature_repo.registry_versions import DEFAULT_VERSION, load_registry_version
    from ingestion.pipeline.warming import WarmingPlan

    return WarmingPlan(
        load_registry_version(DEFAULT_VERSION).feature_set,
        kernel_cache_folder(settings),
        settings.raw_folder,
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
    from ingestion.pipeline.pipeline import Pipeline
    from ingestion.pipeline.served_rows import available_now
    from ingestion.sinks.sinks import FeatureLogSink
    from storage.features.log import FeatureLogWriter
    from storage.raw.published import Published

    prepare_places(settings)
    return Pipeline(
        kernel,
        instrument_pins(settings),
        raw_folder=settings.raw_folder,
        dead_letter=dead_letter(settings),
        sinks=[FeatureLogSink(FeatureLogWriter(settings.feature_log_storage_path, flush_rows=log_flush_rows)), *sinks],
        availability=availability or available_now,
        tape_sync_ms=settings.feature_service_tape_sync_ms,
        market=settings.feature_service_market,
        published=Published(settings.raw_data_storage_path),
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
    from storage.database.migration import upgrade

    upgrade(servers.postgres_url)
    metadata = Metadata(servers.postgres_url)
    try:
        yield metadata
    finally:
        metadata.close()


@contextmanager
def quality_reports(servers: Servers) -> Iterator[QualityReports]:
    """The kept reports, for as long as the block lasts."""
    from storage.database.quality_reports import QualityReports

    with closing(QualityReports(servers.postgres_url)) as reports:
        yield reports


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


def quality_limits(settings: Settings) -> QualityLimits:
    """From when on what a stream does is told as wrong."""
    from quality.limits import QualityLimits

    return QualityLimits(
        missing_rate=settings.feature_service_quality_missing_rate,
        anomaly_rate=settings.feature_service_quality_anomaly_rate,
        late_rate=settings.feature_service_quality_late_rate,
        duplicate_rate=settings.feature_service_quality_duplicate_rate,
        book_silence_s=settings.feature_service_quality_book_silence_seconds,
        trade_silence_s=settings.feature_service_quality_trade_silence_seconds,
        ticker_silence_s=settings.feature_service_quality_ticker_silence_seconds,
        kline_silence_s=settings.feature_service_quality_kline_silence_seconds,
        repair_s=settings.feature_service_quality_repair_seconds,
        clock_jump_ms=settings.feature_service_quality_clock_jump_ms,
        outlier_deviations=settings.feature_service_quality_outlier_deviations,
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


def new_id() -> str:
    return uuid.uuid4().hex
