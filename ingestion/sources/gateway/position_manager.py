"""The position manager's REST interface: entry prices and positions that no message brought, at most 30 s old.

What it answers goes on the tape like any message, its JSON unchanged; a 404 is the statement that nothing is held.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import httpx

from ingestion.call_log import log_call
from ingestion.decoding.own import position_answer
from ingestion.source import Deliver, Delivery
from market.clock import Clock
from market.errors import StoreUnavailable
from storage.outages import Outage

STREAM: Final = "position-manager"
POLL_S: Final = 15.0
"""Half the age that an answer may have."""
TIMEOUT_S: Final = 5.0

_log = logging.getLogger(__name__)


class PositionManager:
    """Asks for the position of each symbol, at its own pace and at once after ``ask_soon``."""

    def __init__(
        self, host: str, port: int, symbols: Sequence[str], clock: Clock, *, api_key: str | None, poll_s: float = POLL_S
    ) -> None:
        self.failures = 0
        self._client = httpx.AsyncClient(
            base_url=f"http://{host}:{port}/api/v1",
            headers={} if api_key is None else {"X-API-Key": api_key},
            timeout=TIMEOUT_S,
            event_hooks={"response": [log_call]},
        )
        self._name = f"position-manager {host}:{port}"
        self._symbols = tuple(symbols)
        self._clock = clock
        self._poll_s = poll_s
        self._soon: set[str] = set()
        self._woken = asyncio.Event()

    def ask_soon(self, symbol: str) -> None:
        """A position changed by a message without an entry price: ask for it; on the event loop."""
        if symbol in self._symbols:
            self._soon.add(symbol)
            self._woken.set()

    async def run(self, deliver: Deliver) -> None:
        """Ask until cancelled; an answer that does not come is asked for again at the next turn."""
        due = list(self._symbols)
        outage = Outage(_log, self._name, meanwhile="the last known positions stay")
        while True:
            for symbol in due:
                try:
                    body = await self._ask(symbol)
                except StoreUnavailable as error:
                    self.failures += 1
                    outage.begin(error)
                    break
                outage.end()
                await deliver(Delivery(STREAM, self._clock.now_ns(), body))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._poll_s)
            self._woken.clear()
            due = sorted(self._soon) or list(self._symbols)
            self._soon.clear()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, symbol: str) -> bytes:
        path = f"/positions/{symbol}"
        try:
            answer = await self._client.get(path, params={"mode": "one-way"})
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"{self._name}: no answer: {type(error).__name__}: {error}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return position_answer(symbol, event_ns=self._clock.now_ns(), answer=b"null")
        if not answer.is_success:
            raise StoreUnavailable(f"{self._name} GET {path}: must succeed, was {answer.status_code}")
        return position_answer(symbol, event_ns=self._clock.now_ns(), answer=answer.content)
