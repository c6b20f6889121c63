"""Where the rows of an ingest role go."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import ServedRows
from ingestion.rabbitmq.bus import ProcessBus
from ingestion.rabbitmq.keyed_exchange import KeyedExchange
from ingestion.sinks.computations import ComputationTally
from ingestion.sinks.latest_rows import LatestRows
from ingestion.sinks.publishing import GRID, INTERVALS, LIVE_FEATURES, STORING_S, LivePublisher, Publisher
from ingestion.sinks.row_log import Remake
from ingestion.sinks.row_record import RowRecord
from ingestion.sinks.sinks import OnlineSink
from ingestion.worker.metrics import StageTimes
from ingestion.worker.ownership import Ownership
from ingestion.worker.steady_clock import WorkerClock
from market.clock import SECOND_NS
from market.errors import CorruptStore, StoreUnavailable
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.sources import SourceParts
from runtime.wiring import broker_address, compiled_kernel, online_store
from storage.database.metric_writer import MetricWriter, computation_writer
from storage.features.log import FeatureLogWriter
from storage.features.served_ticks import ServedTickWriter
from storage.online.memory import OnlineMemory
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


def open_sinks(  # noqa: PLR0913  # what it writes to, each a thing of the process
    settings: Settings,
    servers: Servers,
    parts: SourceParts,
    *,
    stages: StageTimes,
    ownership: Ownership,
    check: Callable[[], None],
    memory: OnlineMemory,
    bus: ProcessBus,
) -> IngestSinks:
    """The sinks of a worker.

    check: called before anything is kept; raises what forbids it. memory: takes its newest rows. bus: where rows are
    published to without RabbitMQ.
    """
    clock = parts.clock
    online = online_store(servers)
    record = RowRecord(
        FeatureLogWriter(settings.feature_log_storage_path),
        ServedTickWriter(settings.feature_log_storage_path),
        raw_folder=settings.raw_folder,
        is_whole=parts.source.is_whole,
        check=check,
        stored_ns=partial(stored_row_ns, online),
        give_way=lambda: newest.wait_until_stored(STORING_S),
    )
    figures = computation_writer(servers.postgres_url)
    tally = ComputationTally(tell=figures.add, on_close=figures.close)
    redis = OnlineSink(online, memory=memory, fences=lambda: ownership.fences)

    def note_online(served: Sequence[ServedRows]) -> None:
        now_ns = clock.now_ns()
        for each in served:
            if each.newest_recv_ns is not None:
                stages.observe("fresh", (now_ns - each.newest_recv_ns) / SECOND_NS)
        tally.note_stored(served, now_ns)
        record.note_given(served, given_ns=now_ns)

    def note_whole(row_ns: int) -> None:
        stages.note_stored(row_ns, clock.now_ns())
        tally.note_whole()

    newest = LatestRows(redis, on_written=note_online, on_whole=note_whole)
    outgoing = open_publisher(settings, bus)
    publisher = LivePublisher(
        outgoing,
        clock=clock,
        make_id=lambda: uuid.uuid4().hex,
        fencing=ownership,
        is_storing=lambda: newest.is_busy,
        has_grid=settings.feature_service_publish_grid,
    )
    return IngestSinks(stages, record, redis, newest, outgoing, publisher, figures, tally)


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


def newest_row_ns(servers: Servers, symbol: str) -> int | None:
    """``stored_row_ns`` over a connection of its own, for who asks once in an outage."""
    with closing(online_store(servers)) as online:
        return stored_row_ns(online, symbol)


def stored_row_ns(online: OnlineStore, symbol: str) -> int | None:
    """Time of the newest row that the online store has of a symbol; None without one, or where nobody can say."""
    try:
        [stored] = online.read([symbol])
    except (StoreUnavailable, CorruptStore):
        return None
    return None if stored is None else stored.row_ns
