"""Ownership: a worker holds the leases of its symbols and says how it is, in a thread of its own.

1. A worker begins only once it owns all its symbols and no other process writes their tapes; until then it stands by
   and asks again. A process that is stopped keeps the locks of its tapes: the process that has taken its leases
   waits for it.
2. While the database is down the worker continues: the lock of each tape and the fence in the online store still keep a
   second writer out.
3. Once another worker holds one of the leases, this one is notified that it has lost it and must stop writing.
4. A process that was stopped, or slept, for longer than a lease may wake as its owner in error: ``check`` sees that it
   was not called for so long, and lets nothing be written before the database was asked.
5. A worker that shares the symbols takes one queue of them first, and each symbol when its first message comes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from market.clock import SECOND_NS
from market.errors import Conflict, StoreUnavailable
from storage.database.leases import Leases
from storage.outages import Outage

LEASE_TTL: Final = timedelta(seconds=5)
LEASE_NS: Final = int(LEASE_TTL.total_seconds()) * SECOND_NS
RENEW_S: Final = 1.0
ANSWER_S: Final = 10.0
"""How long a worker that slept waits for the database's answer, an error included."""
CLAIM_S: Final = 15.0
"""How long a symbol's first message waits for the symbol's previous owner."""
CLAIM_AGAIN_S: Final = 0.2
STATUS_EVERY: Final = 2
"""Renewals between two statuses."""
FORGOTTEN_AFTER: Final = timedelta(days=1)

_log = logging.getLogger(__name__)


