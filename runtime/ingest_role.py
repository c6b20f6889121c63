"""The ingest role: a worker on its source, with everything it writes to."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from ingestion.pipeline.compiled import load_compiled
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import available_now
from ingestion.rabbitmq.bus import ProcessBus
from ingestion.sources.gateway.sharing import shard_queues
from ingestion.venues.decoders import Decoders, venue_of
from ingestion.worker.disk_room import DiskRoom
from ingestion.worker.metrics import StageTimes, StatusCollector
from ingestion.worker.ownership import Ownership
from ingestion.worker.shadow_serving import ShadowServing
from ingestion.worker.status import worker_status
from ingestion.worker.withheld import WithheldGroups
from ingestion.worker.worker import Worker
from market.clock import SECOND_NS, Clock, SystemClock, to_datetime
from market.errors import StoreUnavailable
from runtime.ingest_sinks import IngestSinks, newest_row_ns, open_sinks, remaking
from runtime.ingest_start import compile_and_tell
from runtime.ingest_versions import RoleVersions, version_before
from runtime.interpreter import tune
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.sources import LEASED, SourceChoice, SourceParts, check_choice, make_source, monotonic_ns, warmed
from runtime.wiring import compiled_kernel, dead_letter, instrument_pins
from storage.database.leases import Leases
from storage.database.shadow import ShadowStore
from storage.online.memory import OnlineMemory
from storage.raw.published import Published
from storage.tape.lock import is_held
from storage.tape.segments import tape_folder

_log = logging.getLogger(__name__)


class IngestRole:
    """One worker; ``run`` blocks until it is stopped or fails."""

    def __init__(  # noqa: PLR0913  # what a process shares with its roles
        self,
        settings: Settings,
        servers: Servers,
        choice: SourceChoice,
        *,
        version: str,
        follows: bool = False,
        registry: CollectorRegistry | None = None,
        memory: OnlineMemory | None = None,
        machine: Clock | None = None,
    ) -> None:
        """Checks the choice and compiles; nothing is read before ``run``. Raises what a wrong choice raises.

        follows: whether it changes with the active version. registry: takes the worker's metrics. memory: takes its
        newest rows, for an API in this process. machine: the clock on the wall; None is the system's.
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
        self._published = Published(settings.raw_data_storage_path, newest_row_ns=partial(newest_row_ns, servers))
        self._room = DiskRoom(
            [place for place in (settings.raw_folder, settings.feature_log_storage_path) if isinstance(place, Path)],
            stop_percent=settings.feature_service_disk_stop_percent,
        )
        check_choice(settings, choice)
        self._follows = follows
        self._shadows: ShadowServing | None = None
        self._before = version_before(settings, servers, version) if follows else None
        self._kernel = compiled_kernel(settings, version)
        compile_and_tell(
            self._kernel,
            lambda: load_compiled(
                Decoders(venue_of(settings.feature_service_market), instrument_pins(settings, self._published))
            ),
            servers,
            self.worker_id,
            settings.feature_service_symbols,
            started_at=self._now(),
        )

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
            if not self._room.wait(self._stop):
                return
            shard = None
            if self._choice.name == "gateway" and settings.feature_service_shards is not None:
                shard = ownership.acquire_one(self._stop, shard_queues(settings.feature_service_shards))
                if shard is None:
                    return
            elif self._choice.name in LEASED and not ownership.acquire(self._stop, held_tapes=self._held_tapes):
                return
            ownership.hold()
            tune()
            self._ingest(ownership, shard)

    def stop(self) -> None:
        """Let ``run`` end; from any thread."""
        self._stop.set()
        self._published.close()
        if self._worker is not None:
            self._worker.stop()

    def status(self) -> dict[str, Any]:
        """The worker's status document; empty before it owns its symbols."""
        return {} if self._describe is None else self._describe()

    def _held_tapes(self, symbols: Sequence[str]) -> list[str]:
        raw_folder = self._settings.raw_folder
        return [symbol for symbol in symbols if is_held(tape_folder(raw_folder, symbol))]

    def _ingest(self, ownership: Ownership, shard: str | None) -> None:
        """shard: the queue that this worker reads; None where it reads everything."""
        settings, chosen = self._settings, self._kernel.feature_set
        self._published.look()
        parts = warmed(settings, self._choice, make_source(settings, self._choice, self._machine, shard=shard), chosen)
        sinks = open_sinks(
            settings,
            self._servers,
            parts,
            stages=StageTimes(self.registry),
            ownership=ownership,
            check=self._may_write(ownership),
            memory=self._memory,
            bus=self.bus,
        )
        self._worker = worker = self._open_worker(ownership, parts, sinks, shard)
        withheld = WithheldGroups()
        pipeline = self._open_pipeline(ownership, worker, sinks, shard, withheld)
        sinks.record.make_left_out_with(remaking(settings, pipeline, parts.clock))
        sinks.tally.counts_of = lambda symbol: (pipeline.lanes[symbol].messages, pipeline.rejected_of(symbol))
        self._describe = self._description(ownership, worker, pipeline, sinks, parts)
        self.registry.register(StatusCollector(self._describe, now_ns=parts.clock.now_ns))
        ownership.keep(describe=self._describe, on_lost=worker.fail)
        if self._stop.is_set():
            worker.stop()
        with ExitStack() as stack:
            if self._settings.feature_service_shadow_quarantine:
                shadow = stack.enter_context(closing(ShadowStore(self._servers.postgres_url)))
                stack.callback(withheld.close)
                withheld.keep(
                    lambda: {(each.symbol, each.group) for each in shadow.quarantines()}, now_ns=parts.clock.now_ns
                )
            if self._follows:
                versions = RoleVersions(settings, self._servers, self.worker_id, self._now)
                stack.enter_context(
                    versions.following(pipeline, self._kernel, on_changed=lambda _kernel: worker.keep_checkpoints())
                )
                self._shadows = stack.enter_context(versions.beside(pipeline, fences=lambda: ownership.fences))
            try:
                worker.run(pipeline)
            except StoreUnavailable:
                if not self._published.has_given_up:
                    raise  # else it was stopped while it waited, and nothing was taken
        _log.info("ingest ended: %d messages, %d rows", pipeline.counters.messages, pipeline.counters.rows)

    def _open_worker(self, ownership: Ownership, parts: SourceParts, sinks: IngestSinks, shard: str | None) -> Worker:
        return Worker(
            parts.source,
            parts.clock,
            # Which symbols a queue has, its messages say.
            symbols=self._settings.feature_service_symbols if shard is None else (),
            stages=sinks.stages,
            grid_ns=self._settings.row_grid_ns,
            is_storing=lambda: sinks.online.is_busy,
            on_whole=sinks.online.note_whole,
            check=ownership.check,
            record=sinks.record,
            tasks=[sinks.publisher.run, *parts.tasks],
            on_close=[*parts.release, sinks.publisher.finish, sinks.outgoing.close],
        )

    def _open_pipeline(
        self, ownership: Ownership, worker: Worker, sinks: IngestSinks, shard: str | None, withheld: WithheldGroups
    ) -> Pipeline:
        settings = self._settings
        return Pipeline(
            self._kernel,
            instrument_pins(settings, self._published),
            raw_folder=settings.raw_folder,
            dead_letter=dead_letter(settings),
            # Closed from the last to the first: what the online store is given is timed and recorded until then.
            sinks=[sinks.record, sinks.tally, sinks.online, sinks.publisher],
            availability=available_now,
            grid_ns=settings.row_grid_ns,
            tape_sync_ms=settings.feature_service_tape_sync_ms,
            tape_segment_ns=settings.feature_service_tape_segment_seconds * SECOND_NS,
            market=settings.feature_service_market,
            symbols=settings.feature_service_symbols if self._choice.name in LEASED else None,
            history=sinks.record,
            on_gap=worker.lose_book,
            claim=lambda symbol: None if shard is None else ownership.claim(symbol, held_tapes=self._held_tapes),
            withhold=withheld.apply,
            before=self._before,
            published=self._published,
        )

    def _now(self) -> datetime:
        return to_datetime(self._machine.now_ns())

    def _description(
        self, ownership: Ownership, worker: Worker, pipeline: Pipeline, sinks: IngestSinks, parts: SourceParts
    ) -> Callable[[], dict[str, Any]]:
        def figures() -> Mapping[str, float]:
            return {
                "online_outages_total": sinks.redis.outages,
                "online_is_away": float(sinks.redis.is_away),
                "publish_outages_total": sinks.publisher.outages,
                "publish_replaced_total": sinks.publisher.replaced,
                "published_total": sinks.publisher.published,
                "log_waiting": sinks.record.waiting,
                "log_outages_total": sinks.record.outages,
                "log_is_away": float(sinks.record.is_away),
                "log_symbols_left_out": sinks.record.symbols_left_out,
                "waits_for_raw": float(self._published.waits_for is not None),
                "slow_computations_total": sinks.tally.slow,
                "figures_dropped_total": sinks.figures.dropped,
                "lease_outages_total": ownership.outages,
                **parts.figures(),
            }

        def describe() -> dict[str, Any]:
            status = worker_status(worker, pipeline, subscriptions=parts.subscriptions, figures=figures)
            count, mean_ms = sinks.tally.recent.recent(parts.clock.now_ns())
            return {
                **status,
                "leases": dict(ownership.fences),
                "waits_for": self._published.waits_for,
                "feature_registry_version": pipeline.feature_set.version,
                "follows_activations": self._follows,
                "shadow_versions": {} if self._shadows is None else self._shadows.status(),
                "computations_last_5min": {"count": count, "mean_ms": mean_ms},
            }

        return describe

    def _may_write(self, ownership: Ownership) -> Callable[[], None]:
        def check() -> None:
            ownership.check()
            self._room.check()

        return check
