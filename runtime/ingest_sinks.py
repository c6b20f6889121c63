"""Where the rows of an ingest role go."""

from __future__ import annotations

from dataclasses import dataclass

from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import ServedRows
from ingestion.rabbitmq.bus import ProcessBus
from ingestion.rabbitmq.keyed_exchange import KeyedExchange
from ingestion.sinks.computations import ComputationTally
from ingestion.sinks.latest_rows import LatestRows
from ingestion.sinks.publishing import GRID, INTERVALS, LIVE_FEATURES, LivePublisher, Publisher
from ingestion.sinks.row_log import Remake
from ingestion.sinks.row_record import RowRecord
from ingestion.sinks.sinks import OnlineSink
from ingestion.worker.metrics import StageTimes
from ingestion.worker.steady_clock import WorkerClock
from market.errors import CorruptStore, StoreUnavailable
from runtime.settings import Settings
from runtime.wiring import broker_address, compiled_kernel
from storage.database.metric_writer import MetricWriter
from storage.online.store import OnlineStore
from transforms.rows import FeatureSet


@dataclass(frozen=True, slots=True)
class IngestSinks:
    """Where closed rows go, and the times that it takes.

    online writes to ``redis``, publisher to ``outgoing``, tally to ``figures``.
    """

    stages: StageTimes
    record: RowRecord
    redis: OnlineSink
    online: LatestRows
    outgoing: Publisher
    publisher: LivePublisher
    figures: MetricWriter
    tally: ComputationTally


def open_publisher(settings: Settings, bus: ProcessBus) -> Publisher:
    """What live rows are published with: RabbitMQ where it is configured, else the process itself."""
    if settings.rabbitmq_host is None:
        return bus
    keys = [*INTERVALS, GRID] if settings.feature_service_publish_grid else list(INTERVALS)
    return KeyedExchange(broker_address(settings), LIVE_FEATURES, keys)


def remaking(settings: Settings, pipeline: Pipeline, clock: WorkerClock) -> Remake:
    """What makes the rows that an outage left out of the feature log, of the version that they were of."""

    def remake(symbol: str, chosen: FeatureSet, first_ns: int, last_ns: int) -> ServedRows | None:
        kernel = pipeline.lanes[symbol].engine.kernel
        if kernel.feature_set != chosen:  # another version is served since
            kernel = compiled_kernel(settings, chosen.version)
        return pipeline.rows_again(symbol, kernel, (first_ns, last_ns), clock.now_ns())

    return remake


def stored_row_ns(online: OnlineStore, symbol: str) -> int | None:
    """Time of the newest row that the online store has of a symbol; None without one, or where nobody can say."""
    try:
        [stored] = online.read([symbol])
    except (StoreUnavailable, CorruptStore):
        return None
    return None if stored is None else stored.row_ns
