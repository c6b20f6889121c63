"""Sources ``recording`` and ``simulator``: messages at their own pace, as if they came in live."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from ingestion.messages import RejectedLine, TimedMessage
from ingestion.source import Deliver, Delivery
from ingestion.sources.played.play import PlayClock

TURN: Final = 32
"""Messages that one turn of the event loop delivers at most; a turn costs as much as a message."""


class PlayedSource:
    """A ``Source`` that delivers recorded or simulated messages when their time has come, as one stream.

    Messages come in the order of ``recv_ns``, so one that is due has none before it left: a player that falls behind
    tells so, and no row closes too early.
    """

    STREAM: Final = "played"

    def __init__(self, messages: Iterable[TimedMessage | RejectedLine], clock: PlayClock) -> None:
        """Looks at the first message, at whose time the clock begins unless it has begun."""
        self._messages = iter(messages)
        self._clock = clock
        self._closing = asyncio.Event()
        self._is_over = False
        self._last_ns = 0
        following = self._read()
        clock.begin(0 if following is None else following.recv_ns)
        self._next = following

    @property
    def streams(self) -> tuple[str, ...]:
        return (self.STREAM,)

    def is_behind(self, stream: str) -> bool:  # noqa: ARG002  # there is one
        following = self._next
        return not self._is_over and following is not None and following.recv_ns <= self._clock.now_ns()

    def is_whole(self, symbol: str) -> bool:  # noqa: ARG002  # what is played knows nothing of a tape
        return False

    async def run(self, deliver: Deliver) -> None:
        delivered = 0
        while self._next is not None and not self._closing.is_set():
            ahead_ns = self._next.recv_ns - self._clock.now_ns()
            if ahead_ns > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), self._clock.machine_seconds(ahead_ns))
                continue
            await deliver(self._next)
            self._next = self._read()
            delivered += 1
            # A player that is behind must let the others on the event loop have their turn.
            if delivered % TURN == 0:
                await asyncio.sleep(0)
        self._is_over = True

    async def request_snapshot(self, symbol: str) -> None:
        """Nothing: what is played brings the snapshots that were recorded."""

    async def close(self) -> None:
        self._closing.set()

    def _read(self) -> Delivery | None:
        message = next(self._messages, None)
        if message is None:
            return None
        if isinstance(message, RejectedLine):
            # The worker keeps it with its reason as it keeps any message that cannot be read.
            return Delivery(self.STREAM, message.time_after(self._last_ns), message.body)
        self._last_ns = message.recv_ns
        return Delivery(self.STREAM, message.recv_ns, message.body)
