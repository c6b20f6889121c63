"""Notices on a RabbitMQ queue: rare messages, each confirmed by the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from ingestion.rabbitmq.connection import BrokerAddress
from ingestion.rabbitmq.writing import QueueWriter

KEPT_UNTIL_READ: Final[Mapping[str, Any]] = {}


class QueueNotices:
    """Notices to one queue. No notice is worth a connection kept open: each has its own."""

    def __init__(self, address: BrokerAddress, queue: str, *, arguments: Mapping[str, Any] = KEPT_UNTIL_READ) -> None:
        """arguments: of the queue, if it is not declared yet."""
        self._address = address
        self._queue = queue
        self._arguments = arguments

    def send(self, notice: Mapping[str, Any]) -> None:
        """Publish one; the broker has it on its disk when this returns. Not for a thread that runs an event loop.

        Raises StoreUnavailable.
        """
        asyncio.run(self._send(notice))

    async def _send(self, notice: Mapping[str, Any]) -> None:
        writer = QueueWriter(self._address, arguments=self._arguments)
        trace_id = notice.get("trace_id")
        try:
            await writer.publish(
                self._queue, orjson.dumps(notice), {} if trace_id is None else {"X-Trace-Id": trace_id}
            )
        finally:
            await writer.close()
