"""The process that serves a version next to the active one: it computes its rows from the tapes, and stores them.

1. It compiles the version and brings an engine of each symbol along the tape, from the horizon before its first row on:
   that after its last one, where it was served within RESUMED_NS, else the next.
2. Each time that it is told how far the worker has closed rows whose messages are on the disk, it closes the version's
   too, for whole seconds. They go to a feature log of the version's own, and to fields of their own in Redis.
3. A row that raises or costs too much ends it. So does the worker's end; what waits is written then.
4. While the object store of its log is away it goes on, as the worker does, see ``row_log``. One that begins meanwhile
   begins with the next row.

The worker's own rows never wait for it, and nothing that it does can change one.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from ingestion.pipeline.change import LEAST_COSTS, ChangeFailed, Mark, said
from ingestion.pipeline.served_rows import ServedRows
from ingestion.pipeline.warming import Failed, Warmer, WarmingPlan
from ingestion.sinks.row_log import RowLog
from ingestion.sinks.sinks import online_row
from market.clock import HOUR_NS, SECOND_NS, SystemClock, floor_to
from market.errors import StoreUnavailable
from storage.features.log import FeatureLogWriter
from storage.features.served_ticks import ServedTickWriter
from storage.features.shadow_log import shadow_log_folder
from storage.online.shadow_rows import ShadowRows
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from storage.outages import Outage
from storage.places import Place
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows, FeatureSet

NICENESS: Final = 5
RESUMED_NS: Final = HOUR_NS
FLUSH_S: Final = 60.0
COSTS_KEPT: Final = 60

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShadowPlan:
    """The shadow version. features: the folder of the feature log. online: the part of a feature_store.yaml.

    budget_ms: what a row may cost.
    """

    warming: WarmingPlan
    features: Place
    online: Mapping[str, Any]
    project: str
    budget_ms: float


@dataclass(frozen=True, slots=True)
class ShadowSaid:
    """What was done so far: rows kept, what one costs, ms, None before that is known, and the newest row's time."""

    rows: int
    row_ms: float | None
    newest_row_ns: int | None


def serve_shadow(plan: ShadowPlan, connection: Connection) -> None:
    """The process: answers each ``(marks, fences)`` with ShadowSaid, or once with Failed.

    It says first that it has compiled.
    """
    os.nice(NICENESS)
    try:
        kernel = compile_kernel(plan.warming.feature_set, plan.warming.kernel_cache)
        kernel.warm_up()
        connection.send(ShadowSaid(0, None, None))
        serving = _Serving(plan, kernel)
        try:
            while True:
                marks, fences = connection.recv()
                connection.send(serving.bring_to(marks, fences))
        finally:
            serving.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the worker has ended
    except Exception as error:  # noqa: BLE001  # the top of a process: whatever a version raises is why it ends
        connection.send(Failed(said(error)))


class _Serving:
    """The engines of every symbol, and where their rows go."""

    def __init__(self, plan: ShadowPlan, kernel: Kernel) -> None:
        self._plan = plan
        self._kernel = kernel
        self._set = kernel.feature_set
        folder = shadow_log_folder(plan.features, self._set.version)
        self._log = RowLog(
            FeatureLogWriter(folder),
            ServedTickWriter(folder),
            name=f"the log of shadow version {self._set.version}",
            remedy="they are not compared with those of the active version",
        )
        self._log.remake = self._made_again
        self._marks: dict[str, Mark] = {}
        self._store = OnlineStore.connect(plan.online, project=plan.project)
        self._online = ShadowRows(self._store, self._set)
        self._warmers: dict[str, Warmer] = {}
        self._costs: deque[float] = deque(maxlen=COSTS_KEPT)
        self._rows = 0
        self._newest_ns: int | None = None
        self._flushed_s = time.monotonic()
        self._outage = Outage(_log, "online store", meanwhile=f"rows of {self._set.version} go to the log only")
        self._clock = SystemClock()

    def bring_to(self, marks: Mapping[str, Mark], fences: Mapping[str, int]) -> ShadowSaid:
        """Close what the worker has closed, and keep it. Raises what a version raises, ChangeFailed over budget."""
        newest: list[OnlineRow] = []
        for symbol, mark in marks.items():
            if mark.closed_ns is None:
                continue
            whole = replace(mark, closed_ns=floor_to(mark.closed_ns, SECOND_NS))
            self._marks[symbol] = mark
            is_new = symbol not in self._warmers
            if is_new:
                self._warmers[symbol] = Warmer(self._plan.warming, self._kernel, whole, since_ns=self._since(whole))
            begun_s = time.thread_time()
            rows = self._warmers[symbol].bring_to(whole)
            spent_s = time.thread_time() - begun_s
            if rows is None or not len(rows):
                continue
            if not is_new:
                self._costs.append(1000 * spent_s / len(rows))
            newest.append(self._keep(rows))
        self._check_cost()
        if newest:
            self._put(newest, fences)
            self._newest_ns = max(row.row_ns for row in newest)
        if time.monotonic() - self._flushed_s > FLUSH_S:
            self._log.flush()
            self._flushed_s = time.monotonic()
        self._log.look()
        return ShadowSaid(self._rows, self._cost_ms(), self._newest_ns)

    def close(self) -> None:
        """Write what waits, unless the log's object store is away."""
        self._log.close()
        self._store.close()

    def _since(self, mark: Mark) -> int:
        """The row after which rows are computed."""
        assert mark.closed_ns is not None
        last_ns = self._log.last_row_ns(mark.symbol, self._set)
        return last_ns if last_ns is not None and mark.closed_ns - last_ns <= RESUMED_NS else mark.closed_ns

    def _made_again(self, symbol: str, _chosen: FeatureSet, first_ns: int, last_ns: int) -> ServedRows | None:
        """The rows that an outage of the log's object store left no room for."""
        mark = replace(self._marks[symbol], closed_ns=last_ns)
        warmer = Warmer(self._plan.warming, self._kernel, mark, since_ns=first_ns - SECOND_NS)
        rows = warmer.bring_to(mark)
        return None if rows is None else ServedRows(rows, np.full(len(rows), self._clock.now_ns(), np.int64))

    def _keep(self, rows: FeatureRows) -> OnlineRow:
        now_ns = np.full(len(rows), self._clock.now_ns(), np.int64)
        self._log.append(rows, now_ns)
        self._rows += len(rows)
        return online_row(ServedRows(rows, now_ns))

    def _put(self, newest: list[OnlineRow], fences: Mapping[str, int]) -> None:
        try:
            self._online.write(newest, fences=fences)  # what is fenced is another worker's to write
        except StoreUnavailable as error:
            self._outage.begin(error)
        else:
            self._outage.end()

    def _cost_ms(self) -> float | None:
        return statistics.median(self._costs) if len(self._costs) >= LEAST_COSTS else None

    def _check_cost(self) -> None:
        cost_ms = self._cost_ms()
        if cost_ms is not None and cost_ms > self._plan.budget_ms:
            raise ChangeFailed(f"cost of a row: must be at most {self._plan.budget_ms:g} ms, was {cost_ms:.2f} ms")
