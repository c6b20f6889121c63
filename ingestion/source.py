"""What every source is to the worker: messages with the time each was first had, and what is known of the backlog."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way from a source to the worker.

    stream: the queue or the kind of topic it came by. Streams are drained side by side and their messages interleave
        with some disorder; within one, ``recv_ns`` is almost in order.
    recv_ns: the gateway's ``received_at``, else our clock at the socket.
    acknowledge: called at most once, from any thread, when the message is durable; it must not block nor raise.
        None if not needed.
    """

    stream: str
    recv_ns: int
    body: bytes
    acknowledge: Callable[[], object] | None = None


Deliver = Callable[[Delivery], Awaitable[None]]
"""Hands one message to the worker; waits while the worker has no room, so that the source stops reading."""


class Source(Protocol):
    """Where live messages come from; every method but the two ``is_`` runs on the event loop."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The name of every stream that this source may deliver by."""
        ...

    def is_behind(self, stream: str) -> bool:
        """Whether messages of the stream are known to wait that were not delivered yet; from any thread.

        While it is so, rows close by what the stream has shown and not by the clock.
        """
        ...

    def is_whole(self, symbol: str) -> bool:
        """Whether deliveries continue where the symbol's tape ended, with nothing missed; from any thread.

        A broker that kept a queue may answer yes, an exchange's stream never can.
        """
        ...

    async def run(self, deliver: Deliver) -> None:
        """Deliver until ``close`` or until there is no more; survives every outage of what it reads."""
        ...

    async def request_snapshot(self, symbol: str) -> None:
        """Ask for a snapshot of the symbol's order book; it comes as a message like any other."""
        ...

    async def close(self) -> None:
        """Make ``run`` deliver nothing more and return; acknowledgements still pass until then."""
        ...
