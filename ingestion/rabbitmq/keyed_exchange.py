"""RabbitMQ: an exchange whose messages have routing keys, so that each reader binds what it wants to its own queue.

A durable queue of the exchange's name is bound to every key that is written, for who needs no more than that.

Messages that are written together are one transaction of the broker: one answer for all of them. A confirmation of each
took this process three times as long, and one message after the other six times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import aio_pika
import aiormq

from ingestion.rabbitmq.bus import BusMessage
from ingestion.rabbitmq.connection import LOST, BrokerAddress, connect, is_lost
from ingestion.rabbitmq.writing import LIVE_QUEUE, PUBLISH_TIMEOUT_S, declared_queue
from market.errors import StoreUnavailable


class KeyedExchange:
    """Writes persistent messages to a durable direct exchange; made where it is not. One call at a time."""

    def __init__(self, address: BrokerAddress, name: str, keys: Sequence[str]) -> None:
        """keys: what the queue of the same name is bound to."""
        self._address = address
        self._name = name
        self._keys = tuple(keys)
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._channel: aiormq.Channel | None = None
        self._published = 0

    async def publish(self, messages: Sequence[BusMessage]) -> None:
        """Write JSON messages, all or none; each is in every queue that is bound to its key when this returns.

        Raises StoreUnavailable, after which the next call connects again; the broker may have taken them.
        """
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                channel = await self._open()
                for message in messages:
                    self._published += 1
                    properties = aiormq.spec.Basic.Properties(
                        content_type="application/json",
                        delivery_mode=2,
                        headers=dict(message.headers),
                        message_id=str(self._published),
                    )
                    await channel.basic_publish(
                        message.body, exchange=self._name, routing_key=message.key, properties=properties, wait=False
                    )
                await channel.tx_commit()
        except LOST as error:
            await self.close()
            raise StoreUnavailable(f"{self._address} exchange {self._name}: must take messages, was {error}") from error

    async def close(self) -> None:
        """Let the connection go; a later call opens another."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(*LOST):
                await connection.close()

    async def _open(self) -> aiormq.Channel:
        is_open = self._channel is not None and not self._channel.is_closed
        if self._channel is not None and is_open and self._connection is not None and not is_lost(self._connection):
            return self._channel
        await self.close()
        self._connection = connection = await connect(self._address)
        declaring, queue = await declared_queue(connection, await connection.channel(), self._name, LIVE_QUEUE)
        exchange = await declaring.declare_exchange(self._name, aio_pika.ExchangeType.DIRECT, durable=True)
        for key in self._keys:
            await queue.bind(exchange, routing_key=key)
        await declaring.close()
        channel = await (await connection.channel(publisher_confirms=False)).get_underlay_channel()
        assert isinstance(channel, aiormq.Channel), "the only kind that aiormq opens"
        await channel.tx_select()
        self._channel = channel
        return channel
