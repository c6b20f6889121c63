"""What the routes need, handed to them through the app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from api.limits import RequestLimits
from backfill.jobs import BackfillJobs
from feature_repo.registry_versions import DEFAULT_VERSION
from feature_repo.serving import FeatureServing
from ingestion.tape.feature_cost import FeatureMeter
from ingestion.tape.present import Present
from market.clock import Clock
from quality.drift import USUAL_LIMITS, DriftLimits
from quality.limits import QualityLimits
from registry.life_cycle import RegistryLifeCycle
from registry.serving import ServedVersion
from storage.database.alerts import AlertStore
from storage.database.freshness import FreshnessStore
from storage.database.metadata import Metadata
from storage.database.metric_writer import MetricWriter
from storage.database.quality_reports import QualityReports
from storage.database.upkeep import UpkeepStore
from storage.features.log import FeatureLog
from storage.online.feed import RowFeed
from storage.online.memory import OnlineMemory
from storage.online.store import OnlineStore
from storage.raw.raw_data import RawData
from training_sets.builds.builds import DatasetBuilds
from training_sets.dataset.datasets import Datasets
from training_sets.rebuild.raw_history import OpenRaw
from training_sets.samples.book_parts import KnownBookParts
from training_sets.samples.kline_days import KnownKlines
from transforms.kernel import Kernel
from transforms.rows import FeatureSet


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessServices:
    """The stores and facts behind health and metrics, which every process serves.

    symbols: those the service follows. make_trace_id: a new id at each call. check_queue: raises StoreUnavailable when
    the message queue does not answer; None where none is used. registry: the figures of this process. started_ns: when
    it began. upkeep, freshness, alerts: their state; None if unknown. serving: the registry version that
    this process serves, which changes with the active one.
    """

    online: OnlineStore
    metadata: Metadata
    clock: Clock
    make_trace_id: Callable[[], str]
    symbols: tuple[str, ...]
    raw: RawData
    versions_folder: Path
    check_queue: Callable[[], None] | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    started_ns: int = 0
    upkeep: UpkeepStore | None = None
    freshness: FreshnessStore | None = None
    alerts: AlertStore | None = None
    serving: ServedVersion = field(default_factory=lambda: ServedVersion(DEFAULT_VERSION))

    @property
    def default_version(self) -> str:
        """The registry version that is meant where a request names none."""
        return self.serving.version


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices(ProcessServices):
    """The stores and facts behind the API.

    api_key: None asks for none. heartbeat_s: how long a stream is silent before it says that it lives. memory: filled
    by the ingest role of this process, empty without one. limits: what a request may be. requests: takes a row of each
    that was answered; None keeps none. drift_limits, quality_limits: from when on a column
    has drifted, and what a stream does is wrong. queue_lengths: messages and
    readers by queue; None where no message queue is used. cors_origins: whose pages a browser may let read the answers.
    open_kernel: the compiled kernel of a feature set, for rows of the past; None answers none. open_whole: opens all
    that is known of a symbol, what is only on its tape too; None has no tape. present: a symbol's market as its tape
    has it now, with so many trades; None has no tape. feature_meter: measures what features cost; None has no tape.
    known_books, known_klines: what certificates have read of parts and days that are finished.
    """

    builds: DatasetBuilds
    backfills: BackfillJobs
    quality_reports: QualityReports
    feed: RowFeed
    memory: OnlineMemory = field(default_factory=OnlineMemory)
    heartbeat_s: float = 15.0
    limits: RequestLimits = field(default_factory=RequestLimits)
    cors_origins: tuple[str, ...] = ()
    requests: MetricWriter | None = None
    drift_limits: DriftLimits = USUAL_LIMITS
    quality_limits: QualityLimits = field(default_factory=QualityLimits)
    queue_lengths: Callable[[], Mapping[str, tuple[int, int]]] | None = None
    open_kernel: Callable[[FeatureSet], Kernel] | None = None
    open_whole: OpenRaw | None = None
    present: Callable[[str, FeatureSet, int], Present] | None = None
    feature_meter: FeatureMeter | None = None
    api_key: str | None = field(repr=False)
    features: FeatureLog
    datasets: Datasets
    life_cycle: RegistryLifeCycle
    feature_server: FeatureServing
    known_books: KnownBookParts = field(default_factory=KnownBookParts)
    known_klines: KnownKlines = field(default_factory=KnownKlines)

    def open_raw(self, symbol: str) -> AbstractContextManager[RawData]:
        """All that is known of a symbol, for as long as it is read."""
        return nullcontext(self.raw) if self.open_whole is None else self.open_whole(symbol)


# Both are coroutines although they wait for nothing: FastAPI runs a plain function in a thread, for each request.


async def process_services_of(request: Request) -> ProcessServices:
    """The services that ``create_app`` or ``create_probe`` was given."""
    services: ProcessServices = request.app.state.services
    return services


async def services_of(request: Request) -> ApiServices:
    """The services that ``create_app`` was given."""
    services: ApiServices = request.app.state.services
    return services


OfProcess = Annotated[ProcessServices, Depends(process_services_of)]
Services = Annotated[ApiServices, Depends(services_of)]
