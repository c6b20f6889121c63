"""Some symbols of the exchange's public stream: one connection that is kept up, and for a while two.

1. A message is stamped with our clock as it leaves the socket and delivered with its exact bytes. While the worker has
   no room the socket is not read: TCP holds the exchange back, and a connection it gives up on is opened again.
2. A connection that is silent, broken or refused is replaced after a pause that doubles, with jitter. What was missed
   in between is announced on every symbol's tape as a START: trades have no number that would show the hole.
3. Before the exchange ends a connection at 24 hours, and when a snapshot that was asked for does not come, a successor
   is opened and subscribed first. ``ingestion.venues.bybit.splice`` makes one stream of the two. The old one is
   closed once the successor has brought every book and the old one has come as far, so that nothing is left unread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from msgspec import UNSET

from ingestion.decoding.own import control_message
from ingestion.venues.bybit.connection import BybitConnection, Received, Timings
from ingestion.venues.bybit.splice import Splice
from ingestion.venues.bybit.topics import BOOK, KLINES, TICKERS, TRADES
from market.clock import Clock, format_iso
from market.errors import StoreUnavailable
from market.events import START

LOST_REASON: Final = "exchange connection was lost"
CHANNELS: Final = {BOOK: "orderbook", TRADES: "trades", TICKERS: "ticker", KLINES: "kline"}
"""The name of each kind of topic in a subscription's document."""

_log = logging.getLogger(__name__)


