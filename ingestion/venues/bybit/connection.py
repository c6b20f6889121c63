"""One connection to the exchange's public WebSocket: subscribed, kept alive, read until it ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from msgspec import UNSET
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from ingestion.venues.bybit.splice import Head, read_head
from market.clock import Clock
from market.errors import StoreUnavailable

BATCH: Final = 10
"""Topics a request: what the exchange allows for spot, the strictest of its markets."""
LARGEST_MESSAGE: Final = 4 * 2**20
"""A snapshot of 1000 levels a side has some 60 kB."""
CLOSE_S: Final = 1.0
_PING: Final = json.dumps({"op": "ping"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds. answer: for the opening and the subscriptions. ping: between two pings.

    silent: without any message until a connection counts as dead.
    """

    answer: float = 10.0
    ping: float = 20.0
    silent: float = 45.0


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it left the socket; ``head`` is None when it is not what the exchange sends."""

    recv_ns: int
    body: bytes
    head: Head | None


Take = Callable[["BybitConnection", Received], Awaitable[None]]


class BybitConnection:
    """Made by ``open``, read from ``start`` on; ``ended`` is set when nothing more will come, with the ``reason``."""

    def __init__(self, socket: ClientConnection, *, number: int, clock: Clock, timings: Timings) -> None:
        self.number = number
        self.began_s = asyncio.get_running_loop().time()
        """On the loop's clock."""
        self.ended = asyncio.Event()
        self.reason = "it was closed"
        self.seen: set[str] = set()
        """Topics that it brought a message of."""
        self.has_seen = asyncio.Event()
        """Set when every topic given to ``wait_for`` was seen."""
        self.has_reached = asyncio.Event()
        """Set when the ``ts`` given to ``wait_until`` was reached."""
        self.newest_ts = 0
        """The exchange's latest ``ts`` so far, milliseconds."""
        self._socket = socket
        self._clock = clock
        self._timings = timings
        self._awaited: set[str] = set()
        self._awaited_ts: int | None = None
        self._early: list[Received] = []
        self._waits_since_s: float | None = None
        """Since when the next message is waited for, on the loop's clock; None while one is handed over."""
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, url: str, topics: Sequence[str], *, number: int, clock: Clock, timings: Timings) -> Self:
        """A connection that is subscribed to the topics. Raises StoreUnavailable."""
        try:
            # The exchange's pings are messages of its own; those of the protocol would only add to them.
            socket = await connect(
                url,
                max_size=LARGEST_MESSAGE,
                ping_interval=None,
                open_timeout=timings.answer,
                close_timeout=CLOSE_S,
            )
        except (OSError, WebSocketException, TimeoutError) as error:
            raise StoreUnavailable(f"{url}: cannot connect: {error!r}") from error
        connection = cls(socket, number=number, clock=clock, timings=timings)
        try:
            async with asyncio.timeout(timings.answer):
                await connection._subscribe(topics)
        except (WebSocketException, TimeoutError) as error:
            await connection.close()
            raise StoreUnavailable(f"{url}: no response to subscriptions: {error!r}") from error
        except BaseException:
            await connection.close()
            raise
        return connection

    def start(self, take: Take) -> None:
        """Hand every message to ``take``, one after the other, those that came while subscribing first."""
        loop = asyncio.get_running_loop()
        reading = loop.create_task(self._read(take), name=f"bybit connection {self.number}")
        self._tasks = [
            reading,
            loop.create_task(self._watch(reading), name=f"silence of bybit connection {self.number}"),
            loop.create_task(self._ping(), name=f"pings of bybit connection {self.number}"),
        ]

    async def subscribe_again(self, topic: str) -> None:
        """Leave a topic and take it again: an order book then begins with a snapshot. Raises StoreUnavailable."""
        try:
            for operation in ("unsubscribe", "subscribe"):
                await self._socket.send(json.dumps({"op": operation, "args": [topic]}))
        except WebSocketException as error:
            raise StoreUnavailable(f"bybit connection {self.number}: cannot send: {error!r}") from error

    def wait_for(self, topics: Iterable[str]) -> None:
        """Set ``has_seen`` once every one of them was seen."""
        self._awaited = set(topics)
        self._check_seen()

    def wait_until(self, ts: int) -> None:
        """Set ``has_reached`` once a message with this ``ts`` or a later one was handed over."""
        self._awaited_ts = ts
        if self.newest_ts >= ts:
            self.has_reached.set()

    async def close(self) -> None:
        """End it; nothing is handed over afterwards."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket.close()
        self.ended.set()

    async def _subscribe(self, topics: Sequence[str]) -> None:
        batches = {str(at): list(topics[at : at + BATCH]) for at in range(0, len(topics), BATCH)}
        refused = await self._ask(batches)
        # The exchange refuses a request whole for one bad topic: the others are asked for again, each by itself.
        alone = [topic for batch in refused for topic in batches[batch] if len(batches[batch]) > 1]
        again = await self._ask({f"alone {topic}": [topic] for topic in alone})
        for batch, why in {**refused, **again}.items():
            if batch in again or len(batches[batch]) == 1:
                _log.error("bybit subscription to %s was refused: %s", batches.get(batch, batch), why)
        if len(again) == len(topics):
            raise StoreUnavailable("all bybit subscriptions were refused")

    async def _ask(self, batches: dict[str, list[str]]) -> dict[str, str]:
        """Subscribe in batches by request id; those that were refused, with the reason."""
        for batch, topics in batches.items():
            await self._socket.send(json.dumps({"op": "subscribe", "req_id": batch, "args": topics}))
        unanswered, refused = set(batches), {}
        while unanswered:
            received = await self._receive()
            head = received.head
            if head is None or head.success is UNSET:
                self._early.append(received)
            elif head.req_id in unanswered:
                unanswered.discard(head.req_id)
                if not head.success:
                    refused[head.req_id] = head.ret_msg
        return refused

    async def _receive(self) -> Received:
        body = await self._socket.recv(decode=False)
        return Received(self._clock.now_ns(), body, read_head(body))

    async def _read(self, take: Take) -> None:
        loop = asyncio.get_running_loop()
        try:
            for received in self._early:
                await self._hand_over(take, received)
            self._early.clear()
            while True:
                self._waits_since_s = loop.time()
                received = await self._receive()
                self._waits_since_s = None
                if received.head is None or received.head.success is UNSET:
                    await self._hand_over(take, received)
        except WebSocketException as error:
            self.reason = repr(error)
        finally:
            self.ended.set()

    async def _watch(self, reading: asyncio.Task[None]) -> None:
        """End the reading once nothing has come for too long; a timeout for each message costs a fifth of taking it."""
        loop = asyncio.get_running_loop()
        while not self.ended.is_set():
            now_s = loop.time()
            due_s = (now_s if self._waits_since_s is None else self._waits_since_s) + self._timings.silent
            if due_s <= now_s:
                self.reason = f"no message for {self._timings.silent:g} s"
                reading.cancel()
                return
            await asyncio.sleep(due_s - now_s)

    async def _hand_over(self, take: Take, received: Received) -> None:
        head = received.head
        await take(self, received)
        if head is None or head.topic is UNSET:
            return
        self.newest_ts = max(self.newest_ts, head.ts)
        if self._awaited_ts is not None and self.newest_ts >= self._awaited_ts:
            self.has_reached.set()
        if head.topic not in self.seen:
            self.seen.add(head.topic)
            self._check_seen()

    def _check_seen(self) -> None:
        if self._awaited and self._awaited <= self.seen:
            self.has_seen.set()

    async def _ping(self) -> None:
        with suppress(WebSocketException):  # the reader says why it ended
            while True:
                await asyncio.sleep(self._timings.ping)
                await self._socket.send(_PING)
