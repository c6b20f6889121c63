"""The bus inside one process, in place of the exchange for a service that runs without RabbitMQ."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MESSAGES: Final = 10_000
"""Messages that are kept; the oldest go first, as with the gateway's own queues."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """One message as it is published, by a routing key."""

    key: str
    body: bytes
    headers: Mapping[str, Any]


class ProcessBus:
    """One bounded queue of messages of every routing key; safe among threads."""

    def __init__(self, *, messages: int = MESSAGES) -> None:
        self._messages: deque[BusMessage] = deque(maxlen=messages)

    async def publish(self, messages: Sequence[BusMessage]) -> None:
        """Add messages; the oldest ones go when the bus is full."""
        self._messages.extend(messages)

    def take(self) -> BusMessage | None:
        """Take the oldest message out; None when there is none."""
        try:
            return self._messages.popleft()
        except IndexError:
            return None

    async def close(self) -> None:
        """Nothing is held open."""
