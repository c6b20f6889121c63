"""The roles of one process: each in its thread, all stopped by a signal, by the end of the duration, or by a failure.

1. The main thread starts the servers and prepares every role; a role's thread only runs it.
2. It then waits: for a signal, for the end of the duration, or for a role that ends.
3. A role that fails stops all of them, and the process ends with an error: restarting from the tape is the recovery.
4. Stopping closes what a role holds (tape, feature log), then the stores, then the servers.
"""

from __future__ import annotations

import logging
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from api.app import create_app
from api.services import ApiServices
from ingestion.play import PlayClock, play
from ingestion.recordings import RejectedLine, read_recording
from ingestion.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.sinks import OnlineSink
from ingestion.source import TimedMessage
from market.clock import DAY_NS, SystemClock
from market.errors import Conflict, FeatureServiceError, InvalidSettings
from runtime.settings import Settings
from runtime.wiring import (
    Servers,
    api_services,
    apply_feature_store,
    compiled_kernel,
    make_pipeline,
    metadata_store,
    online_store,
    running_servers,
)
from storage.tape import tape_symbols

STOP_DEADLINE_S: Final = 30.0
CONNECTIONS_DEADLINE_S: Final = 5
LOG_FLUSH_ROWS: Final = 60
"""A minute: how far the live feature log, and so a dataset, may lag behind what is served."""
SIMULATED_NS: Final = 3650 * DAY_NS
"""Longer than a process lives; the market is made as it is played."""

_log = logging.getLogger(__name__)


class RoleFailed(FeatureServiceError):
    """A role of this process ended by an error, which the log tells."""


@dataclass(frozen=True, slots=True)
class Role:
    """Something that runs until ``stop`` is called, from another thread."""

    name: str
    run: Callable[[], None]
    stop: Callable[[], None]


def run_roles(
    settings: Settings,
    *,
    roles: Sequence[str],
    recording: Path | None,
    speed: float,
    duration_s: float | None,
    seed: int,
    version: str,
) -> None:
    """Run the roles until a signal, the end of ``duration_s`` or a failure.

    recording: what ingest plays, on the recording's own clock; None is a simulated market that starts now.

    Raises RoleFailed after everything was stopped, and what preparing the servers and roles raises.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with _sigterm_as_interrupt(), ExitStack() as stack:
        servers = stack.enter_context(running_servers(settings))
        with metadata_store(servers):
            pass  # brings the schema up, whichever roles run
        apply_feature_store(settings, servers)
        prepared = []
        if "api" in roles:
            listener = stack.enter_context(_listener(settings))
            prepared.append(_api(stack.enter_context(api_services(settings, servers)), listener))
        if "ingest" in roles:
            prepared.append(_ingest(settings, servers, recording=recording, speed=speed, seed=seed, version=version))
        _run_until_stopped(prepared, duration_s)


def _run_until_stopped(roles: Sequence[Role], duration_s: float | None) -> None:
    ended: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()
    threads = [threading.Thread(target=_run_role, args=(role, ended), name=role.name, daemon=True) for role in roles]
    failed: list[str] = []
    deadline = None if duration_s is None else time.monotonic() + duration_s
    try:
        for thread in threads:
            thread.start()
        _log.info("running: %s", ", ".join(role.name for role in roles))
        # A role may end by itself: a recording has an end, and the API stays.
        waiting = {role.name for role in roles}
        while waiting and not failed:
            name, error = ended.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            waiting.discard(name)
            if error is not None:
                failed.append(name)
                _log.error("%s failed: %s", name, error, exc_info=error)
    except queue.Empty:
        _log.info("stopping: the duration is over")
    except KeyboardInterrupt:
        _log.info("stopping: asked to")
    finally:
        with _ignoring_signals():
            for role in roles:
                role.stop()
            for thread in threads:
                thread.join(STOP_DEADLINE_S)
                if thread.is_alive():
                    _log.error("%s: must stop within %g s, did not", thread.name, STOP_DEADLINE_S)
                    failed.append(thread.name)
    while not ended.empty():
        name, error = ended.get()
        if error is not None:
            failed.append(name)
            _log.error("%s failed while stopping: %s", name, error, exc_info=error)
    if failed:
        raise RoleFailed(f"roles: must run until they are stopped, failed was {', '.join(failed)}")
    _log.info("stopped")


def _run_role(role: Role, ended: queue.SimpleQueue[tuple[str, BaseException | None]]) -> None:
    try:
        role.run()
    except BaseException as error:  # noqa: BLE001  # the top of a thread: the main thread logs it and ends the process
        ended.put((role.name, error))
    else:
        ended.put((role.name, None))


def _ingest(
    settings: Settings, servers: Servers, *, recording: Path | None, speed: float, seed: int, version: str
) -> Role:
    kernel = compiled_kernel(settings, version)
    kernel.warm_up()
    machine = SystemClock()
    messages: Iterator[TimedMessage | RejectedLine]
    if recording is None:
        known = {symbol.symbol: symbol for symbol in DEFAULT_SYMBOLS}
        unknown = [symbol for symbol in settings.feature_service_symbols if symbol not in known]
        if unknown:
            raise InvalidSettings(
                "settings",
                [f"FEATURE_SERVICE_SYMBOLS: the simulator knows {', '.join(known)}, was also {', '.join(unknown)}"],
            )
        chosen = [known[symbol] for symbol in settings.feature_service_symbols]
        begin_ns = machine.now_ns()
        messages = simulate(chosen, seed=seed, start_ns=begin_ns, duration_ns=SIMULATED_NS)
        clock = PlayClock(machine, begin_ns=begin_ns, speed=speed)
    else:
        # The recording's times lie before those of a tape that ran since: every message would count as late.
        if taped := tape_symbols(settings.raw_data_storage_path):
            raise Conflict(
                f"{settings.raw_data_storage_path}: must hold no tape before a recording is played, "
                f"was holding {', '.join(taped)}; --data names another folder"
            )
        messages = read_recording(recording)
        clock = PlayClock(machine, begin_ns=None, speed=speed)
    pipeline = make_pipeline(settings, kernel, sinks=[OnlineSink(online_store(servers))], log_flush_rows=LOG_FLUSH_ROWS)
    stop = threading.Event()

    def run() -> None:
        try:
            play(pipeline, messages, clock, stop)
        finally:
            pipeline.close()
        _log.info("ingest ended: %d messages, %d rows", pipeline.counters.messages, pipeline.counters.rows)

    return Role("ingest", run, stop.set)


def _listener(settings: Settings) -> socket.socket:
    """The bound socket of the API: uvicorn would answer a taken port by ending its thread, which says nothing."""
    host, port = settings.feature_service_host, settings.feature_service_port
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Conflict(f"FEATURE_SERVICE_PORT: must be free on {host}, was {port}: {error}") from error


def _api(services: ApiServices, listener: socket.socket) -> Role:
    config = uvicorn.Config(
        create_app(services), log_config=None, access_log=False, timeout_graceful_shutdown=CONNECTIONS_DEADLINE_S
    )
    server = uvicorn.Server(config)

    def run() -> None:
        host, port = listener.getsockname()[:2]
        _log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        server.run(sockets=[listener])

    def stop() -> None:
        server.should_exit = True

    return Role("api", run, stop)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ignoring_signals() -> Iterator[None]:
    """A second Ctrl-C must not cut the flush short; every wait in here has its deadline."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
