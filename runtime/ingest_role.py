"""The ingest role: a worker on its source, with everything it writes to."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from ingestion.bus import ProcessBus
from ingestion.bybit_rest import REST_URLS, BybitRest
from ingestion.bybit_stream import PUBLIC_URLS, BybitSource
from ingestion.dead_letter import DeadLetter
from ingestion.gateway import GatewaySource, gateway_queues
from ingestion.latest_rows import LatestRows
from ingestion.metrics import StageTimes, StatusCollector
from ingestion.ownership import Ownership
from ingestion.pipeline import Pipeline, ServedRows, available_now
from ingestion.play import PlayClock
from ingestion.played_source import PlayedSource
from ingestion.position_manager import PositionManager
from ingestion.publishing import LivePublisher, Publisher
from ingestion.rabbitmq import QueueWriter
from ingestion.recordings import RejectedLine, read_recording
from ingestion.row_record import RowRecord
from ingestion.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.sinks import OnlineSink
from ingestion.source import Source, TimedMessage
from ingestion.status import worker_status
from ingestion.steady_clock import SteadyClock
from ingestion.subscriptions import Gateway, Subscriptions
from ingestion.worker import Worker, WorkerClock
from market.clock import DAY_NS, SECOND_NS, Clock, SystemClock, to_datetime
from market.errors import Conflict, InvalidSettings
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import broker_address, compiled_kernel, instrument_pins, online_store
from storage.feature_log import FeatureLogWriter
from storage.leases import Leases
from storage.online_memory import OnlineMemory
from storage.tape import tape_symbols
from storage.tape.lock import is_held
from storage.tape.segments import tape_folder

SourceName = Literal["gateway", "bybit", "recording", "simulator"]
LEASED: Final = ("gateway", "bybit")
"""Sources whose symbols have one owner at a time."""
SIMULATED_NS: Final = 3650 * DAY_NS
"""Longer than a process lives; the market is made as it is played."""
SWITCH_INTERVAL_S: Final = 0.0005
"""How long a thread may keep the interpreter from another: a tenth of Python's own, for the slowest row's sake."""
GC_THRESHOLD: Final = 50_000
"""Allocations between two collections of the youngest objects; messages are freed without it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """What ingest reads, and how it plays what is played."""

    name: SourceName
    recording: Path | None = None
    speed: float = 1.0
    seed: int = 1


