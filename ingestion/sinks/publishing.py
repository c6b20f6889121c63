"""Publishing: closed rows to ``features.live``, a FeatureVector for each interval that a row ends.

1. A row whose time is a multiple of an interval is a message of that interval, whose routing key is the interval's
   name. Its headers are ``interval``, ``symbol``, ``row_ns`` and ``available_ns`` (ns since 1970 UTC), ``late``, and
   ``fence``: of two workers that publish, the higher one is right. It is 0 where a symbol has no lease. The interval
   ``grid`` has every row, and is published where it is asked for.
2. Rows wait in order, up to a bound. Once the broker is away, or the bound is reached, the newest row of each symbol
   and interval is all that waits: the latest wins.
3. ``write`` only adds to what waits; a task on the event loop encodes and publishes, many messages at once. The online
   store goes first: both at once take twice as long, and who hears of a row finds it there.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from ingestion.pipeline.served_rows import ServedRows
from ingestion.rabbitmq.bus import BusMessage
from ingestion.sinks.sinks import last_reasons, last_statuses
from market.clock import MINUTE_NS, SECOND_NS, Clock
from market.errors import StoreUnavailable
from storage.online.document import vector_document
from storage.outages import Outage
from transforms.rows import FeatureRows

LIVE_FEATURES: Final = "features.live"
INTERVALS: Final[Mapping[str, int]] = {
    "1s": SECOND_NS,
    "3s": 3 * SECOND_NS,
    "15s": 15 * SECOND_NS,
    "1m": MINUTE_NS,
}
GRID: Final = "grid"
LATE_NS: Final = SECOND_NS
"""A row that is read so long after its time is late: a model that needed it went on without."""
NO_LEASE: Final = 0
"""The fence of a symbol whose writer is alone: one that is simulated or played."""
BUFFERED_ROWS: Final = 10_000
MOST_AT_ONCE: Final = 250
"""Messages that are published together."""
ROWS_AT_ONCE: Final = 10
"""Rows that are encoded before the event loop does something else."""
RETRY_S: Final = 0.5
FINISH_S: Final = 5.0
"""How long the end waits for rows to be published."""
STORING_S: Final = 0.1
"""How long rows that came wait for the online store at most."""
STORING_AGAIN_S: Final = 0.001

_log = logging.getLogger(__name__)


class Publisher(Protocol):
    """Takes messages by a routing key, those of a call together: RabbitMQ, or a bus inside the process."""

    async def publish(self, messages: Sequence[BusMessage]) -> None: ...

    async def close(self) -> None: ...


class Fencing(Protocol):
    """Whose the symbols are; see ``ingestion.worker.ownership``."""

    @property
    def fences(self) -> Mapping[str, int]: ...

    def is_unsure(self) -> bool: ...

    def check(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of one symbol and interval on its way out; ``at`` is its position in ``rows``."""

    interval: str
    rows: FeatureRows
    at: int
    available_ns: int
    trace_id: str | None

    @property
    def key(self) -> tuple[str, str]:
        return self.rows.symbol, self.interval


