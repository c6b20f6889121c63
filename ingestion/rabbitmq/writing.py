"""RabbitMQ: messages that are written to queues, each confirmed by the broker, and an exchange that shares symbols."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import aio_pika
import aiormq

from ingestion.rabbitmq.connection import LOST, BrokerAddress, connect, is_lost
from market.errors import StoreUnavailable

PUBLISH_TIMEOUT_S: Final = 5.0
DAY_MS: Final = 86_400_000
LIVE_QUEUE: Final[Mapping[str, Any]] = {
    "x-message-ttl": DAY_MS,
    "x-max-length": 100_000,
    "x-overflow": "drop-head",
}
"""Limits of our queues if they are not declared yet: as the gateway limits its own."""


class QueueWriter:
    """Writes persistent messages to durable queues, each confirmed by the broker; declared if they do not exist."""

    def __init__(self, address: BrokerAddress, *, arguments: Mapping[str, Any] = LIVE_QUEUE) -> None:
        """arguments: of a queue that has to be made."""
        self._address = address
        self._arguments = dict(arguments)
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._channel: aio_pika.abc.AbstractChannel | None = None
        self._declared: set[str] = set()

    async def publish(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> None:
        """Write one JSON message; it is on the broker's disk queue when this returns.

        Raises StoreUnavailable, after which the next call connects again.
        """
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                channel = await self._open(queue)
                message = aio_pika.Message(
                    body,
                    headers=dict(headers),
                    content_type="application/json",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                )
                await channel.default_exchange.publish(message, routing_key=queue)
        except LOST as error:
            await self.close()
            raise StoreUnavailable(f"{self._address} queue {queue}: cannot publish: {error}") from error

    async def close(self) -> None:
        """Let the connection go; a later call opens another."""
        connection, self._connection, self._channel = self._connection, None, None
        self._declared.clear()
        if connection is not None:
            with suppress(*LOST):
                await connection.close()

    async def _open(self, queue: str) -> aio_pika.abc.AbstractChannel:
        if self._connection is None or is_lost(self._connection):
            self._connection = await connect(self._address)
            self._channel = None
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel()
            self._declared.clear()
        if queue not in self._declared:
            self._channel, _ = await declared_queue(self._connection, self._channel, queue, self._arguments)
            self._declared.add(queue)
        return self._channel


async def declared_queue(
    connection: aio_pika.abc.AbstractConnection,
    channel: aio_pika.abc.AbstractChannel,
    name: str,
    arguments: Mapping[str, Any],
) -> tuple[aio_pika.abc.AbstractChannel, aio_pika.abc.AbstractQueue]:
    """A durable queue as it stands, or made with the arguments, and the channel that is open then."""
    try:
        return channel, await channel.declare_queue(name, passive=True)
    except aio_pika.exceptions.ChannelNotFoundEntity:
        channel = await connection.channel()
        return channel, await channel.declare_queue(name, durable=True, arguments=dict(arguments))


class HashExchange:
    """A consistent-hash exchange with its queues, declared if they do not exist: a routing key has one queue."""

    def __init__(self, address: BrokerAddress, name: str, queues: Sequence[str]) -> None:
        self._address = address
        self._name = name
        self._queues = tuple(queues)
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._channel: aiormq.Channel | None = None
        self._opening = asyncio.Lock()
        self._failures = self._published = 0
        self._ending: asyncio.Future[None] | None = None

    async def publish(self, key: str, body: bytes) -> None:
        """Write one JSON message by its routing key; calls that overlap are written in the order in which they began.

        Raises StoreUnavailable, in every call that was under way too: none is written behind one that was not.
        """
        failures = self._failures
        try:
            async with self._opening:  # fair: nobody passes those who wait for the channel
                if failures == self._failures and self._channel is None:
                    async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                        self._channel = await self._open()
            channel = self._channel
            if failures != self._failures or channel is None:
                raise StoreUnavailable(f"{self._address} exchange {self._name}: must take messages in order")
            self._published += 1
            properties = aiormq.spec.Basic.Properties(
                content_type="application/json", delivery_mode=2, message_id=str(self._published)
            )
            await channel.basic_publish(
                body,
                exchange=self._name,
                routing_key=key,
                properties=properties,
                mandatory=True,
                timeout=PUBLISH_TIMEOUT_S,
                wait=False,
            )
        except (*LOST, aiormq.exceptions.DeliveryError) as error:
            self._give_up(failures)
            raise StoreUnavailable(f"{self._address} exchange {self._name}: cannot publish: {error}") from error
        except BaseException:
            # A connection that is lost while it is opened cancels whoever waits for its answers.
            self._give_up(failures)
            raise

    def _give_up(self, failures: int) -> None:
        """Fail whatever is under way; no pause, since what comes next must not be written before it."""
        if failures == self._failures:
            self._failures += 1
            self._ending = asyncio.ensure_future(self._end())

    async def close(self) -> None:
        """Let the connection go; a later call opens another."""
        if self._ending is not None:
            await self._ending
        await self._end()

    def _end(self) -> Awaitable[None]:
        connection, self._connection, self._channel = self._connection, None, None

        async def end() -> None:
            if connection is not None:
                with suppress(*LOST):
                    await connection.close()

        return end()

    async def _open(self) -> aiormq.Channel:
        self._connection = await connect(self._address)
        channel = await self._connection.channel(on_return_raises=True)
        exchange = await channel.declare_exchange(self._name, "x-consistent-hash", durable=True)
        # Which queue a key has depends on the order in which they were bound.
        for name in self._queues:
            queue = await channel.declare_queue(name, durable=True, arguments=dict(LIVE_QUEUE))
            await queue.bind(exchange, routing_key="1")
        opened = await channel.get_underlay_channel()
        assert isinstance(opened, aiormq.Channel), "the only kind that aiormq opens"
        return opened
