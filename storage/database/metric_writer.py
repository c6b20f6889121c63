"""Rows for a table of figures, written behind what measures them: in batches, by a thread, within a bound.

1. ``add`` puts a row into memory and returns; it never waits for the database.
2. Every ``FLUSH_S`` the thread writes what waits in one transaction. While the database is away the rows wait on.
3. At most ``most`` rows wait. Of more, those that stay are a uniform sample of all that came (Vitter, "Random Sampling
   with a Reservoir", 1985, algorithm R), so that shares and percentiles of them still hold; the others are counted.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Table, insert

from market.errors import FeatureServiceError, StoreUnavailable
from storage.database.connections import open_engine, transaction
from storage.database.metric_tables import API_ENDPOINT_METRICS, FEATURE_COMPUTATION_METRICS
from storage.outages import Outage

FLUSH_S: Final = 5.0
CLOSE_S: Final = 5.0
"""How long the end waits for the last rows to be written."""
OPTIONS: Final = "-c timezone=UTC -c statement_timeout=5000"
MOST_ROWS: Final = 5_000

_log = logging.getLogger(__name__)


class MetricWriter:
    """The way of rows into one table; safe among threads."""

    def __init__(self, url: str, table: Table, *, most: int = MOST_ROWS, flush_s: float = FLUSH_S) -> None:
        self.dropped = 0
        """Rows that there was no room for, or that the database refused."""
        self._engine = open_engine(url, options=OPTIONS, pool_size=1)
        self._table = table
        self._most = most
        self._flush_s = flush_s
        self._lock = threading.Lock()
        self._waiting: list[Mapping[str, Any]] = []
        self._came = 0
        """Rows since the last batch was taken, those included that are gone."""
        self._random = random.Random()  # noqa: S311  # which rows of too many are kept is no secret
        self._outage = Outage(_log, f"{table.name}: the database", meanwhile=f"rows wait in memory, at most {most}")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{table.name} writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._waiting)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row, columns by name; never waits, never raises."""
        with self._lock:
            self._came += 1
            if len(self._waiting) < self._most:
                self._waiting.append(row)
                return
            self.dropped += 1
            at = self._random.randrange(self._came)
            if at < self._most:
                self._waiting[at] = row

    def close(self) -> None:
        """Try once more to write what waits; a database that does not respond delays this by at most ``CLOSE_S``."""
        self._closing.set()
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._engine.dispose()

    def _run(self) -> None:
        while not self._closing.wait(self._flush_s):
            self._flush()
        self._flush()
        if self._waiting:
            _log.warning("%s: %d rows are lost, the database is down", self._table.name, len(self._waiting))

    def _flush(self) -> None:
        with self._lock:
            batch, self._waiting, came, self._came = self._waiting, [], self._came, 0
        if not batch:
            return
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(self._table), batch)
        except StoreUnavailable as error:
            self._outage.begin(error)
            self._take_back(batch, came)
        except FeatureServiceError:
            self.dropped += len(batch)
            _log.exception("%s: %d rows were refused and dropped", self._table.name, len(batch))
        else:
            self._outage.end()

    def _take_back(self, batch: list[Mapping[str, Any]], came: int) -> None:
        with self._lock:
            kept = [*batch, *self._waiting]
            self.dropped += max(0, len(kept) - self._most)
            self._waiting = kept if len(kept) <= self._most else self._random.sample(kept, self._most)
            self._came += came


def computation_writer(url: str) -> MetricWriter:
    """Of rows that were computed."""
    return MetricWriter(url, FEATURE_COMPUTATION_METRICS)


def request_writer(url: str) -> MetricWriter:
    """Of requests that were answered: 1,000 a batch, more are a sample."""
    return MetricWriter(url, API_ENDPOINT_METRICS, most=1_000)