class IngestRole:
    """One worker; ``run`` blocks until it is stopped or fails."""

    def __init__(
        self,
        settings: Settings,
        servers: Servers,
        choice: SourceChoice,
        *,
        version: str,
        registry: CollectorRegistry | None = None,
        memory: OnlineMemory | None = None,
        machine: Clock | None = None,
    ) -> None:
        """Checks the choice and compiles; nothing is read before ``run``. Raises what a wrong choice raises.

        registry: takes the worker's metrics. memory: takes its newest rows, for an API in this process. machine: the
        clock on the wall; None is the system's.
        """
        self._machine = machine or SystemClock()
        self.registry = CollectorRegistry() if registry is None else registry
        self._memory = OnlineMemory() if memory is None else memory
        self.worker_id = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.bus = ProcessBus()
        """Where rows are published to without RabbitMQ."""
        self._settings = settings
        self._servers = servers
        self._choice = choice
        self._stop = threading.Event()
        self._worker: Worker | None = None
        self._describe: Callable[[], dict[str, Any]] | None = None
        check_choice(settings, choice)
        self._kernel = compiled_kernel(settings, version)
        self._kernel.warm_up()

    def run(self) -> None:
        """Take the symbols, then ingest until ``stop``. Raises what ends the worker."""
        settings = self._settings
        ownership = Ownership(
            Leases(self._servers.postgres_url),
            self.worker_id,
            settings.feature_service_symbols,
            started_at=to_datetime(self._machine.now_ns()),
            passing_ns=monotonic_ns,
        )
        with ExitStack() as stack:
            stack.callback(ownership.close)
            if self._choice.name in LEASED and not ownership.acquire(self._stop, held_tapes=self._held_tapes):
                return
            _tune()
            self._ingest(ownership)

    def stop(self) -> None:
        """Let ``run`` end; from any thread."""
        self._stop.set()
        if self._worker is not None:
            self._worker.stop()

    def status(self) -> dict[str, Any]:
        """The worker's status document; empty before it owns its symbols."""
        return {} if self._describe is None else self._describe()

    def _held_tapes(self, symbols: Sequence[str]) -> list[str]:
        raw_folder = self._settings.raw_data_storage_path
        return [symbol for symbol in symbols if is_held(tape_folder(raw_folder, symbol))]

    def _ingest(self, ownership: Ownership) -> None:
        settings = self._settings
        parts = make_source(settings, self._choice, self._machine)
        source, clock = parts.source, parts.clock
        stages = StageTimes(self.registry)
        record = RowRecord(
            FeatureLogWriter(settings.feature_log_storage_path),
            raw_folder=settings.raw_data_storage_path,
            features_folder=settings.feature_log_storage_path,
            feature_set=self._kernel.feature_set,
            is_whole=source.is_whole,
            check=ownership.check,
        )
        redis = OnlineSink(online_store(self._servers), memory=self._memory, fences=lambda: ownership.fences)

        def note_online(served: Sequence[ServedRows]) -> None:
            final = [int(each.rows.row_ns[-1]) for each in served if each.is_final]
            if final:
                stages.observe("online", (clock.now_ns() - max(final)) / SECOND_NS)

        online = LatestRows(redis, on_written=note_online)
        outgoing = self._publisher()
        publisher = LivePublisher(outgoing, clock=clock, make_id=lambda: uuid.uuid4().hex, fencing=ownership)
        worker = Worker(
            source,
            clock,
            symbols=settings.feature_service_symbols,
            stages=stages,
            refresh_ms=settings.feature_service_refresh_ms,
            check=ownership.check,
            online=online,
            record=record,
            tasks=[publisher.run, *parts.tasks],
            on_close=[*parts.release, publisher.finish, outgoing.close],
        )
        self._worker = worker
        pipeline = Pipeline(
            self._kernel,
            instrument_pins(settings),
            raw_folder=settings.raw_data_storage_path,
            dead_letter=DeadLetter(settings.raw_data_storage_path / "dead_letter.jsonl"),
            sinks=[record, online, publisher],
            availability=available_now,
            tape_sync_ms=settings.feature_service_tape_sync_ms,
            symbols=settings.feature_service_symbols if self._choice.name in LEASED else None,
            history=record,
            on_gap=worker.lose_book,
        )

        def figures() -> Mapping[str, float]:
            return {
                "online_outages_total": redis.outages,
                "online_is_away": float(redis.is_away),
                "publish_outages_total": publisher.outages,
                "publish_replaced_total": publisher.replaced,
                "published_total": publisher.published,
                "log_waiting": record.waiting,
                "lease_outages_total": ownership.outages,
                **parts.figures(),
            }

        def describe() -> dict[str, Any]:
            return worker_status(worker, pipeline, subscriptions=parts.subscriptions, figures=figures)

        self._describe = describe
        self.registry.register(StatusCollector(describe, now_ns=clock.now_ns))

        ownership.keep(describe=describe, on_lost=worker.fail)
        if self._stop.is_set():
            worker.stop()
        worker.run(pipeline)
        _log.info("ingest ended: %d messages, %d rows", pipeline.counters.messages, pipeline.counters.rows)

    def _publisher(self) -> Publisher:
        return self.bus if self._settings.rabbitmq_host is None else QueueWriter(broker_address(self._settings))


def check_choice(settings: Settings, choice: SourceChoice) -> None:
    """Raises InvalidSettings or Conflict where the settings or the data folder do not fit the source."""
    if choice.name == "gateway" and settings.rabbitmq_host is None:
        raise InvalidSettings("settings", ["RABBITMQ_HOST: must be set for --source gateway, was not set"])
    if choice.name == "simulator":
        known = [symbol.symbol for symbol in DEFAULT_SYMBOLS]
        unknown = [symbol for symbol in settings.feature_service_symbols if symbol not in known]
        if unknown:
            raise InvalidSettings(
                "settings",
                [f"FEATURE_SERVICE_SYMBOLS: the simulator knows {', '.join(known)}, was also {', '.join(unknown)}"],
            )
    # The recording's times lie before those of a tape that ran since: every message would count as late.
    if choice.name == "recording" and (taped := tape_symbols(settings.raw_data_storage_path)):
        raise Conflict(
            f"{settings.raw_data_storage_path}: must hold no tape before a recording is played, "
            f"was holding {', '.join(taped)}; --data names another folder"
        )


