"""Serving versions next to the active one: a thread that keeps a process for each, and tells it how far it may go.

1. The database says which versions are wanted; while it is down, the last wanted ones continue.
2. A process is notified of rows that the worker has closed and whose messages are on disk, once it has responded.
3. One that reported why it failed is not restarted until it is requested again. One that was killed is.
4. Once a version is not wanted, or failed, its fields in Redis are removed: no old value of it is served.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final

from ingestion.pipeline.change import Mark, mark_of
from ingestion.pipeline.lane import Lane
from ingestion.pipeline.warming import Failed
from ingestion.worker.repeating import Repeating
from ingestion.worker.shadow_process import ShadowPlan, ShadowSaid, serve_shadow
from market.errors import FeatureServiceError, StoreUnavailable
from transforms.rows import FeatureSet

LOOK_S: Final = 2.0
TELL_S: Final = 0.2
AGAIN_S: Final = 5.0
"""After which a process that was killed is begun again."""
DURABLE_S: Final = 1.0
EXIT_S: Final = 15.0
"""How long a process may take to write what waits."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Told:
    """The status of a version. said: None before its process has compiled."""

    state: str = "preparing"
    detail: str | None = None
    said: ShadowSaid | None = None

    def document(self) -> dict[str, Any]:
        said = self.said
        return {
            "state": self.state,
            "detail": self.detail,
            "rows": 0 if said is None else said.rows,
            "row_ms": None if said is None else said.row_ms,
            "newest_row_ns": None if said is None else said.newest_row_ns,
        }


class ShadowServing:
    """Serves them until ``close``.

    wanted: the versions; raises StoreUnavailable. plan: of a version's columns. drop: removes what Redis has of a
    version. fences: of the leases under which rows are written.
    """

    def __init__(  # its hands, each a plain call
        self,
        lanes: Callable[[], Mapping[str, Lane]],
        *,
        wanted: Callable[[], Sequence[str]],
        load: Callable[[str], FeatureSet],
        plan: Callable[[FeatureSet], ShadowPlan],
        drop: Callable[[Sequence[str], str], object],
        fences: Callable[[], Mapping[str, int]],
    ) -> None:
        self._lanes = lanes
        self._wanted = wanted
        self._load = load
        self._plan = plan
        self._drop = drop
        self._fences = fences
        self._told: dict[str, _Told] = {}
        self._processes: dict[str, _ShadowProcess] = {}
        self._again_s: dict[str, float] = {}
        self._looked_s = -LOOK_S
        self._repeating = Repeating("shadow serving", self._turn, every_s=TELL_S)

    def start(self) -> None:
        self._repeating.start()

    def close(self) -> None:
        """Let the processes write what waits, and end."""
        self._repeating.close()
        for process in self._processes.values():
            process.end()

    def status(self) -> dict[str, dict[str, Any]]:
        """The status of each version; from any thread."""
        return {version: told.document() for version, told in list(self._told.items())}

    def _turn(self) -> None:
        if time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            with suppress(StoreUnavailable):  # who asks for the database says so
                self._look(self._wanted())
        for version, process in list(self._processes.items()):
            self._tell(version, process)

    def _look(self, wanted: Sequence[str]) -> None:
        for version in [version for version in self._told if version not in wanted]:
            self._end(version)
            del self._told[version]
        for version in wanted:
            if version in self._processes or time.monotonic() < self._again_s.get(version, 0.0):
                continue
            told = self._told.setdefault(version, _Told())
            if told.state != "failed":
                self._begin(version, told)

    def _begin(self, version: str, told: _Told) -> None:
        try:
            chosen = self._load(version)
        except FeatureServiceError as error:
            told.state, told.detail = "failed", str(error)
            return
        self._processes[version] = _ShadowProcess(self._plan(chosen))
        _log.info("registry version %s is being prepared next to the served one", version)

    def _tell(self, version: str, process: _ShadowProcess) -> None:
        told = self._told[version]
        try:
            answer = process.answer()
            if answer is None:
                return
            if isinstance(answer, Failed):
                told.state, told.detail = "failed", answer.reason
                _log.warning("registry version %s is no longer served as a shadow: %s", version, answer.reason)
                self._end(version)
                return
            told.said = answer
            told.state = "serving" if answer.rows else told.state
            process.tell(self._marks(), dict(self._fences()))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._end(version)
            told.state, told.detail = "preparing", "its process ended and is being restarted"
            self._again_s[version] = time.monotonic() + AGAIN_S
            _log.warning("registry version %s: its process ended and is being restarted", version)

    def _marks(self) -> dict[str, Mark]:
        """Where the symbols stand of which everything is on the disk."""
        marks = {symbol: mark_of(symbol, lane) for symbol, lane in list(self._lanes().items())}
        deadline_s = time.monotonic() + DURABLE_S
        return {
            symbol: mark
            for symbol, mark in marks.items()
            if self._lanes()[symbol].durability()(max(0.0, deadline_s - time.monotonic()))
        }

    def _end(self, version: str) -> None:
        process = self._processes.pop(version, None)
        if process is not None:
            process.end()
        with suppress(StoreUnavailable):  # readers see that its rows are old
            self._drop(list(self._lanes()), version)


class _ShadowProcess:
    """The process, and what is said to it: one thing after its answer to the one before."""

    def __init__(self, plan: ShadowPlan) -> None:
        # spawn: a forked child would share the locks of this process's threads in whatever state they are.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve_shadow, args=(plan, theirs), name="shadow", daemon=True)
        self._process.start()
        theirs.close()

    def answer(self) -> ShadowSaid | Failed | None:
        """What it says; None while it works. Raises EOFError once it is gone."""
        if not self._connection.poll(0):
            return None
        said: ShadowSaid | Failed = self._connection.recv()
        return said

    def tell(self, marks: Mapping[str, Mark], fences: Mapping[str, int]) -> None:
        """Let it go as far as the marks."""
        self._connection.send((marks, fences))

    def end(self) -> None:
        """Let it write what waits; it is killed where that takes too long."""
        self._connection.close()
        self._process.join(EXIT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
