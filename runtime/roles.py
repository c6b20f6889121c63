"""The roles of one process: each in its thread, all stopped by a signal, by the end of the duration, or by a failure.

1. The main thread starts the servers and prepares every role; a role's thread only runs it.
2. It then waits: for a signal, for the end of the duration, or for a role that ends.
3. A role that fails stops all of them, and the process ends with an error: restarting from the tape is the recovery.
4. Stopping closes what a role holds (tape, feature log), then the stores, then the servers.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Final

import structlog
import uvicorn

from api.app import Application, create_app, create_probe
from backfill.jobs import BackfillJobs
from market.errors import Conflict
from registry.serving import ServedVersion, ServedVersionWatch
from runtime.active_version import served_version_watch
from runtime.backfilling import backfill_jobs
from runtime.building import bookkeeping, dataset_builds
from runtime.connections import patient_protocol
from runtime.engines import queue_engine, rebuild_engine
from runtime.ingest_role import IngestRole
from runtime.prepared import prepared_process
from runtime.role import Role, run_until_stopped, sigterm_as_interrupt
from runtime.server_watch import ServerWatch
from runtime.servers import Servers
from runtime.serving import api_services, metrics_registry, process_services
from runtime.settings import Settings
from runtime.shadow import shadow_watch
from runtime.sources import SourceChoice
from runtime.upkeep import open_upkeep
from runtime.wiring import metadata_store
from storage.database.job_queue import JobQueue
from storage.online.memory import OnlineMemory
from training_sets.builds.builds import DatasetBuilds
from training_sets.builds.watch import BuildWatch
from training_sets.engines.job_queue import QueueEngine
from upkeep.tasks import PERIODS
from upkeep.upkeep import LOOK_S, Upkeep

CONNECTIONS_DEADLINE_S: Final = 5

_log = logging.getLogger(__name__)


def run_roles(  # noqa: PLR0913  # the options of the command
    settings: Settings,
    *,
    roles: Sequence[str],
    source: SourceChoice,
    duration_s: float | None,
    version: str | None,
    periods: Mapping[str, timedelta] = PERIODS,
    look_s: int = LOOK_S,
) -> None:
    """Run the roles until a signal, the end of ``duration_s`` or a failure.

    source: what ingest reads. version: of the registry; None is the one that is active, and changes with it, where the
    database says which that is. periods: how often each task of upkeep runs. look_s: how often it is looked what is
    due.

    Raises RoleFailed after everything was stopped, and what preparing the servers and roles raises.
    """
    with sigterm_as_interrupt(), ExitStack() as stack:
        follows = version is None and settings.feature_registry_use_db
        claims = not {"ingest", "jobs"}.isdisjoint(roles)
        process = stack.enter_context(prepared_process(settings, version=version, claims=claims, periods=periods))
        servers, stores, version = process.servers, process.stores, process.version
        serving, memory = ServedVersion(version), OnlineMemory()
        prepared = []
        registry = metrics_registry()
        if "api" in roles:
            listener = stack.enter_context(_listener(settings, "FEATURE_SERVICE_PORT"))
            services = stack.enter_context(
                api_services(settings, servers, stores, registry=registry, memory=memory, serving=serving)
            )
            prepared.append(_served("api", create_app(services), listener, on_stop=services.feed.close))
        else:
            listener = stack.enter_context(_listener(settings, "FEATURE_SERVICE_METRICS_PORT"))
            probed = stack.enter_context(
                process_services(settings, servers, stores, registry=registry, serving=serving)
            )
            prepared.append(_served("probe", create_probe(probed), listener, ends_with_others=True))
        if "jobs" in roles:
            prepared.append(_jobs(stack.enter_context(dataset_builds(settings, servers, stores))))
            workers = settings.feature_service_engine_workers
            engine = stack.enter_context(rebuild_engine(settings, servers, stores, workers))
            prepared += _backfills(stack.enter_context(backfill_jobs(settings, servers, engine=engine)))
            if settings.feature_service_engine == "queue":
                metadata = stack.enter_context(metadata_store(servers))
                prepared.append(_engine(queue_engine(settings, servers, stores, metadata, workers=1)))
            upkeep = stack.enter_context(open_upkeep(settings, servers, stores, periods=periods))
            prepared.append(_upkeep(upkeep, JobQueue(servers.postgres_url), look_s=look_s))
            if settings.feature_service_shadow_parity:
                watch = stack.enter_context(shadow_watch(settings, servers, stores, version=version, registry=registry))
                prepared.append(Role("shadow parity", watch.run, watch.stop))
        if {"api", "jobs"} & set(roles):
            metadata = stack.enter_context(metadata_store(servers))
            prepared.append(_watch(BuildWatch(bookkeeping(settings, servers, metadata), stores.datasets)))
        if "ingest" in roles:
            ingest = IngestRole(
                settings, servers, source, version=version, follows=follows, registry=registry, memory=memory
            )
            prepared.append(Role("ingest", ingest.run, ingest.stop))
        if follows:
            prepared.append(
                _served_version_watch(stack.enter_context(served_version_watch(settings, servers, serving)))
            )
        if not process.places.is_prepared:
            prepared.append(Role("object store", process.places.run, process.places.stop, ends_with_others=True))
        if servers.embedded_pids:
            server_watch = ServerWatch(servers.embedded_pids, settings.feature_service_data_path)
            stack.callback(server_watch.close)
            prepared.append(Role("server watch", server_watch.run, server_watch.stop, ends_with_others=True))
        _tell(settings, servers, roles=roles, source=source, version=version)
        run_until_stopped(prepared, duration_s)


def _tell(settings: Settings, servers: Servers, *, roles: Sequence[str], source: SourceChoice, version: str) -> None:
    """One line of what runs, on what, and where it answers."""
    host, port = settings.feature_service_host, settings.feature_service_port
    if "api" not in roles:
        port = settings.feature_service_metrics_port
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    facts: dict[str, str] = {"roles": ",".join(roles)}
    if "ingest" in roles:
        facts |= {
            "symbols": ",".join(settings.feature_service_symbols),
            "source": source.name if source.recording is None else str(source.recording),
        }
    facts |= {
        "registry": version,
        "data": str(settings.feature_service_data_path.resolve()),
        "redis": servers.online_store["connection_string"].partition(",")[0],
        "postgres": settings.postgres_host or "embedded",
        "rabbitmq": settings.rabbitmq_host or "none, rows stay in this process",
    }
    facts |= {"api": address, "docs": f"{address}/docs"} if "api" in roles else {"health": f"{address}/health"}
    structlog.get_logger(__name__).info("Feature Service", **facts)


def _jobs(builds: DatasetBuilds) -> Role:
    """Queued work: dataset builds, several at a time."""
    worker = builds.worker()

    def stop() -> None:
        builds.close()
        worker.stop()

    return Role("jobs", worker.run, stop)


def _engine(engine: QueueEngine) -> Role:
    """Tasks of builds and rebuilds, of this process and of others, one after the other."""
    is_stopping = threading.Event()
    worker = engine.worker(is_stopping.is_set)

    def stop() -> None:
        is_stopping.set()
        worker.stop()

    return Role("engine", worker.run, stop)


def _backfills(jobs: BackfillJobs) -> list[Role]:
    """Queued backfills, in parallel with the builds, and the watch over them."""
    worker = jobs.worker()

    def stop() -> None:
        jobs.close()
        worker.stop()

    return [Role("backfill", worker.run, stop), Role("backfill watch", jobs.watch, jobs.close)]


def _upkeep(upkeep: Upkeep, queue: JobQueue, *, look_s: int) -> Role:
    """Upkeep, in parallel with the builds: neither waits for the other."""
    worker = upkeep.worker(queue, look_s=look_s)

    def stop() -> None:
        upkeep.stop()
        worker.stop()

    return Role("upkeep", worker.run, stop)


def _watch(watch: BuildWatch) -> Role:
    """Beside the API as well: it sees when the process that builds is gone."""
    return Role("build watch", watch.run, watch.stop)


def _served_version_watch(watch: ServedVersionWatch) -> Role:
    return Role("registry watch", watch.run, watch.stop, ends_with_others=True)


def _listener(settings: Settings, setting: str) -> socket.socket:
    """The bound socket of a port setting: uvicorn answers a taken port by ending its thread, which says nothing."""
    host, port = settings.feature_service_host, getattr(settings, setting.lower())
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Conflict(
            f"{setting}: must be free on {host}, was {port}: {error.strerror}; set another, or stop what uses it"
        ) from error


def _served(
    name: str,
    app: Application,
    listener: socket.socket,
    *,
    ends_with_others: bool = False,
    on_stop: Callable[[], object] = lambda: None,
) -> Role:
    """The role that serves ``app``. on_stop: ends what would keep connections open."""
    config = uvicorn.Config(
        app,
        http=patient_protocol(),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=CONNECTIONS_DEADLINE_S,
    )
    server = uvicorn.Server(config)

    def run() -> None:
        host, port = listener.getsockname()[:2]
        _log.info("%s listens on http://%s:%d", name, f"[{host}]" if ":" in host else host, port)
        server.run(sockets=[listener])

    def stop() -> None:
        server.should_exit = True
        on_stop()

    return Role(name, run, stop, ends_with_others=ends_with_others)