@dataclass(frozen=True, slots=True)
class SourceParts:
    """A source, the clock that its messages go by, and what belongs to it.

    tasks: what runs beside it on the event loop. release: awaited once everything delivered is durable.
    subscriptions: their documents, for the status. figures: what it counts.
    """

    source: Source
    clock: WorkerClock
    tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    release: tuple[Callable[[], Awaitable[None]], ...] = ()
    subscriptions: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    figures: Callable[[], Mapping[str, float]] = dict


def make_source(settings: Settings, choice: SourceChoice, machine: Clock) -> SourceParts:
    """The chosen source."""
    if choice.name == "gateway":
        return _gateway(settings, machine)
    if choice.name == "bybit":
        return _bybit(settings, machine)
    messages: Iterator[TimedMessage | RejectedLine]
    if choice.name == "recording":
        assert choice.recording is not None, "the command line asks for it"
        messages = read_recording(choice.recording)
        clock = PlayClock(machine, begin_ns=None, speed=choice.speed)
    else:
        known = {symbol.symbol: symbol for symbol in DEFAULT_SYMBOLS}
        chosen = [known[symbol] for symbol in settings.feature_service_symbols]
        begin_ns = machine.now_ns()
        messages = simulate(chosen, seed=choice.seed, start_ns=begin_ns, duration_ns=SIMULATED_NS)
        clock = PlayClock(machine, begin_ns=begin_ns, speed=choice.speed)
    return SourceParts(PlayedSource(messages, clock), clock)


def _gateway(settings: Settings, machine: Clock) -> SourceParts:
    symbols = settings.feature_service_symbols
    clock = SteadyClock(machine, monotonic_ns)
    has_positions = settings.position_manager_host is not None
    subscriptions = positions = None
    release: list[Callable[[], Awaitable[None]]] = []
    if settings.ws_gateway_host is not None:
        gateway = Gateway(
            settings.ws_gateway_host, settings.ws_gateway_port, api_key=_secret(settings.ws_gateway_api_key)
        )
        subscriptions = Subscriptions(gateway, symbols, clock, has_positions=has_positions)
        release.append(subscriptions.close)
    else:
        _log.warning("WS_GATEWAY_HOST is not set: what the queues bring is read, nothing is subscribed")
    if settings.position_manager_host is not None:
        positions = PositionManager(
            settings.position_manager_host,
            settings.position_manager_port,
            symbols,
            clock,
            api_key=_secret(settings.position_manager_api_key),
        )
        release.append(positions.close)
    rest = BybitRest(settings.bybit_rest_url or REST_URLS[settings.bybit_environment])
    release.append(rest.close)
    source = GatewaySource(
        broker_address(settings),
        gateway_queues(trade_queue=settings.ws_gateway_trade_queue, has_positions=has_positions),
        clock=clock,
        subscriptions=subscriptions,
        order_books=rest,
        positions=positions,
    )

    def figures() -> Mapping[str, float]:
        return {
            "broker_connections_total": source.connections,
            "broker_is_connected": float(source.is_connected),
            "order_books_taken_total": source.order_books_taken,
            "clock_steps_total": clock.steps,
            "subscription_renewals_total": 0 if subscriptions is None else subscriptions.renewals,
            "subscription_failures_total": 0 if subscriptions is None else subscriptions.failures,
        }

    return SourceParts(
        source,
        clock,
        tasks=() if subscriptions is None else (subscriptions.run,),
        release=(source.release, *release),
        subscriptions=tuple if subscriptions is None else subscriptions.documents,
        figures=figures,
    )


def _bybit(settings: Settings, machine: Clock) -> SourceParts:
    clock = SteadyClock(machine, monotonic_ns)
    source = BybitSource(
        settings.feature_service_symbols,
        url=settings.bybit_stream_url or PUBLIC_URLS[settings.bybit_environment],
        clock=clock,
        rng=Random(),  # noqa: S311  # the jitter of reconnections
    )

    def figures() -> Mapping[str, float]:
        return {
            "exchange_connections_total": source.connections,
            "repeated_total": source.repeated,
            "clock_steps_total": clock.steps,
        }

    return SourceParts(source, clock, subscriptions=source.documents, figures=figures)


def _secret(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def monotonic_ns() -> int:
    """Time that passes whatever the clock is set to, and while the machine sleeps too."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _tune() -> None:
    """What is there now lives as long as the process: leave it out of every collection to come."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
