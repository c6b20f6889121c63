"""The gateway's queues: messages of one queue are delivered in its order."""

from __future__ import annotations

import asyncio

from ingestion.rabbitmq.connection import BrokerAddress
from ingestion.source import Delivery
from ingestion.sources.gateway.queues import GatewaySource
from market.clock import SystemClock


def test_a_message_that_comes_when_every_queue_was_looked_at_does_not_pass_those_that_wait_for_it() -> None:
    delivered: list[bytes] = []

    async def deliver(delivery: Delivery) -> None:
        delivered.append(delivery.body)

    async def run() -> None:
        source = GatewaySource(BrokerAddress("nowhere", 1, "", ""), ["queue"], clock=SystemClock())
        source._deliver = deliver

        def take(body: bytes) -> asyncio.Task[None]:
            return asyncio.create_task(source._take("queue", body, lambda: None))

        waiting = [take(b"1"), take(b"2"), take(b"3")]
        await asyncio.sleep(0)
        assert delivered == []
        # In one pass of the loop: the queue is looked at, and another message comes.
        asyncio.get_running_loop().call_soon(source._begin, "queue", 3)
        await asyncio.gather(*waiting, take(b"4"))

    asyncio.run(run())
    assert delivered == [b"1", b"2", b"3", b"4"]
