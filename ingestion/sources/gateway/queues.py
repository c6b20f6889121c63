"""Source ``gateway``: the queues that ws-gateway fills, one envelope a message.

1. A message is stamped with its envelope's ``received_at``; one without (a position manager's, or none that can be
   read) with our clock.
2. A queue is behind from the moment it is opened until as many messages were delivered as waited in it, or until it is
   silent; and whenever the broker may send nothing more before an acknowledgement.
3. A queue that holds fewer messages than it may was kept whole while it was not read: deliveries continue where
   the tapes ended.
4. What was missed while a queue was not read is marked by ``ingestion.sources.gateway.holes``.
5. An order book that was lost is brought back by ``ingestion.sources.gateway.book_recovery``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.wire import UNDECODABLE
from ingestion.rabbitmq.connection import BrokerAddress
from ingestion.rabbitmq.reading import QueueReader, ReadingEnd
from ingestion.source import Deliver, Delivery
from ingestion.sources.gateway.book_recovery import BookRecovery, OrderBooks
from ingestion.sources.gateway.holes import QueueHoles
from ingestion.sources.gateway.parts import PositionPoller, SubscriptionKeeper
from market.clock import MILLISECOND_NS, SECOND_NS, Clock, to_ns
from market.errors import StoreUnavailable

MAX_QUEUE_LENGTH: Final = 100_000
"""The gateway's ``x-max-length``: a queue that holds as many has dropped its oldest."""
CONNECT_PATIENCE_NS: Final = 10 * SECOND_NS
"""How long after the start rows wait for a broker that does not answer."""
QUIET_NS: Final = 500 * MILLISECOND_NS
"""A queue that delivers nothing for so long has no backlog left, whatever was counted."""
MISSING_QUEUE_S: Final = 3.0
"""How long messages wait for every queue to be checked first."""
HOLES: Final = "holes"
"""The stream by which marks of what was missed come."""
LOOK_EVERY_S: Final = 0.25
ORDER_BOOK_QUEUE: Final = "ws-gateway.orderbook"
POSITION_UPDATES: Final = "position-manager.position_updated"

KEPT_QUEUES: Final = {
    "funding": "ws-gateway.funding",
    "order": "ws-gateway.order",
    "order_manager": "order-manager.order_events",
}
"""What is kept and read by no feature, by the name of a setting."""
CHANNELS: Final = {
    "orderbook": "orderbook",
    "publicTrade": "trades",
    "tickers": "ticker",
    "kline": "kline",
    "position": "position",
    "funding": "funding",
    "fundingRate": "funding",
    "order": "order",
}
"""The channel of a topic's first part."""


class _Stamp(Struct, frozen=True, gc=False):
    """The parts of a message that are read before it is on the tape; a position manager's has only an asset."""

    received_at: datetime | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    asset: str | UnsetType = UNSET


_STAMP: Final = JsonDecoder(_Stamp)


@dataclass(slots=True)
class _Backlog:
    """What is known of one queue."""

    is_open: bool = False
    waiting: int = 0
    changed_ns: int = 0


def gateway_queues(*, trade_queue: str, has_positions: bool, kept: Sequence[str] = ()) -> tuple[str, ...]:
    """The queues that are read: market data always, positions where they are configured, and those of ``kept``."""
    market = (ORDER_BOOK_QUEUE, trade_queue, "ws-gateway.ticker", "ws-gateway.kline")
    positions = ("ws-gateway.position", POSITION_UPDATES) if has_positions else ()
    return (*market, *positions, *(KEPT_QUEUES[name] for name in kept))