class LivePublisher:
    """The sink behind ``features.live``; ``run`` publishes until it is closed."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        clock: Clock,
        make_id: Callable[[], str],
        fencing: Fencing | None = None,
        is_storing: Callable[[], bool] = lambda: False,
        has_grid: bool = False,
    ) -> None:
        """make_id: a trace id for a row of which no message had one. fencing: asked before a row is published.

        is_storing: whether the online store is being written. has_grid: publish every row as the interval ``grid`` too.
        """
        self.published = 0
        self.replaced = 0
        """Rows that a newer one replaced before the broker took them."""
        self._publisher = publisher
        self._clock = clock
        self._make_id = make_id
        self._fencing = fencing
        self._is_storing = is_storing
        self._intervals = {**INTERVALS, GRID: 1} if has_grid else INTERVALS
        self._lock = threading.Lock()
        self._waiting: deque[_Row] = deque()
        self._outage = Outage(
            _log, f"the broker of {LIVE_FEATURES}", meanwhile="the newest row of each symbol and interval waits"
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()
        self._has_ended = asyncio.Event()
        self._has_ended.set()
        self._is_closing = False

    @property
    def outages(self) -> int:
        """How often the broker went away."""
        return self._outage.count

    @property
    def waiting(self) -> int:
        """Rows that the broker has not taken yet."""
        return len(self._waiting)

    def write(self, served: Sequence[ServedRows]) -> None:
        """Take the rows to publish; from any thread, never waits."""
        with self._lock:
            for each in served:
                for at, row_ns in enumerate(each.rows.row_ns.tolist()):
                    self._waiting.extend(
                        _Row(interval, each.rows, at, int(each.available_ns[at]), each.trace_id)
                        for interval, step_ns in self._intervals.items()
                        if row_ns % step_ns == 0
                    )
            if self._outage.is_on or len(self._waiting) > BUFFERED_ROWS:
                self._keep_the_newest()
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody publishes any more
                self._loop.call_soon_threadsafe(self._arrived.set)

    async def run(self) -> None:
        """Publish what waits, as it comes, until ``finish``. Raises Conflict once another worker has the symbols."""
        self._loop = asyncio.get_running_loop()
        self._has_ended.clear()
        try:
            await self._publish_all(self._loop)
        finally:
            self._has_ended.set()

    async def finish(self) -> None:
        """Make ``run`` return once nothing waits, and wait for that, so long as a broker may be away."""
        self._is_closing = True
        self._arrived.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_ended.wait(), FINISH_S)

    async def _publish_all(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            rows = self._next()
            if not rows:
                if self._is_closing:
                    return
                await self._arrived.wait()
                self._arrived.clear()
                await self._let_the_store_go_first(loop)
                continue
            try:
                await self._publish(rows)
            except StoreUnavailable as error:
                self._take_back(rows, error)
                await asyncio.sleep(RETRY_S)
            else:
                self.published += len(rows)
                self._outage.end()

    def close(self) -> None:
        """Nothing: ``run`` ends on the event loop."""

    async def _let_the_store_go_first(self, loop: asyncio.AbstractEventLoop) -> None:
        deadline_s = loop.time() + STORING_S
        # Another thread writes, and no event tells when it is done.
        while self._is_storing() and not self._is_closing and loop.time() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(STORING_AGAIN_S)

    def _next(self) -> list[_Row]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]

    def _take_back(self, rows: Sequence[_Row], error: StoreUnavailable) -> None:
        """The broker did not say that it took the rows: they wait on, unless a newer one came."""
        with self._lock:
            self._waiting.extendleft(reversed(rows))
            self._keep_the_newest()
        self._outage.begin(error)

    def _keep_the_newest(self) -> None:
        newest = {row.key: row for row in self._waiting}
        self.replaced += len(self._waiting) - len(newest)
        self._waiting = deque(newest.values())

    async def _publish(self, rows: Sequence[_Row]) -> None:
        messages: list[BusMessage] = []
        encoded: tuple[FeatureRows, int] | None = None
        body = b""
        for row in rows:
            if encoded is None or encoded[0] is not row.rows or encoded[1] != row.at:
                encoded, body = (row.rows, row.at), self._encoded(row)
                if len(messages) % ROWS_AT_ONCE == 0:
                    await asyncio.sleep(0)
            messages.append(BusMessage(row.interval, body, self._headers(row)))
        if self._fencing is not None:
            if self._fencing.is_unsure():
                await asyncio.to_thread(self._fencing.check)  # it waits
            self._fencing.check()
        await self._publisher.publish(messages)

    def _encoded(self, row: _Row) -> bytes:
        trace_id = row.trace_id or self._make_id()
        return orjson.dumps(live_document(row.rows, row.at, now_ns=self._clock.now_ns(), trace_id=trace_id))

    def _headers(self, row: _Row) -> dict[str, Any]:
        row_ns = int(row.rows.row_ns[row.at])
        return {
            "interval": row.interval,
            "symbol": row.rows.symbol,
            "row_ns": row_ns,
            "available_ns": row.available_ns,
            "late": row.available_ns - row_ns > LATE_NS,
            "fence": NO_LEASE if self._fencing is None else self._fencing.fences.get(row.rows.symbol, NO_LEASE),
        }


def live_document(rows: FeatureRows, at: int, *, now_ns: int, trace_id: str) -> dict[str, Any]:
    """The FeatureVector of one closed row."""
    one = rows.only(slice(at, at + 1))
    return vector_document(
        symbol=rows.symbol,
        row_ns=int(one.row_ns[0]),
        columns=rows.feature_set.columns,
        values=one.values[0].tolist(),
        missing=last_reasons(one),
        statuses=last_statuses(one),
        version=rows.feature_set.version,
        fingerprint=rows.feature_set.fingerprint,
        now_ns=now_ns,
        trace_id=trace_id,
    )
