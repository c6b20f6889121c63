"""Where closed rows go: the feature log and the online store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from ingestion.pipeline.served_rows import ServedRows
from market.errors import Conflict, StoreUnavailable
from storage.features.log import FeatureLogWriter
from storage.online.memory import OnlineMemory
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from storage.outages import Outage
from transforms.rows import FeatureRows, FeatureSet
from transforms.status import REASON_NAMES

RETRY_S: Final = 0.1
"""How long the recovery waits between two tries: the store is found back well within a second."""

_log = logging.getLogger(__name__)


class FeatureLogSink:
    """Every row at a whole second to Parquet."""

    def __init__(self, log: FeatureLogWriter) -> None:
        self._log = log

    def write(self, served: Sequence[ServedRows]) -> None:
        for each in served:
            logged = each.whole_seconds()
            self._log.append(logged.rows, logged.available_ns)

    def close(self) -> None:
        self._log.close()


class OnlineSink:
    """The newest row of each symbol to Feast's online store, which may be away.

    1. While the store answers, ``write`` stores the rows itself.
    2. Once it does not, that is logged and counted, and rows wait in memory: the newest of each symbol alone, so that
       the backlog is bounded by the symbols. ``write`` only adds to it and waits for nothing.
    3. A thread tries to store the backlog until the store is back; then ``write`` does it again.

    ``memory`` gets every symbol's newest row first, and knows whether the store is away. fences: of the leases under
    which the rows are written; once the store has a higher one, that and every later ``write`` raises Conflict.
    """

    def __init__(
        self,
        store: OnlineStore,
        *,
        memory: OnlineMemory | None = None,
        retry_s: float = RETRY_S,
        fences: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.failed_writes = 0
        """Calls to the store that failed, those of the retries included."""
        self.replaced_rows = 0
        """Rows that a newer one of their symbol replaced while the store was away."""
        self._store = store
        self._memory = OnlineMemory() if memory is None else memory
        self._retry_s = retry_s
        self._fences = fences
        self._outage = Outage(_log, "online store", meanwhile="the newest row of each symbol waits")
        self._conflict: Conflict | None = None
        self._lock = threading.Lock()
        self._backlog: dict[str, OnlineRow] = {}
        self._closing = threading.Event()
        self._recovery: threading.Thread | None = None

    @property
    def outages(self) -> int:
        """How often the store went away."""
        return self._outage.count

    @property
    def is_away(self) -> bool:
        """Whether rows wait for the store to come back."""
        return self._memory.is_store_away

    def write(self, served: Sequence[ServedRows]) -> None:
        """Store the rows, or keep the newest of each symbol until that is possible. Raises Conflict."""
        if self._conflict is not None:
            raise self._conflict
        newest = [online_row(each) for each in served]
        self._memory.keep(newest)
        with self._lock:
            if self._memory.is_store_away:
                self._keep(newest)
                return
        try:
            self._put(newest)
        except StoreUnavailable as error:
            with self._lock:
                self._outage.begin(error)
                self._memory.is_store_away = True
                self._keep(newest)
            self._recovery = threading.Thread(target=self._recover, name="online store recovery", daemon=True)
            self._recovery.start()

    def close(self) -> None:
        """Try once more to store what waits, and close the store."""
        self._closing.set()
        if self._recovery is not None:
            self._recovery.join()
        try:
            if self._backlog:
                self._put(list(self._backlog.values()))
        except Conflict:
            pass  # what waits is another worker's to write
        except StoreUnavailable as error:
            _log.warning("online store is down, the newest rows of %d symbols are lost: %s", len(self._backlog), error)
        finally:
            self._store.close()

    def _put(self, rows: Sequence[OnlineRow]) -> None:
        try:
            result = self._store.write(rows, now_ns=max(row.available_ns for row in rows), fences=self._fences())
        except StoreUnavailable:
            self.failed_writes += 1
            raise
        if result.fenced:
            self._conflict = Conflict(
                f"online store: must be written by the owner of {', '.join(result.fenced)}, had a higher fence"
            )
            raise self._conflict

    def _keep(self, rows: Sequence[OnlineRow]) -> None:
        self.replaced_rows += sum(row.symbol in self._backlog for row in rows)
        self._backlog.update((row.symbol, row) for row in rows)

    def _recover(self) -> None:
        while not self._closing.wait(self._retry_s):
            with self._lock:
                waiting = dict(self._backlog)
            try:
                self._put(list(waiting.values()))
            except StoreUnavailable:
                continue
            except Conflict:
                return  # the next write raises it
            with self._lock:
                for symbol, row in waiting.items():
                    if self._backlog[symbol] is row:
                        del self._backlog[symbol]
                if not self._backlog:
                    self._memory.is_store_away = False
                    self._outage.end()
                    return


def online_row(served: ServedRows) -> OnlineRow:
    """A copy of the last of the rows, with the reasons of what it does not know: a view would keep all of them."""
    rows = served.rows
    return OnlineRow(
        symbol=rows.symbol,
        feature_set=rows.feature_set,
        row_ns=int(rows.row_ns[-1]),
        available_ns=int(served.available_ns[-1]),
        values=rows.values[-1].copy(),
        status=rows.status[-1].copy(),
        reasons=last_reasons(rows),
    )


def last_statuses(rows: FeatureRows) -> dict[str, int]:
    """The status of each group in the last of the rows."""
    return {group.name: status for group, status in zip(rows.feature_set.groups, rows.status[-1].tolist(), strict=True)}


def last_reasons(rows: FeatureRows) -> Mapping[str, str]:
    """Why the last of the rows does not know what it does not know, by column; not to be changed."""
    assert rows.reasons is not None, "rows from the engine have reasons"
    return _named(rows.feature_set, rows.reasons[-1].tobytes())


@lru_cache(maxsize=512)
def _named(feature_set: FeatureSet, reasons: bytes) -> Mapping[str, str]:
    """Rows that know the same have the same reasons: those of a warm market are a few."""
    columns = feature_set.columns
    return {columns[at]: REASON_NAMES[why] for at, why in enumerate(np.frombuffer(reasons, np.int8).tolist()) if why}
