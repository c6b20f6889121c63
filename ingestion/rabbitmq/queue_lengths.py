"""How many messages wait in queues, and how many readers each has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import aio_pika

from ingestion.rabbitmq.connection import LOST, BrokerAddress, connect
from market.errors import StoreUnavailable

TIMEOUT_S: Final = 5.0


def queue_lengths(address: BrokerAddress, queues: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Waiting messages and readers of each existing queue. Not for a thread that runs an event loop.

    Raises StoreUnavailable.
    """
    try:
        return asyncio.run(_lengths(address, queues))
    except LOST as error:
        said = str(error) or f"no response within {TIMEOUT_S:g} s"
        raise StoreUnavailable(f"{address}: cannot read its queue lengths: {said}") from error


async def _lengths(address: BrokerAddress, queues: Sequence[str]) -> dict[str, tuple[int, int]]:
    found = {}
    async with asyncio.timeout(TIMEOUT_S), await connect(address) as connection:
        for queue in queues:
            channel = await connection.channel()  # one that asked for a queue that is not there is closed
            try:
                declared = await channel.declare_queue(queue, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                continue
            result = declared.declaration_result
            found[queue] = (result.message_count or 0, result.consumer_count or 0)
            await channel.close()
    return found
