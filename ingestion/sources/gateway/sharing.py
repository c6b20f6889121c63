"""Sharing: the gateway's messages on queues of our own, each symbol on one of them, for as many workers.

1. Every worker that shares would read the gateway's queues, and the broker gives each queue to one of them: that worker
   passes its messages on to a consistent-hash exchange, by symbol.
2. A message is acknowledged to the gateway's queue once the exchange's queue has it. When that fails the queue is read
   again from there: nothing is lost or overtaken, and what comes twice is recognised downstream.
3. What belongs to the gateway as a whole, subscriptions and positions, is done by the process that reads the order
   books.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.decoded import SYMBOL
from ingestion.decoding.wire import UNDECODABLE
from ingestion.rabbitmq.writing import HashExchange
from ingestion.source import Deliver, Delivery
from ingestion.sources.gateway.parts import PositionPoller
from ingestion.sources.gateway.queues import ORDER_BOOK_QUEUE, GatewaySource
from ingestion.venues.bybit.wire import Named

LOOK_EVERY_S: Final = 0.5


class _Routed(Struct, frozen=True, gc=False):
    """What names the symbol of a message from any of the gateway's queues."""

    topic: str = ""
    asset: str | UnsetType = UNSET
    payload: Named | UnsetType = UNSET


_ROUTED: Final = JsonDecoder(_Routed)


def exchange_name(shards: int) -> str:
    """Which queue a symbol has depends on how many there are."""
    return f"feature-service.symbols-{shards}"


def shard_queues(shards: int) -> tuple[str, ...]:
    return tuple(f"{exchange_name(shards)}.{shard}" for shard in range(shards))


def routing_symbol(body: bytes) -> str:
    """The symbol of a message as decoding it will find it; "" where it says none, or what can be none."""
    try:
        routed = _ROUTED.decode(body)
    except UNDECODABLE:
        return ""
    named = Named() if routed.payload is UNSET else routed.payload
    names = (routed.asset, named.symbol, named.s, routed.topic.rpartition(".")[2])
    found = next(name for name in names if name is not UNSET)
    return "" if SYMBOL.fullmatch(found) is None else found  # a routing key has at most 255 bytes


class AskedSoon:
    """Positions that are polled elsewhere, and asked for soon when a message says so."""

    def __init__(self, positions: PositionPoller) -> None:
        self._positions = positions

    def ask_soon(self, symbol: str) -> None:
        self._positions.ask_soon(symbol)

    async def run(self, _deliver: Deliver) -> None:
        await asyncio.Event().wait()


class Dispatcher:
    """Passes on what the gateway's queues hold; ``run`` until ``close``.

    beside: what runs while this process reads the order books, given how to pass a message on.
    """

    def __init__(
        self,
        source: GatewaySource,
        exchange: HashExchange,
        *,
        beside: Sequence[Callable[[Deliver], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        self.passed_on = 0
        self._source = source
        self._exchange = exchange
        self._beside = tuple(beside)

    async def run(self) -> None:
        keeping = asyncio.create_task(self._keep_beside())
        try:
            await self._source.run(self._pass_on)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def close(self) -> None:
        """Read nothing more, send the last acknowledgements and leave the broker."""
        await self._source.close()
        await self._source.release()
        await self._exchange.close()

    async def _pass_on(self, delivery: Delivery) -> None:
        await self._exchange.publish(routing_symbol(delivery.body), delivery.body)
        self.passed_on += 1
        if delivery.acknowledge is not None:
            delivery.acknowledge()

    async def _keep_beside(self) -> None:
        was_reading, running = False, list[asyncio.Task[None]]()
        try:
            while True:
                # Twice in a row: a queue that another worker reads is open for a moment at each try.
                is_reading = self._source.is_reading(ORDER_BOOK_QUEUE)
                if is_reading and was_reading and not running:
                    running = [asyncio.create_task(each(self._pass_on)) for each in self._beside]
                if not is_reading:
                    await _cancel(running)
                    running = []
                was_reading = is_reading
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            await _cancel(running)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
