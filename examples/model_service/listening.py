"""What RabbitMQ brings: rows on ``features.live`` and finished datasets on ``features.dataset.ready``."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Final

import aio_pika

LIVE: Final = "features.live"
READY: Final = "features.dataset.ready"
CADENCE: Final = "1s"
RETRY_S: Final = 2.0
Take = Callable[[dict[str, Any]], None]

_log = logging.getLogger(__name__)


async def listen(broker_url: str, *, on_row: Take, on_dataset: Take) -> None:
    """Read both forever, from the beginning again when the broker comes back."""
    while True:
        try:
            connection = await aio_pika.connect(broker_url)
            async with connection:
                await asyncio.gather(_rows(connection, on_row), _datasets(connection, on_dataset))
        except (aio_pika.exceptions.AMQPError, OSError) as error:
            _log.warning("broker: must answer, was %s", error)
        await asyncio.sleep(RETRY_S)


async def _rows(connection: aio_pika.abc.AbstractConnection, on_row: Take) -> None:
    """A queue of our own, bound to the rows of each second: an old row is worth nothing, so nothing is kept."""
    channel = await connection.channel()
    exchange = await channel.declare_exchange(LIVE, aio_pika.ExchangeType.DIRECT, durable=True)
    queue = await channel.declare_queue(exclusive=True, arguments={"x-max-length": 1000, "x-overflow": "drop-head"})
    await queue.bind(exchange, routing_key=CADENCE)
    async with queue.iterator(no_ack=True) as messages:
        async for message in messages:
            on_row(json.loads(message.body))


async def _datasets(connection: aio_pika.abc.AbstractConnection, on_dataset: Take) -> None:
    """The queue that the service announces on; what is taken while training fails is announced again."""
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=1)
    queue = await channel.declare_queue(READY, durable=True)
    async with queue.iterator() as messages:
        async for message in messages:
            async with message.process(requeue=True):
                await asyncio.to_thread(on_dataset, json.loads(message.body))