class GatewaySource:
    """Delivers what the gateway's queues hold; see ``ingestion.source.Source``.

    clock: ours. subscriptions: notified of messages, and asked for snapshots. order_books: asked for those that the
    gateway does not bring. positions: delivers in addition to the queues. book_queue: the queue of order books.
    """

    def __init__(  # noqa: PLR0913  # the parts of a gateway, each of which may be absent
        self,
        address: BrokerAddress,
        queues: Sequence[str],
        *,
        clock: Clock,
        subscriptions: SubscriptionKeeper | None = None,
        order_books: OrderBooks | None = None,
        positions: PositionPoller | None = None,
        book_queue: str = ORDER_BOOK_QUEUE,
    ) -> None:
        self._queues = tuple(queues)
        self._clock = clock
        self._subscriptions = subscriptions
        self._positions = positions
        self._book_queue = book_queue
        self._unopened = set(queues)
        self._has_begun = asyncio.Event()
        self._gates = {queue: asyncio.Lock() for queue in queues}
        self._backlogs = {queue: _Backlog() for queue in queues}
        self._was_whole = True
        self._holes = QueueHoles()
        self._marks: list[bytes] = []
        self._marking = asyncio.Lock()
        self._full: set[str] = set()  # queues that may have dropped their oldest, until they are read
        self._is_closing = False
        self._started_ns = clock.now_ns()
        self._deliver: Deliver | None = None
        self._recovery = BookRecovery(
            ask_gateway=self._ask_gateway, order_books=order_books, deliver=self._deliver_book
        )
        self._reader = QueueReader(
            address, queues, take=self._take, on_begin=self._begin, on_read=self._read, on_end=self._end
        )

    @property
    def streams(self) -> tuple[str, ...]:
        return self._queues

    @property
    def connections(self) -> int:
        """How often the broker was connected to."""
        return self._reader.connections

    @property
    def order_books_taken(self) -> int:
        """How often a lost order book was taken from the exchange's answer."""
        return self._recovery.delivered

    @property
    def holes(self) -> int:
        """How often a queue was not read for a while, or had dropped messages."""
        return self._holes.count

    @property
    def is_connected(self) -> bool:
        """Whether any queue is being read."""
        return any(backlog.is_open for backlog in self._backlogs.values())

    def is_reading(self, queue: str) -> bool:
        """Whether this queue is being read, or tried."""
        return self._backlogs[queue].is_open

    def is_behind(self, stream: str) -> bool:
        backlog = self._backlogs.get(stream)
        if backlog is None:
            return False
        now_ns = self._clock.now_ns()
        if not self._has_begun.is_set() and self._reader.connections > 0:
            return True
        if not backlog.is_open:
            return self._reader.connections == 0 and now_ns - self._started_ns < CONNECT_PATIENCE_NS
        if self._reader.is_full(stream):
            return True
        return backlog.waiting > 0 and now_ns - backlog.changed_ns < QUIET_NS

    def is_whole(self, symbol: str) -> bool:  # noqa: ARG002  # a queue holds every symbol
        return self._was_whole and not self._unopened

    async def run(self, deliver: Deliver) -> None:
        self._deliver = deliver
        async with asyncio.TaskGroup() as together:
            beside = [together.create_task(self._begin_anyway()), together.create_task(self._mark_holes())]
            if self._positions is not None:
                beside.append(together.create_task(self._positions.run(deliver)))
            await self._reader.run()
            for task in beside:
                task.cancel()

    async def request_snapshot(self, symbol: str) -> None:
        await self._recovery.recover(symbol)

    async def close(self) -> None:
        self._is_closing = True
        await self._reader.close()

    async def release(self) -> None:
        """Send the last acknowledgements and leave the broker."""
        await self._reader.release()

    async def _take(self, queue: str, body: bytes, acknowledge: Callable[[], object]) -> None:
        assert self._deliver is not None, "the reader runs inside run"
        backlog = self._backlogs[queue]
        now_ns = self._clock.now_ns()
        if backlog.waiting > 0:
            backlog.waiting -= 1
            backlog.changed_ns = now_ns
        # Whether anything was missed is known once every queue was checked. The lock is fair: what comes when that is
        # known must not pass what waits for it.
        async with self._gates[queue]:
            await self._has_begun.wait()
            self._read(queue)  # its first message may come before the reader says so
            recv_ns = self._read_stamp(queue, body, now_ns)
            if self._recovery.is_watching and queue == self._book_queue:
                self._recovery.note(body, recv_ns)
            # Nor may it pass a mark that is on its way, and the one that waits for the mark.
            if self._marks or self._marking.locked():
                await self._deliver_marks()
        await self._deliver(Delivery(queue, recv_ns, body, acknowledge))

    async def _ask_gateway(self, symbol: str) -> None:
        if self._subscriptions is not None:
            await self._subscriptions.request_snapshot(symbol)

    async def _deliver_book(self, body: bytes, recv_ns: int) -> None:
        assert self._deliver is not None, "a book is lost by what was delivered"
        await self._deliver(Delivery(self._book_queue, recv_ns, body))

    def _read_stamp(self, queue: str, body: bytes, now_ns: int) -> int:
        """When the message was received, as the gateway says; now where it says nothing that can be read."""
        try:
            head = _STAMP.decode(body)
        except UNDECODABLE:
            return now_ns
        if head.topic is not UNSET:
            self._holes.hear(queue, head.topic)
        if head.asset is not UNSET and self._positions is not None:
            self._positions.ask_soon(head.asset)
        if head.received_at is UNSET:
            return now_ns
        recv_ns = to_ns(head.received_at)
        if head.topic is not UNSET and self._subscriptions is not None:
            kind, _, rest = head.topic.partition(".")
            self._subscriptions.note(CHANNELS.get(kind, kind), rest.rpartition(".")[2], recv_ns)
        return recv_ns

    async def _begin_anyway(self) -> None:
        """A queue that is not there must not keep the others from being read."""
        await asyncio.sleep(MISSING_QUEUE_S)
        self._has_begun.set()

    async def _mark_holes(self) -> None:
        while not self._is_closing:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self._marks:
                self._marks += self._holes.due(self._clock.now_ns())
            with suppress(StoreUnavailable):  # of a dispatcher whose broker is away; they are kept until it is back
                await self._deliver_marks()

    async def _deliver_marks(self) -> None:
        assert self._deliver is not None, "the reader runs inside run"
        async with self._marking:
            while self._marks:
                await self._deliver(Delivery(HOLES, self._clock.now_ns(), self._marks[0]))
                del self._marks[0]

    def _begin(self, queue: str, waiting: int) -> None:
        self._backlogs[queue] = _Backlog(is_open=True, waiting=waiting, changed_ns=self._clock.now_ns())
        if waiting >= MAX_QUEUE_LENGTH:
            self._was_whole = False
            self._full.add(queue)
        self._unopened.discard(queue)
        if not self._unopened:
            self._has_begun.set()

    def _read(self, queue: str) -> None:
        is_full = queue in self._full
        self._full.discard(queue)
        self._marks += self._holes.begin(queue, self._clock.now_ns(), is_full=is_full)

    def _end(self, queue: str, end: ReadingEnd) -> None:
        self._backlogs[queue] = _Backlog()
        if end is ReadingEnd.TAKEN:
            self._holes.forget(queue)
        # What is kept from here on is read by the next worker, which goes on where this one ends.
        elif not self._is_closing:
            self._holes.end(queue, self._clock.now_ns(), is_gone=end is ReadingEnd.GONE)
