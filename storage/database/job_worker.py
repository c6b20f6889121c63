"""The worker of the job queue: runs jobs in threads until it is asked to stop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from procrastinate import App
from procrastinate.exceptions import ConnectorException
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from market.errors import StoreUnavailable
from storage.outages import Outage

CONNECT_TIMEOUT_S: Final = 5
RETRY_S: Final = 5.0
"""How long a worker waits before it looks for the database again."""
POLL_S: Final = 5.0
"""A worker is notified of new jobs; this is how often it polls nevertheless."""

_log = logging.getLogger(__name__)


class QueuePool(AsyncConnectionPool[Any]):
    """procrastinate opens its pool without a limit of its own, and the pool's is half a minute: a stop would wait."""

    async def open(self, wait: bool = False, timeout: float = CONNECT_TIMEOUT_S) -> None:  # noqa: ASYNC109, FBT001, FBT002  # psycopg's signature
        await super().open(wait, timeout)


class Interrupted(Exception):
    """A task gave up because its worker is stopping: the job goes back to the queue."""


class JobWorker:
    """Runs jobs until it is stopped; while the database is away it waits for it."""

    def __init__(
        self, app: App, *, queues: Sequence[str], parallel: int, heartbeat_s: float, stalled_after_s: float
    ) -> None:
        self._app = app
        self._queues = list(queues)
        self._parallel = parallel
        self._heartbeat_s = heartbeat_s
        self._stalled_after_s = stalled_after_s
        self._is_stopping = threading.Event()
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] | None = None
        self._outage = Outage(_log, f"job queue {', '.join(queues)}", meanwhile=f"tried again every {RETRY_S:g} s")

    def run(self) -> None:
        """Work until ``stop``; jobs in progress are given the time to end."""
        while not self._is_stopping.is_set():
            try:
                self._run_once(is_patient=True)
            except StoreUnavailable as error:
                self._outage.begin(error)
                self._is_stopping.wait(RETRY_S)

    def run_until_empty(self) -> None:
        """Do what waits now, then return. Raises StoreUnavailable."""
        self._run_once(is_patient=False)

    def run_aside_until_empty(
        self, *, name: str, look: Callable[[], object], look_s: float, on_interrupt: Callable[[], object]
    ) -> None:
        """``run_until_empty`` in a thread of this name, so that what interrupts the caller is met; returns at its end.

        look: called every ``look_s`` meanwhile. on_interrupt: called before the worker is stopped for an interrupt, or
        for what ``look`` raised, which is raised again at the end. Raises what the worker raises.
        """
        failed: list[BaseException] = []

        def run() -> None:
            try:
                self.run_until_empty()
            except BaseException as error:  # noqa: BLE001  # handed to the caller's thread
                failed.append(error)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(look_s)
                look()
        except BaseException:
            on_interrupt()
            self.stop()
            thread.join()
            raise
        if failed:
            raise failed[0]

    def stop(self) -> None:
        """From any thread: begin no further job, and let ``run`` return when the present ones have ended."""
        with self._lock:
            self._is_stopping.set()
            if self._cancel is not None:
                self._cancel()

    def _run_once(self, *, is_patient: bool) -> None:
        with failures_told():
            asyncio.run(self._work(is_patient=is_patient))
        if is_patient and not self._is_stopping.is_set():
            raise StoreUnavailable("job worker: stopped because its database did not respond")

    async def _work(self, *, is_patient: bool) -> None:
        async with self._app.open_async():
            await self._app.check_connection_async()
            self._outage.end()
            working = asyncio.ensure_future(
                self._app.run_worker_async(
                    queues=self._queues,
                    concurrency=self._parallel,
                    wait=is_patient,
                    fetch_job_polling_interval=POLL_S,
                    update_heartbeat_interval=self._heartbeat_s,
                    stalled_worker_timeout=self._stalled_after_s,
                    install_signal_handlers=False,
                    delete_jobs="always",
                )
            )
            loop = asyncio.get_running_loop()
            with self._lock:
                if self._is_stopping.is_set():
                    working.cancel()
                self._cancel = lambda: loop.call_soon_threadsafe(working.cancel)
            try:
                await working
            except asyncio.CancelledError:
                if not self._is_stopping.is_set():
                    raise
            finally:
                with self._lock:
                    self._cancel = None


@contextmanager
def failures_told() -> Iterator[None]:
    """The database's failures in our words."""
    try:
        yield
    except (ConnectorException, PoolTimeout, PoolClosed) as error:
        raise StoreUnavailable(f"job queue: cannot be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, PoolTimeout | PoolClosed):  # they speak of the pool, in which nobody can look for a cause
        return "PostgreSQL does not respond"
    return (str(cause).splitlines() or [type(error).__name__])[0]
