"""Changing a running pipeline to another version, from a thread that may wait; ``EngineChange`` is its other half.

1. A process compiles the version and warms its engines up, time and again until it is as good as where the pipeline is.
2. Every lane gets a follower; the process gives its engines as they were then, and the followers continue from there.
3. The rows of the last minute, and each that is served from then on, are compared by the bits of the columns that both
   versions have, and what a row costs is measured. After TRIAL_ROWS rows the version is ready.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final, Self

from ingestion.pipeline.change import ChangeFailed, EngineChange, Mark, mark_of
from ingestion.pipeline.follower import Follower
from ingestion.pipeline.lane import Lane
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.warming import Failed, WarmEngine, WarmingPlan, warm_engines, warm_up_engines
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureSet

TRIAL_ROWS: Final = 3
"""Live rows of each symbol that a version must compute next to the served one before it may be served."""
NEAR_S: Final = 2.0
"""A pass over the tapes that takes no longer leaves no more than its own time to be followed."""
MOST_PASSES: Final = 10
LOOK_S: Final = 0.1
FOLLOW_S: Final = 0.2
ROW_S: Final = 15.0
"""How long no row may be closed while followers wait for one."""
DURABLE_S: Final = 15.0
EXIT_S: Final = 5.0
"""How long a process that closed its end may take to be gone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Warmed:
    """A version that is ready: the change that waits for its row, and what was found. cost_ms: of a row."""

    change: EngineChange
    compared: int
    cost_ms: float


class VersionChanger:
    """Prepares changes of one pipeline.

    plan: where everything is; its feature set is replaced. budget_ms: what a row may cost. warm_up: what the process
    runs.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: WarmingPlan,
        *,
        budget_ms: float,
        warm_up: Callable[[WarmingPlan, Connection], None] = warm_up_engines,
    ) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._budget_ms = budget_ms
        self._warm_up = warm_up

    def prepare(self, before: Kernel, feature_set: FeatureSet, *, is_wanted: Callable[[], bool]) -> Warmed:
        """Make a version ready to be served. is_wanted: asked meanwhile; once it is not, this ends.

        Raises ChangeFailed; the pipeline continues unchanged.
        """
        plan = replace(self._plan, feature_set=feature_set)
        with _WarmingProcess(plan, self._warm_up, is_wanted) as process:
            process.answer()  # it compiles
            for number in range(MOST_PASSES):
                begun_s = time.monotonic()
                process.bring_to(self._marks(with_books=number == 0), is_last=False)
                if time.monotonic() - begun_s <= NEAR_S:
                    break
            kernel = compile_kernel(feature_set, plan.kernel_cache)
            kernel.warm_up()
            change = EngineChange(before, kernel, budget_ms=self._budget_ms)
            self._pipeline.begin_change(change)
            try:
                change.ask_for_followers(ROW_S)
                marks = change.marks
                self._wait_durable(marks)
                found = process.bring_to(marks, is_last=True)
                assert found is not None, "the last answer has the engines"
                cost_ms = self._begin(change, kernel, found, marks)
                self._try_out(change, is_wanted)
            except ChangeFailed as error:
                change.ask_back(str(error))
                raise
            return Warmed(change, change.compared, max(cost_ms, change.cost_ms or 0.0))

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """Those of the pipeline."""
        return self._pipeline.lanes

    def follow(self, change: EngineChange) -> None:
        """Keep a ready version at the heels of the one that is served. Raises ChangeFailed, the change given up."""
        try:
            change.follow(self._pipeline.lanes)
        except ChangeFailed as error:
            change.ask_back(str(error))
            raise

    def _marks(self, *, with_books: bool) -> dict[str, Mark]:
        lanes = list(self._pipeline.lanes.items())
        books = {symbol: lane.past.books for symbol, lane in lanes} if with_books else {}
        marks = {symbol: replace(mark_of(symbol, lane), books=books.get(symbol, ())) for symbol, lane in lanes}
        self._wait_durable(marks)
        return marks

    def _wait_durable(self, marks: Mapping[str, Mark]) -> None:
        deadline_s = time.monotonic() + DURABLE_S
        for symbol in marks:
            if not self._pipeline.lanes[symbol].durability()(max(0.0, deadline_s - time.monotonic())):
                raise ChangeFailed(f"tape of {symbol}: must be on the disk within {DURABLE_S:g} s, was not")

    def _begin(
        self, change: EngineChange, kernel: Kernel, found: Mapping[str, WarmEngine], marks: Mapping[str, Mark]
    ) -> float:
        """Let the followers begin; what a row of the dearest symbol cost, ms."""
        lanes = self._pipeline.lanes
        cost_ms = max((each.cost_ms for each in found.values()), default=0.0)
        change.check_cost(cost_ms)
        for symbol, engine in warm_engines(kernel, found, marks, self._plan.grid_ns).items():
            if symbol in found:
                change.compare(found[symbol].rows, lanes[symbol].closed.remembered)
            follower = lanes[symbol].follower
            if not isinstance(follower, Follower):
                raise ChangeFailed(change.failure or f"{symbol}: must be followed, was not")
            follower.begin(engine)
        return cost_ms

    def _try_out(self, change: EngineChange, is_wanted: Callable[[], bool]) -> None:
        """Close rows next to the served ones until there are enough of them to be sure."""
        pause = threading.Event()
        deadline_s = time.monotonic() + ROW_S
        while change.failure is None and is_wanted():
            change.follow(self._pipeline.lanes)
            if change.rows_tried >= TRIAL_ROWS or not self._pipeline.lanes:
                return
            if time.monotonic() > deadline_s:
                raise ChangeFailed(f"rows: must be served within {ROW_S:g} s for {TRIAL_ROWS} to be compared, were not")
            pause.wait(FOLLOW_S)
        raise ChangeFailed(change.failure or "given up: the caller stopped waiting")


class _WarmingProcess:
    """The process that warms up, and what is said to it."""

    def __init__(
        self, plan: WarmingPlan, target: Callable[[WarmingPlan, Connection], None], is_wanted: Callable[[], bool]
    ) -> None:
        # spawn: a forked child would share the locks of this process's threads in whatever state they are.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._is_wanted = is_wanted
        self._process: SpawnProcess = context.Process(
            target=target, args=(plan, theirs), name="warming up", daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()  # whatever it does: it has written nothing that is not written whole
        self._process.join()
        self._process.close()

    def bring_to(self, marks: Mapping[str, Mark], *, is_last: bool) -> Mapping[str, WarmEngine] | None:
        """Its engines at the marks, once it is the last time. Raises ChangeFailed."""
        with suppress(BrokenPipeError):  # the answer says why
            self._connection.send((marks, is_last))
        return self.answer()

    def answer(self) -> Mapping[str, WarmEngine] | None:
        """Wait for what it says. Raises ChangeFailed where that is why the version is refused, or nothing."""
        while not self._connection.poll(LOOK_S):
            if not self._is_wanted():
                raise ChangeFailed("given up: it took too long, or the caller stopped waiting")
        try:
            found: Any = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join(EXIT_S)
            raise ChangeFailed(f"warming up: must end with engines, ended with {self._process.exitcode}") from error
        if isinstance(found, Failed):
            raise ChangeFailed(found.reason)
        known: Mapping[str, WarmEngine] | None = found
        return known