class Ownership:
    """The leases of one worker.

    passing_ns: a clock that passes while the machine sleeps too.
    """

    def __init__(
        self,
        leases: Leases,
        worker_id: str,
        symbols: Sequence[str],
        *,
        started_at: datetime,
        passing_ns: Callable[[], int],
    ) -> None:
        self.worker_id = worker_id
        self._leases = leases
        self._symbols = tuple(symbols)
        self._started_at = started_at
        self._fences: dict[str, int] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._outage = Outage(_log, "leases: the database", meanwhile="the tapes' locks protect the symbols")
        self._passing_ns = passing_ns
        self._answered = threading.Condition()
        # Guarded by _answered.
        self._lost: set[str] = set()
        self._describe: Callable[[], Mapping[str, Any]] | None = None
        self._on_lost: Callable[[Conflict], object] | None = None
        self._looked_ns = passing_ns()
        self._woken_ns = self._asked_ns = 0

    @property
    def outages(self) -> int:
        """How often the database went away."""
        return self._outage.count

    @property
    def fences(self) -> Mapping[str, int]:
        """The fence of each symbol that is ours."""
        return self._fences

    def acquire(
        self, stop: threading.Event, *, held_tapes: Callable[[Sequence[str]], Sequence[str]] = lambda _symbols: ()
    ) -> bool:
        """Wait until every symbol is ours; False when ``stop`` was set before. Raises StoreUnavailable.

        held_tapes: those of the symbols whose tape a process writes.
        """
        told = ""
        while True:
            self._fences = self._leases.acquire(self.worker_id, self._symbols, ttl=LEASE_TTL)
            others = sorted(set(self._symbols) - self._fences.keys())
            held = [] if others else held_tapes(self._symbols)
            if not others and not held:
                return True
            if others:
                # Two workers that each held a part would wait for each other forever.
                self._leases.release(self.worker_id)
            why = f"{', '.join(others)} belong to another worker" if others else f"tapes of {', '.join(held)} are held"
            if why != told:
                _log.info("standing by: %s", why)
                told = why
            if stop.wait(RENEW_S):
                return False

    def acquire_one(self, stop: threading.Event, names: Sequence[str]) -> str | None:
        """Wait until one of the names is ours and return it; None when ``stop`` was set before.

        Raises StoreUnavailable.
        """
        has_told = False
        while True:
            for name in names:
                self._fences = self._leases.acquire(self.worker_id, [name], ttl=LEASE_TTL)
                if self._fences:
                    return name
            if not has_told:
                _log.info("standing by: each of %s belongs to another worker", ", ".join(names))
                has_told = True
            if stop.wait(RENEW_S):
                return None

    def claim(self, symbol: str, *, held_tapes: Callable[[Sequence[str]], Sequence[str]] = lambda _symbols: ()) -> None:
        """Take the lease of one more symbol; nothing for one that is ours.

        Raises Conflict when another worker keeps it, or its tape, for ``CLAIM_S``, and StoreUnavailable.
        """
        if symbol in self._fences:
            return
        deadline_ns = self._passing_ns() + int(CLAIM_S) * SECOND_NS
        while True:
            taken = self._leases.acquire(self.worker_id, [symbol], ttl=LEASE_TTL)
            if taken and not held_tapes([symbol]):
                self._fences = {**self._fences, **taken}
                return
            if self._passing_ns() > deadline_ns or self._closing.wait(CLAIM_AGAIN_S):
                raise Conflict(f"lease of {symbol}: must be released within {CLAIM_S:g} s, was not")

    def hold(self) -> None:
        """Renew the leases from now on until ``close``: a worker may take longer to open than a lease lasts."""
        self._thread = threading.Thread(target=self._run, name="ownership", daemon=True)
        self._thread.start()

    def keep(self, *, describe: Callable[[], Mapping[str, Any]], on_lost: Callable[[Conflict], object]) -> None:
        """Hold the leases, and write the status too.

        describe: the worker's status. on_lost: called once, with what ``check`` raises then; now where a lease was lost
        before.
        """
        self._looked_ns = self._passing_ns()
        with self._answered:
            self._describe, self._on_lost = describe, on_lost
        if self._lost:
            self._tell_lost()
        elif self._thread is None:
            self.hold()

    def is_unsure(self) -> bool:
        """Whether the process slept through its leases and the database has not said yet whose they are."""
        with self._answered:
            now_ns = self._passing_ns()
            if now_ns - self._looked_ns > LEASE_NS:
                self._woken_ns = now_ns
            self._looked_ns = now_ns
            return self._woken_ns > self._asked_ns

    def check(self) -> None:
        """Return when the worker may write; called at least every second, from any thread that may wait.

        Raises Conflict once another worker has taken a lease, or may: they were let go by ``close``.
        """
        if self.is_unsure():
            with self._answered:
                woken_ns = self._woken_ns
                self._answered.wait_for(lambda: self._asked_ns >= woken_ns or self._closing.is_set(), ANSWER_S)
                # Nobody answers: the stores' fences decide.
                self._asked_ns = max(self._asked_ns, woken_ns)
        if self._lost:
            raise self._conflict()
        if self._closing.is_set():  # a worker that did not stop in time goes on until its process ends
            raise Conflict("leases: must be held by the worker that writes, were let go")

    def close(self) -> None:
        """Let the leases go at once, and the connections."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._leases.release(self.worker_id)
        except StoreUnavailable as error:
            _log.warning("leases: could not be released and will expire: %s", error)
        finally:
            self._leases.close()

    def _run(self) -> None:
        turn = 0
        while not self._closing.wait(RENEW_S):
            begun_ns, lost = self._passing_ns(), set[str]()
            try:
                lost = self._leases.renew(self.worker_id, self._fences, ttl=LEASE_TTL)
                if self._describe is not None and turn % STATUS_EVERY == 0:
                    self._tell(self._describe)
                    self._leases.forget_workers(silent_for=FORGOTTEN_AFTER)
            except StoreUnavailable as error:
                self._outage.begin(error)
                continue
            finally:
                self._note_answer(begun_ns, lost)
            turn += 1
            self._outage.end()
            if lost:
                self._tell_lost()
                return

    def _tell(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        """Write the status, unless it cannot be made: the leases are renewed all the same."""
        try:
            self._leases.write_status(self.worker_id, started_at=self._started_at, status=describe())
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001  # whatever is wrong with a status, the symbols must stay owned
            _log.exception("status: not reported this time, it could not be collected or written")

    def _tell_lost(self) -> None:
        """Tell it once, to whom there is by then."""
        with self._answered:
            on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(self._conflict())

    def _conflict(self) -> Conflict:
        names = ", ".join(sorted(self._lost))
        return Conflict(f"leases: must stay with the worker that writes, were taken over: {names}")

    def _note_answer(self, begun_ns: int, lost: set[str]) -> None:
        with self._answered:
            self._lost |= lost
            self._asked_ns = max(self._asked_ns, begun_ns)
            self._answered.notify_all()
