"""RabbitMQ: queues that are read and acknowledged in groups.

A connection that is lost is opened again, after a pause that doubles up to a bound. Everything on it is recreated:
channels, passive declarations, consumers, acknowledgements. What was not acknowledged is delivered again by the
broker, and recognised downstream.

1. Each queue is read on a channel of its own by an exclusive consumer: two readers would part its messages' order.
2. ``Unacknowledged`` holds the delivery tags of one channel in order; those at its head whose messages are durable are
   acknowledged by one frame.
3. A queue that does not exist, or that another consumer reads, is tried again; the others are read meanwhile.
4. A message that ``take`` cannot take ends the connection: it and all after it are delivered again, in order.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final

import aio_pika
import aiormq

from ingestion.rabbitmq.connection import LOST, BrokerAddress, connect, is_lost
from market.errors import StoreUnavailable
from storage.outages import Outage

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

PREFETCH: Final = 2000
"""Messages of a queue that may be on their way to the disk: a second of a busy market."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
QUEUE_RETRY_S: Final = 1.0
LAST_ACKNOWLEDGEMENTS_S: Final = 5.0
_log = logging.getLogger(__name__)


class QueueGone(aiormq.exceptions.ChannelClosed):
    """The broker cancelled our consumer: the queue was deleted, with what it held."""


class ReadingEnd(Enum):
    """Why a queue is not read any more: with its connection, or it does not exist, or another consumer reads it."""

    LOST = "lost"
    GONE = "gone"
    TAKEN = "taken"


class Unacknowledged:
    """The delivery tags of one channel that were not acknowledged yet, in order of delivery."""

    def __init__(
        self, channel: aiormq.abc.AbstractChannel, loop: asyncio.AbstractEventLoop, *, on_sent: Callable[[], object]
    ) -> None:
        """on_sent: called on the event loop after each acknowledgement."""
        self._channel = channel
        self._loop = loop
        self._on_sent = on_sent
        self._tags: deque[int] = deque()
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._durable: set[int] = set()
        self._is_due = False

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tag: int) -> None:
        """The message was delivered; on the event loop."""
        self._tags.append(tag)

    def acknowledge(self, tag: int) -> None:
        """The message is durable; from any thread, never blocks for long nor raises."""
        with self._lock:
            self._durable.add(tag)
            if self._is_due:
                return
            self._is_due = True
        with suppress(RuntimeError):  # the loop is closed, and the connection with it
            self._loop.call_soon_threadsafe(self._send)

    def _send(self) -> None:
        last = None
        with self._lock:
            self._is_due = False
            while self._tags and self._tags[0] in self._durable:
                last = self._tags.popleft()
                self._durable.remove(last)
        if last is not None:
            task = self._loop.create_task(self._acknowledge_up_to(last))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _acknowledge_up_to(self, tag: int) -> None:
        with suppress(*LOST):  # a channel that is gone delivers again
            await self._channel.basic_ack(tag, multiple=True, wait=False)
        self._on_sent()