class PassOn(Protocol):
    """Hands a message to the worker, and waits while that has no room. kind: of its topic, "" for none."""

    def __call__(self, body: bytes, *, kind: str, recv_ns: int) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds. rotate: age at which a connection gets its successor. overlap: how long both may run.

    snapshot: how long one that was asked for may take. first_pause, longest_pause: before opening a connection again;
    one that lived longer than the longest pause begins with the first again.
    """

    rotate: float = 23.5 * 3600
    overlap: float = 10.0
    snapshot: float = 2.0
    first_pause: float = 0.5
    longest_pause: float = 30.0
    connection: Timings = field(default_factory=Timings)


class BybitGroup:
    """Some symbols on one connection, and for a while on two."""

    def __init__(  # noqa: PLR0913  # time, chance and patience are arguments
        self,
        symbols: Sequence[str],
        *,
        url: str,
        clock: Clock,
        rng: Random,
        depth: int,
        pass_on: PassOn,
        patience: Patience,
    ) -> None:
        self.symbols = tuple(symbols)
        self.name = f"bybit {', '.join(symbols)}"
        self.opened = 0
        self._pass_on = pass_on
        self._url = url
        self._clock = clock
        self._rng = rng
        self._patience = patience
        self._books = {symbol: f"{BOOK}.{depth}.{symbol}" for symbol in symbols}
        self._since_ns: int | None = None
        """When the present connection was subscribed."""
        # Trades first: by the time a book's snapshot comes, no trade after it can be missed.
        kinds = (TRADES, TICKERS, f"{KLINES}.1", f"{BOOK}.{depth}")
        self._topics = [f"{kind}.{symbol}" for kind in kinds for symbol in symbols]
        self._last_ns: dict[str, int | None] = dict.fromkeys(self._topics)
        """When each topic last brought a message."""
        self._splice = Splice()
        self._live: list[BybitConnection] = []
        self._asked: set[str] = set()
        """Books whose snapshot was asked for and has not come."""
        self._renew = asyncio.Event()
        self._closing = asyncio.Event()
        # What passes depends on what passed before it, so each is delivered before the next is looked at.
        self._order = asyncio.Lock()

    @property
    def repeated(self) -> int:
        return self._splice.repeated

    def documents(self) -> list[dict[str, str | None]]:
        """The subscriptions for the worker's status; from any thread."""
        since = None if self._since_ns is None else format_iso(self._since_ns)
        return [
            {
                "id": topic,
                "channel_type": CHANNELS[topic.partition(".")[0]],
                "symbol": topic.rpartition(".")[2],
                "topic": topic,
                "since": since,
                "last_message_at": None if (last_ns := self._last_ns.get(topic)) is None else format_iso(last_ns),
            }
            for topic in self._topics
            if since is not None
        ]

    def close(self) -> None:
        self._closing.set()

    async def run(self) -> None:
        failures, has_run = 0, False
        try:
            while not self._closing.is_set():
                try:
                    connection = await self._open()
                except StoreUnavailable as error:
                    failures += 1
                    await self._pause(failures, str(error))
                    continue
                if has_run:
                    await self._announce_loss()
                has_run = True
                connection.start(self._take)
                last = await self._keep(connection)
                if not self._closing.is_set():
                    is_old = asyncio.get_running_loop().time() - last.began_s > self._patience.longest_pause
                    failures = 1 if is_old else failures + 1
                    await self._pause(failures, last.reason)
        finally:
            for connection in self._live:
                await connection.close()
            self._live.clear()

    async def request_snapshot(self, symbol: str) -> None:
        topic = self._books[symbol]
        if not self._live or topic in self._asked:
            return  # a connection that opens brings one by itself
        self._asked.add(topic)
        asyncio.get_running_loop().call_later(self._patience.snapshot, self._expect, topic)
        with suppress(StoreUnavailable):  # a connection that is gone is replaced, and its successor brings one
            await self._live[-1].subscribe_again(topic)

    def _expect(self, topic: str) -> None:
        if topic in self._asked and not self._closing.is_set():
            self._renew.set()
            asyncio.get_running_loop().call_later(self._patience.longest_pause, self._expect, topic)

    async def _take(self, connection: BybitConnection, received: Received) -> None:
        """Pass a message on, unless another connection has brought it."""
        head, body, recv_ns = received.head, received.body, received.recv_ns
        async with self._order:
            if head is None or head.topic is UNSET:
                await self._pass_on(body, kind="", recv_ns=recv_ns)
                return
            kind = head.topic.partition(".")[0]
            if head.topic in self._last_ns:
                self._last_ns[head.topic] = recv_ns
            is_alone = len(self._live) == 1 or not self._is_brought_by_others(head.topic, connection)
            is_asked_for = head.topic in self._asked and head.type == "snapshot"
            if self._splice.passes(connection.number, head, is_alone=is_alone or is_asked_for):
                if is_asked_for:
                    self._asked.discard(head.topic)
                await self._pass_on(body, kind=kind, recv_ns=recv_ns)

    def _is_brought_by_others(self, topic: str, connection: BybitConnection) -> bool:
        return any(each is not connection and not each.ended.is_set() and topic in each.seen for each in self._live)

    async def _announce_loss(self) -> None:
        for symbol in self.symbols:
            now_ns = self._clock.now_ns()
            body = control_message(START, symbol=symbol, event_ns=now_ns, reason=LOST_REASON)
            await self._pass_on(body, kind=TRADES, recv_ns=now_ns)

    async def _open(self) -> BybitConnection:
        self.opened += 1
        connection = await BybitConnection.open(
            self._url, self._topics, number=self.opened, clock=self._clock, timings=self._patience.connection
        )
        self._live.append(connection)
        self._since_ns = self._clock.now_ns()
        return connection

    async def _keep(self, connection: BybitConnection) -> BybitConnection:
        """Run a connection and its successors; returns the last of them once it has ended, or when closing."""
        loop = asyncio.get_running_loop()
        rotate_s, failures = loop.time() + self._patience.rotate, 0
        while True:
            await self._first_of(connection.ended, self._renew, timeout_s=max(0.0, rotate_s - loop.time()))
            if self._closing.is_set():
                return connection
            if connection.ended.is_set():
                await self._drop(connection)
                return connection
            self._renew.clear()
            try:
                successor = await self._open()
            except StoreUnavailable as error:
                failures += 1
                pause_s = self._pause_s(failures)
                _log.warning("%s: cannot open a successor: %s; retrying in %.1f s", self.name, error, pause_s)
                rotate_s = loop.time() + pause_s
                continue
            is_whole = await self._hand_over(connection, successor)
            if self._closing.is_set():
                return connection
            if successor.ended.is_set() and not connection.ended.is_set():
                failures += 1
                rotate_s = loop.time() + self._pause_s(failures)
                await self._drop(successor)
                continue
            failures, rotate_s = 0, loop.time() + self._patience.rotate
            if not is_whole:
                await self._announce_loss()
            await self._drop(connection)
            connection = successor

    async def _hand_over(self, old: BybitConnection, new: BybitConnection) -> bool:
        """Let both run until the new one continues where the old one is; returns whether it did."""
        new.wait_for(self._books.values())
        new.start(self._take)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._patience.overlap
        await self._first_of(new.has_seen, old.ended, new.ended, timeout_s=self._patience.overlap)
        if not new.has_seen.is_set():
            return False
        # What the old one had not brought yet when the new one was subscribed may still be unread in it.
        old.wait_until(new.newest_ts)
        await self._first_of(old.has_reached, old.ended, timeout_s=max(0.0, end_s - loop.time()))
        return old.has_reached.is_set()

    async def _drop(self, connection: BybitConnection) -> None:
        async with self._order:  # a message that was counted as passed on is delivered first
            self._live.remove(connection)
            await connection.close()

    async def _first_of(self, *events: asyncio.Event, timeout_s: float) -> None:
        """Wait until one of the events or the closing is set, or the time is over."""
        waits = [asyncio.ensure_future(event.wait()) for event in (*events, self._closing)]
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _pause(self, failures: int, reason: str) -> None:
        pause_s = self._pause_s(failures)
        _log.warning("%s: connection lost: %s; retrying in %.1f s", self.name, reason, pause_s)
        await self._first_of(timeout_s=pause_s)

    def _pause_s(self, failures: int) -> float:
        longest_s = min(self._patience.longest_pause, self._patience.first_pause * 2.0 ** min(failures - 1, 30))
        return longest_s * self._rng.uniform(0.5, 1.0)
