"""The dependencies of a gateway source other than its queues."""

from __future__ import annotations

from typing import Protocol

from ingestion.source import Deliver


class SubscriptionKeeper(Protocol):
    """Who keeps the gateway sending, and can make it send a snapshot of an order book."""

    def note(self, channel_type: str, symbol: str, recv_ns: int) -> None: ...

    async def request_snapshot(self, symbol: str) -> None: ...


class PositionPoller(Protocol):
    """Who delivers positions that no queue brings."""

    def ask_soon(self, symbol: str) -> None: ...

    async def run(self, deliver: Deliver) -> None: ...
