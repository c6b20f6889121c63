"""The bus inside one process: queues for a service that runs without RabbitMQ."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

QUEUE_MESSAGES: Final = 10_000
"""Messages a queue keeps; the oldest go first, as with the gateway's own queues."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """One message as it was published."""

    body: bytes
    headers: Mapping[str, Any]


class ProcessBus:
    """Bounded queues by name, made when they are first named; safe among threads."""

    def __init__(self, *, queue_messages: int = QUEUE_MESSAGES) -> None:
        self._queue_messages = queue_messages
        self._queues: dict[str, deque[BusMessage]] = {}

    async def publish(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> None:
        """Add one message; the oldest one goes when the queue is full."""
        self._queue(queue).append(BusMessage(body, dict(headers)))

    def take(self, queue: str) -> BusMessage | None:
        """Take the oldest message out; None when there is none."""
        try:
            return self._queue(queue).popleft()
        except IndexError:
            return None

    async def close(self) -> None:
        """Nothing is held open."""

    def _queue(self, name: str) -> deque[BusMessage]:
        return self._queues.setdefault(name, deque(maxlen=self._queue_messages))
