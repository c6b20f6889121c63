"""Whether the message broker answers and lets us in: a connection that is opened and closed again."""

from __future__ import annotations

import asyncio
from typing import Final

from ingestion.rabbitmq.connection import LOST, BrokerAddress, connect
from market.errors import StoreUnavailable

TIMEOUT_S: Final = 1.0


def check_broker(address: BrokerAddress) -> None:
    """Raises StoreUnavailable when the broker refuses or does not answer. Not for a thread that runs an event loop."""
    try:
        asyncio.run(_open_and_close(address))
    except LOST as error:
        said = str(error) or f"no response within {TIMEOUT_S:g} s"
        raise StoreUnavailable(f"{address}: cannot connect as {address.user}: {said}") from error


async def _open_and_close(address: BrokerAddress) -> None:
    async with asyncio.timeout(TIMEOUT_S), await connect(address):
        pass
