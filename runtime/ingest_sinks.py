"""Where the rows of an ingest role go."""

from __future__ import annotations

from dataclasses import dataclass

from ingestion.rabbitmq.bus import ProcessBus
from ingestion.rabbitmq.keyed_exchange import KeyedExchange
from ingestion.sinks.computations import ComputationTally
from ingestion.sinks.latest_rows import LatestRows
from ingestion.sinks.publishing import GRID, INTERVALS, LIVE_FEATURES, LivePublisher, Publisher
from ingestion.sinks.row_record import RowRecord
from ingestion.sinks.sinks import OnlineSink
from ingestion.worker.metrics import StageTimes
from runtime.settings import Settings
from runtime.wiring import broker_address
from storage.database.metric_writer import MetricWriter


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
