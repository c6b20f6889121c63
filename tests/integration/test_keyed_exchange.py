"""The exchange of live rows on a real broker: each reader has what it binds, and an outage is told and survived."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aio_pika
import pytest

from ingestion.rabbitmq.bus import BusMessage
from ingestion.rabbitmq.keyed_exchange import KeyedExchange
from market.errors import StoreUnavailable
from tests.broker import Broker
from tests.waiting import eventually

NAME = "test.live"
OWN = "test.live of one reader"


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    node = Broker()
    try:
        node.start()
        yield node
    finally:
        node.remove()


def test_a_reader_has_the_keys_that_it_binds_and_the_queue_of_the_exchange_those_that_are_written(
    broker: Broker,
) -> None:
    async def bind(channel: aio_pika.abc.AbstractChannel) -> None:
        exchange = await channel.declare_exchange(NAME, aio_pika.ExchangeType.DIRECT, durable=True)
        queue = await channel.declare_queue(OWN)
        await queue.bind(exchange, routing_key="grid")

    async def write() -> None:
        exchange = KeyedExchange(broker.address, NAME, ["1s", "3s"])
        keys = ("1s", "grid", "3s", "grid")
        messages = [BusMessage(key, b"%d" % number, {"interval": key}) for number, key in enumerate(keys)]
        await exchange.publish(messages[:1])
        await exchange.publish(messages[1:])
        await exchange.close()

    broker.do(bind)
    asyncio.run(write())
    assert broker.take_all(NAME) == [(b"0", {"interval": "1s"}), (b"2", {"interval": "3s"})]
    assert [body for body, _ in broker.take_all(OWN)] == [b"1", b"3"]


def test_a_broker_that_is_away_is_told_and_takes_messages_once_it_is_back(own_broker: Broker) -> None:
    exchange = KeyedExchange(own_broker.address, NAME, ["1s"])

    def is_taken(body: bytes) -> bool:
        try:
            loop.run_until_complete(exchange.publish([BusMessage("1s", body, {})]))
        except StoreUnavailable:
            return False
        return True

    loop = asyncio.new_event_loop()
    try:
        assert is_taken(b"before")
        own_broker.stop()
        with pytest.raises(StoreUnavailable, match=NAME):
            loop.run_until_complete(exchange.publish([BusMessage("1s", b"meanwhile", {})]))
        own_broker.start()
        eventually(lambda: is_taken(b"after"), deadline_s=30.0)
    finally:
        loop.run_until_complete(exchange.close())
        loop.close()
    assert [body for body, _ in own_broker.take_all(NAME)] == [b"before", b"after"]
