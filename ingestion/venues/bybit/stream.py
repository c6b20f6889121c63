"""Source ``bybit``: the exchange's own public WebSocket, for those without the gateway.

The symbols are parted into groups, each with a connection of its own (``ingestion.venues.bybit.group``), so that one
subscription stays bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Final

from ingestion.source import Deliver, Delivery
from ingestion.venues.bybit.group import BybitGroup, Patience
from ingestion.venues.bybit.topics import BOOK, KLINES, TICKERS, TRADES
from market.clock import Clock

PUBLIC_URLS: Final = {
    "mainnet": "wss://stream.bybit.com/v5/public",
    "testnet": "wss://stream-testnet.bybit.com/v5/public",
}
"""Before the category. Source: bybit-exchange.github.io/docs/v5/ws/connect."""
STREAMS: Final = (BOOK, TRADES, TICKERS, KLINES)
GROUP: Final = 10
"""Symbols a connection."""


class BybitSource:
    """The public streams of some symbols. Used on one event loop; see ``ingestion.source.Source``."""

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        url: str,
        clock: Clock,
        rng: Random,
        depth: int = 200,
        patience: Patience | None = None,
    ) -> None:
        """depth: levels of the order book, 50, 200 or 1000. rng: of the jitter."""
        self._waiting = dict.fromkeys(STREAMS, 0)
        self._groups = [
            BybitGroup(
                symbols[at : at + GROUP],
                url=url,
                clock=clock,
                rng=rng,
                depth=depth,
                pass_on=self._pass_on,
                patience=patience or Patience(),
            )
            for at in range(0, len(symbols), GROUP)
        ]
        self._deliver: Deliver | None = None

    @property
    def streams(self) -> tuple[str, ...]:
        """One a kind of topic."""
        return STREAMS

    @property
    def connections(self) -> int:
        """Opened so far, those that failed included."""
        return sum(group.opened for group in self._groups)

    @property
    def repeated(self) -> int:
        """Messages left out because overlapping connections both brought them."""
        return sum(group.repeated for group in self._groups)

    def documents(self) -> list[dict[str, str | None]]:
        """Every subscription for the worker's status; from any thread."""
        return [document for group in self._groups for document in group.documents()]

    def is_behind(self, stream: str) -> bool:
        """Whether a message of the stream waits for room."""
        return self._waiting[stream] > 0

    def is_whole(self, symbol: str) -> bool:  # noqa: ARG002  # the interface's
        """Never: the exchange keeps nothing for who was away."""
        return False

    async def run(self, deliver: Deliver) -> None:
        """Deliver until ``close``."""
        self._deliver = deliver
        async with asyncio.TaskGroup() as tasks:
            for group in self._groups:
                tasks.create_task(group.run(), name=group.name)

    async def request_snapshot(self, symbol: str) -> None:
        """Subscribe the order book again, which the exchange answers with a snapshot."""
        for group in self._groups:
            if symbol in group.symbols:
                await group.request_snapshot(symbol)

    async def close(self) -> None:
        """End every connection; ``run`` returns."""
        for group in self._groups:
            group.close()

    async def _pass_on(self, body: bytes, *, kind: str, recv_ns: int) -> None:
        """Hand a message to the worker. A kind that is none of ours, which the decoder refuses, comes by the first."""
        assert self._deliver is not None, "only what runs delivers"
        stream = kind if kind in self._waiting else STREAMS[0]
        self._waiting[stream] += 1
        try:
            await self._deliver(Delivery(stream, recv_ns, body))
        finally:
            self._waiting[stream] -= 1
