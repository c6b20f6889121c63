"""The inbox: deliveries between the event loop, which puts them in, and the thread that computes with them."""

from __future__ import annotations

import asyncio
import queue
from collections import Counter
from contextlib import suppress
from typing import Final

from ingestion.source import Delivery

CAPACITY: Final = 16_384
"""More than a broker sends before it is answered; a source that is not held back by that waits for room."""


class Inbox:
    """Deliveries in the order in which they were put; one thread puts, one takes."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._deliveries: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        # Each is written by one side alone, so that neither waits for the other.
        self._put: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._put_total = self._taken_total = 0
        self._room = asyncio.Event()
        self._has_waiters = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return self._put_total - self._taken_total

    def holds(self, stream: str) -> bool:
        """Whether a delivery of the stream waits."""
        return self._put[stream] != self._taken[stream]

    async def put(self, delivery: Delivery) -> None:
        """Put one in, on the event loop; waits while there is no room."""
        while len(self) >= self._capacity:
            self._loop = asyncio.get_running_loop()
            self._room.clear()
            self._has_waiters = True
            if len(self) >= self._capacity:
                await self._room.wait()
        self._put[delivery.stream] += 1
        self._put_total += 1
        self._deliveries.put(delivery)

    def take(self, timeout_s: float) -> Delivery | None:
        """Take the oldest out; None when none came within ``timeout_s``, or ``wake`` was called."""
        try:
            delivery = self._deliveries.get(timeout=timeout_s) if timeout_s > 0 else self._deliveries.get_nowait()
        except queue.Empty:
            return None
        if delivery is None:
            return None
        self._taken[delivery.stream] += 1
        self._taken_total += 1
        if self._has_waiters and 2 * len(self) < self._capacity and self._loop is not None:
            self._has_waiters = False
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._room.set)
        return delivery

    def take_many(self, timeout_s: float, most: int) -> list[Delivery]:
        """The oldest, at most so many, as soon as there is one; none when ``take`` gives none."""
        taken = []
        delivery = self.take(timeout_s)
        while delivery is not None:
            taken.append(delivery)
            delivery = self.take(0) if len(taken) < most else None
        return taken

    def wake(self) -> None:
        """Let ``take`` return; from any thread."""
        self._deliveries.put(None)