class QueueReader:
    """Reads queues that others have declared, until it is closed.

    take: given the queue, the body and what acknowledges it, in the order of each queue; may raise StoreUnavailable.
    on_begin: given a queue and how many messages wait in it, before it is read; another consumer may prevent that.
    on_read: given a queue that is read from now on; its first messages may have come just before.
    on_end: given a queue that is not read any more, and why; it will be tried again.
    """

    def __init__(  # noqa: PLR0913  # a queue's life is told at each of its turns
        self,
        address: BrokerAddress,
        queues: Sequence[str],
        *,
        take: Callable[[str, bytes, Callable[[], object]], Awaitable[None]],
        on_begin: Callable[[str, int], object] = lambda _queue, _count: None,
        on_read: Callable[[str], object] = lambda _queue: None,
        on_end: Callable[[str, ReadingEnd], object] = lambda _queue, _end: None,
        prefetch: int = PREFETCH,
    ) -> None:
        self._address = address
        self._queues = tuple(queues)
        self._take = take
        self._on_begin = on_begin
        self._on_read = on_read
        self._on_end = on_end
        self._prefetch = prefetch
        self._unacknowledged: dict[str, Unacknowledged] = {}
        self._closing = asyncio.Event()
        self._sent = asyncio.Event()
        self._released = asyncio.Event()
        self.connections = 0
        """How often a connection was opened."""

    def is_full(self, queue: str) -> bool:
        """Whether the broker may send nothing more of the queue before an acknowledgement; from any thread."""
        held = self._unacknowledged.get(queue)
        return held is not None and len(held) >= self._prefetch

    async def run(self) -> None:
        """Read until ``close``; after it the connection stays for the last acknowledgements, until ``release``."""
        pause_s = FIRST_PAUSE_S
        outage = Outage(_log, str(self._address), meanwhile="connecting again and again")
        while not self._closing.is_set():
            try:
                connection = await connect(self._address)
            except LOST as error:
                outage.begin(f"cannot connect: {error}")
                await _wait(self._closing, pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            outage.end()
            self.connections += 1
            pause_s = FIRST_PAUSE_S
            refused = asyncio.Event()
            try:
                await self._read_all(connection, refused)
            finally:
                with suppress(*LOST):
                    await connection.close()
            if refused.is_set():
                await _wait(self._closing, QUEUE_RETRY_S)
            elif not self._closing.is_set():
                outage.begin("the connection was lost")

    async def close(self) -> None:
        """Read nothing more."""
        self._closing.set()

    async def release(self) -> None:
        """Send the acknowledgements that are due and let the connection go."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_ACKNOWLEDGEMENTS_S):
                while any(map(len, self._unacknowledged.values())):
                    self._sent.clear()
                    await self._sent.wait()
        self._released.set()

    async def _read_all(self, connection: aio_pika.abc.AbstractConnection, refused: asyncio.Event) -> None:
        """Read every queue until the connection is lost or released, or a message was ``refused``."""
        readers = [asyncio.create_task(self._read_often(connection, queue, refused)) for queue in self._queues]
        ends = [asyncio.create_task(end) for end in (_lost(connection), self._released.wait(), refused.wait())]
        try:
            await asyncio.wait([*ends, *readers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ends, *readers):
                task.cancel()
            await asyncio.gather(*ends, *readers, return_exceptions=True)
            self._unacknowledged.clear()

    async def _read_often(
        self, connection: aio_pika.abc.AbstractConnection, queue: str, refused: asyncio.Event
    ) -> None:
        """Read a queue, again and again where it cannot be read, as long as the connection holds."""
        told = ""
        while not is_lost(connection):
            end = ReadingEnd.LOST
            try:
                await self._read(connection, queue, refused)
            except LOST as error:
                end = _end_by(error)
                if is_lost(connection):
                    return
                if str(error) != told:
                    told = str(error)
                    _log.warning("queue %s: cannot consume exclusively: %s", queue, error)
            finally:
                self._on_end(queue, end)
            if self._closing.is_set():
                return
            await asyncio.sleep(QUEUE_RETRY_S)

    async def _read(self, connection: aio_pika.abc.AbstractConnection, queue: str, refused: asyncio.Event) -> None:
        async with connection.channel(publisher_confirms=False) as opened:
            channel = await opened.get_underlay_channel()
            assert isinstance(channel, aiormq.Channel), "the only kind that aiormq opens"
            declared = await channel.queue_declare(queue, passive=True)
            await channel.basic_qos(prefetch_count=self._prefetch)
            held = self._unacknowledged[queue] = Unacknowledged(
                channel, asyncio.get_running_loop(), on_sent=self._sent.set
            )
            self._on_begin(queue, declared.message_count or 0)

            async def deliver(message: DeliveredMessage) -> None:
                tag = message.delivery_tag
                assert tag is not None, "the broker numbers what it delivers"
                if self._closing.is_set() or refused.is_set():
                    return
                held.add(tag)
                try:
                    await self._take(queue, message.body, lambda: held.acknowledge(tag))
                except StoreUnavailable as error:
                    if not refused.is_set():
                        _log.warning(
                            "queue %s: a message could not be processed, so the batch is delivered again: %s",
                            queue,
                            error,
                        )
                    refused.set()
                except BaseException:
                    refused.set()
                    raise

            consumer = await channel.basic_consume(queue, deliver, exclusive=True)
            self._on_read(queue)
            _log.info("reading %s, %d messages waiting", queue, declared.message_count or 0)
            while not (channel.is_closed or self._closing.is_set()):
                # A queue that is deleted cancels its consumer and says nothing else.
                if consumer.consumer_tag not in channel.consumers:
                    raise QueueGone(404, f"queue {queue}: the broker cancelled its consumer")
                await _wait(self._closing, QUEUE_RETRY_S)
            if self._closing.is_set() and not channel.is_closed:
                await channel.basic_cancel(consumer.consumer_tag or "")
                await self._released.wait()


def _end_by(error: BaseException) -> ReadingEnd:
    if isinstance(error, QueueGone | aiormq.exceptions.ChannelNotFoundEntity):
        return ReadingEnd.GONE
    # The broker answers the same to who has no permission, in other words.
    is_taken = isinstance(error, aiormq.exceptions.ChannelAccessRefused) and "exclusive use" in str(error)
    return ReadingEnd.TAKEN if is_taken else ReadingEnd.LOST


async def _lost(connection: aio_pika.abc.AbstractConnection) -> None:
    """Return when the connection is gone."""
    gone = asyncio.Event()
    connection.close_callbacks.add(lambda *_: gone.set())
    if not is_lost(connection):
        await gone.wait()


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
