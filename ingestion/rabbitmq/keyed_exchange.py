"""RabbitMQ: an exchange whose messages have routing keys, so that each reader binds what it wants to its own queue.

A durable queue of the exchange's name is bound to every key that is written, for who needs no more than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import aio_pika

from ingestion.rabbitmq.connection import LOST, BrokerAddress, connect, is_lost
from ingestion.rabbitmq.writing import LIVE_QUEUE, PUBLISH_TIMEOUT_S, declared_queue
from market.errors import StoreUnavailable


class KeyedExchange:
    """Writes persistent messages to a durable direct exchange, each confirmed by the broker; made where it is not."""

    def __init__(self, address: BrokerAddress, name: str, keys: Sequence[str]) -> None:
        """keys: what the queue of the same name is bound to."""
        self._address = address
        self._name = name
        self._keys = tuple(keys)
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._channel: aio_pika.abc.AbstractChannel | None = None
        self._exchange: aio_pika.abc.AbstractExchange | None = None

    async def publish(self, key: str, body: bytes, headers: Mapping[str, Any]) -> None:
        """Write one JSON message; it is in every queue that is bound to its key when this returns.

        Raises StoreUnavailable, after which the next call connects again.
        """
        message = aio_pika.Message(
            body,
            headers=dict(headers),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                exchange = await self._open()
                await exchange.publish(message, routing_key=key)
        except LOST as error:
            await self.close()
            raise StoreUnavailable(f"{self._address} exchange {self._name}: must take messages, was {error}") from error

    async def close(self) -> None:
        """Let the connection go; a later call opens another."""
        connection, self._connection, self._channel, self._exchange = self._connection, None, None, None
        if connection is not None:
            with suppress(*LOST):
                await connection.close()

    async def _open(self) -> aio_pika.abc.AbstractExchange:
        is_open = self._channel is not None and not self._channel.is_closed
        if self._exchange is not None and is_open and self._connection is not None and not is_lost(self._connection):
            return self._exchange
        await self.close()
        self._connection = connection = await connect(self._address)
        channel, queue = await declared_queue(connection, await connection.channel(), self._name, LIVE_QUEUE)
        exchange = await channel.declare_exchange(self._name, aio_pika.ExchangeType.DIRECT, durable=True)
        for key in self._keys:
            await queue.bind(exchange, routing_key=key)
        self._channel, self._exchange = channel, exchange
        return exchange
