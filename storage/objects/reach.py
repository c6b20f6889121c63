"""Reach: whether an object store answers, for who must not wait for it, such as a live worker and a start."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from market.errors import StoreUnavailable
from storage.objects.path import ObjectPath
from storage.outages import Outage

Answer = TypeVar("Answer")

WITHIN_S: Final = 20.0
"""An answer that takes longer counts as none: a store that takes requests and hangs gets nine minutes from others."""
RETRY_S: Final = 5.0


class Reach:
    """What is asked of a store is answered, or refused within WITHIN_S; at once while it is known to be away.

    Meanwhile a thread asks in one attempt, every RETRY_S. For any thread.
    """

    def __init__(self, place: ObjectPath, outage: Outage) -> None:
        self._place = place
        self._outage = outage
        self._lock = threading.Lock()
        self._is_closed = threading.Event()

    @property
    def is_away(self) -> bool:
        return self._outage.is_on

    def asked(self, ask: Callable[[], Answer]) -> Answer:
        """What ``ask`` gives. Raises what it raises, StoreUnavailable while the store is away."""
        if self.is_away:
            raise StoreUnavailable(f"{self._place}: is away, and asked again every {RETRY_S:g} s")
        try:
            return answered_within(ask, WITHIN_S, self._place)
        except StoreUnavailable as error:
            self._begin(error)
            raise

    def close(self) -> None:
        """Ask no more."""
        self._is_closed.set()

    def _begin(self, error: StoreUnavailable) -> None:
        with self._lock:
            if not self.is_away:
                self._outage.begin(error)
                threading.Thread(target=self._look, name=f"reach of {self._place}", daemon=True).start()

    def _look(self) -> None:
        while not self._is_closed.wait(RETRY_S):
            try:
                self._place.bucket.ask(self._place.key)
            except StoreUnavailable:
                continue
            with self._lock:
                self._outage.end()
            return


def answered_within(ask: Callable[[], Answer], within_s: float, place: object) -> Answer:
    """What ``ask`` gives or raises, if it does in time; else it is left to itself. Raises StoreUnavailable."""
    answers: queue.SimpleQueue[tuple[Answer | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:  # noqa: BLE001  # the top of a thread: who asked raises it
            answers.put((None, error))

    threading.Thread(target=run, name=f"asks {place}", daemon=True).start()
    try:
        answer, error = answers.get(timeout=within_s)
    except queue.Empty:
        raise StoreUnavailable(f"{place}: must answer within {within_s:g} s, did not") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # it is what was asked for
