"""Ownership: a worker holds the leases of its symbols and says how it is, in a thread of its own.

1. A worker begins only once all its symbols are its own; until then it stands by and asks again.
2. While the database is away the worker goes on: the lock of each tape still keeps a second writer out.
3. Once another worker holds one of the leases, this one is told that it has lost it and must stop writing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from market.errors import StoreUnavailable
from storage.leases import Leases

LEASE_TTL: Final = timedelta(seconds=5)
RENEW_S: Final = 1.0
STATUS_EVERY: Final = 2
"""Renewals between two statuses."""
FORGOTTEN_AFTER: Final = timedelta(days=1)

_log = logging.getLogger(__name__)


class Ownership:
    """The leases of one worker.

    describe: the worker's status. on_lost: called once, with the symbols that another worker has taken.
    """

    def __init__(self, leases: Leases, worker_id: str, symbols: Sequence[str], *, started_at: datetime) -> None:
        self.worker_id = worker_id
        self.outages = 0
        """How often the database went away."""
        self._leases = leases
        self._symbols = tuple(symbols)
        self._started_at = started_at
        self._fences: dict[str, int] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_away = False

    @property
    def fences(self) -> Mapping[str, int]:
        """The fence of each symbol that is ours."""
        return self._fences

    def acquire(self, stop: threading.Event) -> bool:
        """Wait until every symbol is ours; False when ``stop`` was set before. Raises StoreUnavailable."""
        told: set[str] = set()
        while True:
            self._fences = self._leases.acquire(self.worker_id, self._symbols, ttl=LEASE_TTL)
            others = set(self._symbols) - self._fences.keys()
            if not others:
                return True
            # Two workers that each held a part would wait for each other for ever.
            self._leases.release(self.worker_id)
            if others != told:
                _log.info("standing by: %s belong to another worker", ", ".join(sorted(others)))
                told = others
            if stop.wait(RENEW_S):
                return False

    def keep(self, *, describe: Callable[[], Mapping[str, Any]], on_lost: Callable[[set[str]], object]) -> None:
        """Renew the leases and write the status until ``close``."""
        self._thread = threading.Thread(target=self._run, args=(describe, on_lost), name="ownership", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the leases go at once, and the connections."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._leases.release(self.worker_id)
        except StoreUnavailable as error:
            _log.warning("leases: run out by themselves, could not be let go: %s", error)
        finally:
            self._leases.close()

    def _run(self, describe: Callable[[], Mapping[str, Any]], on_lost: Callable[[set[str]], object]) -> None:
        turn = 0
        while not self._closing.wait(RENEW_S):
            try:
                lost = self._leases.renew(self.worker_id, self._fences, ttl=LEASE_TTL)
                if turn % STATUS_EVERY == 0:
                    self._leases.write_status(self.worker_id, started_at=self._started_at, status=describe())
                    self._leases.forget_workers(silent_for=FORGOTTEN_AFTER)
            except StoreUnavailable as error:
                self._note_away(error)
                continue
            turn += 1
            if self._is_away:
                self._is_away = False
                _log.warning("leases: the database is back")
            if lost:
                on_lost(lost)
                return

    def _note_away(self, error: StoreUnavailable) -> None:
        if not self._is_away:
            self._is_away = True
            self.outages += 1
            _log.warning("leases: the database is away, the tapes' locks protect the symbols meanwhile: %s", error)
