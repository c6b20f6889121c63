"""Subscriptions: what the gateway is asked to send us, over its REST interface.

1. On start every symbol is subscribed to every channel; the call is idempotent. A failed one is tried again after 1, 2
   and 4 s and then every 30 s; a request that the gateway refuses (4xx but 429) is not tried again before that.
2. A channel that has been silent for longer than it can be is subscribed again.
3. The gateway has no call for a snapshot: the order book's subscription is deleted and posted again. If that brings
   none the worker asks once more, and so on until the book is back.
4. Nothing is cancelled at shutdown: the queues keep what comes meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx

from ingestion.call_log import log_call
from market.clock import SECOND_NS, Clock, format_iso
from market.errors import FeatureServiceError, StoreUnavailable

REQUESTING_SERVICE: Final = "feature-service"
SILENCE_S: Final[Mapping[str, int]] = {"orderbook": 10, "ticker": 30, "kline": 90, "trades": 300}
"""How long each channel may be silent before it is subscribed again; also the channels that are subscribed."""
POSITION_CHANNEL: Final = "position"
KEPT_CHANNELS: Final = ("funding", "order")
"""They may be silent for as long as they like."""
RETRIES_S: Final = (1.0, 2.0, 4.0)
RETRY_S: Final = 30.0
LOOK_EVERY_S: Final = 1.0
TIMEOUT_S: Final = 5.0

_log = logging.getLogger(__name__)


class RefusedByGateway(FeatureServiceError):
    """The gateway does not do what it was asked, and will not if it is asked again."""


@dataclass(slots=True)
class Subscription:
    """One channel of one symbol."""

    channel_type: str
    symbol: str
    id: str | None = None
    topic: str | None = None
    since_ns: int | None = None
    last_message_ns: int | None = None
    tries: int = 0
    due_ns: int = 0


class Gateway:
    """The gateway's REST interface."""

    def __init__(
        self, host: str, port: int, *, api_key: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"http://{host}:{port}/api/v1",
            headers={} if api_key is None else {"X-API-Key": api_key},
            timeout=TIMEOUT_S,
            event_hooks={"response": [log_call]},
            transport=transport,
        )
        self._name = f"ws-gateway {host}:{port}"

    async def subscribe(self, channel_type: str, symbol: str) -> tuple[str, str]:
        """Id and topic of the subscription, made if there is none.

        Raises StoreUnavailable when the gateway does not answer or has no room, RefusedByGateway when it says no.
        """
        body = {"channel_type": channel_type, "symbol": symbol, "requesting_service": REQUESTING_SERVICE}
        answer = await self._ask("POST", "/subscriptions", json=body)
        try:
            document = answer.json()
            return str(document["id"]), str(document["topic"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreUnavailable(
                f"{self._name}: must answer with a subscription, was {answer.text[:200]!r}"
            ) from error

    async def cancel(self, subscription_id: str) -> None:
        """Delete a subscription; one that is gone already is gone. Raises as ``subscribe`` does."""
        with suppress(RefusedByGateway):
            await self._ask("DELETE", f"/subscriptions/{subscription_id}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, *, json: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            answer = await self._client.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"{self._name}: no answer: {type(error).__name__}: {error}") from error
        if answer.is_success:
            return answer
        told = f"{self._name} {method} {path}: must succeed, was {answer.status_code} {answer.text[:200]}"
        if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            raise RefusedByGateway(told)
        raise StoreUnavailable(told)


class Subscriptions:
    """Every channel of every symbol, kept subscribed by ``run``."""

    def __init__(
        self,
        gateway: Gateway,
        symbols: Sequence[str],
        clock: Clock,
        *,
        has_positions: bool = False,
        kept: Sequence[str] = (),
    ) -> None:
        """kept: channels that are subscribed in addition to market data, if they are the gateway's."""
        self.rounds = 0
        """How often every subscription was checked."""
        self.renewals = 0
        self.failures = 0
        self._gateway = gateway
        self._clock = clock
        others = (*((POSITION_CHANNEL,) if has_positions else ()), *(name for name in kept if name in KEPT_CHANNELS))
        channels = (*SILENCE_S, *others)
        self._all = {(channel, symbol): Subscription(channel, symbol) for symbol in symbols for channel in channels}
        self._asking: set[str] = set()

    def note(self, channel_type: str, symbol: str, recv_ns: int) -> None:
        """A message of the channel came; from any thread."""
        held = self._all.get((channel_type, symbol))
        if held is not None:
            held.last_message_ns = recv_ns

    def documents(self) -> list[dict[str, Any]]:
        """What is subscribed, for the status."""
        return [
            {
                "id": each.id,
                "channel_type": each.channel_type,
                "symbol": each.symbol,
                "topic": each.topic,
                "since": None if each.since_ns is None else format_iso(each.since_ns),
                "last_message_at": None if each.last_message_ns is None else format_iso(each.last_message_ns),
            }
            for each in self._all.values()
            if each.id is not None
        ]

    async def run(self) -> None:
        """Subscribe what is due, until cancelled."""
        while True:
            for each in self._all.values():
                now_ns = self._clock.now_ns()
                if each.due_ns <= now_ns and (each.id is None or self._is_silent(each, now_ns)):
                    await self._subscribe(each)
            self.rounds += 1
            await asyncio.sleep(LOOK_EVERY_S)

    async def request_snapshot(self, symbol: str) -> None:
        """Delete and post the order book's subscription; the snapshot comes as its first message."""
        held = self._all.get(("orderbook", symbol))
        if held is None or symbol in self._asking:
            return
        self._asking.add(symbol)
        try:
            if held.id is None:
                await self._subscribe(held)  # it may have been made by another process
            if held.id is not None:
                await self._gateway.cancel(held.id)
            await self._subscribe(held)
        except (StoreUnavailable, RefusedByGateway) as error:
            self.failures += 1
            _log.warning("order book of %s: no snapshot was requested from the gateway: %s", symbol, error)
        finally:
            self._asking.discard(symbol)

    async def close(self) -> None:
        """Close the connections; what is subscribed stays."""
        await self._gateway.close()

    def _is_silent(self, each: Subscription, now_ns: int) -> bool:
        limit_s = SILENCE_S.get(each.channel_type)
        if limit_s is None or each.since_ns is None:
            return False
        return now_ns - max(each.since_ns, each.last_message_ns or 0) > limit_s * SECOND_NS

    async def _subscribe(self, each: Subscription) -> None:
        is_renewal = each.id is not None
        try:
            each.id, each.topic = await self._gateway.subscribe(each.channel_type, each.symbol)
        except (StoreUnavailable, RefusedByGateway) as error:
            self.failures += 1
            is_refused = isinstance(error, RefusedByGateway)
            pause_s = RETRY_S if is_refused or each.tries >= len(RETRIES_S) else RETRIES_S[each.tries]
            each.tries += 1
            each.due_ns = self._clock.now_ns() + int(pause_s * SECOND_NS)
            _log.warning("%s of %s: retrying in %g s: %s", each.channel_type, each.symbol, pause_s, error)
        else:
            self.renewals += is_renewal
            each.tries = 0
            each.since_ns = self._clock.now_ns()
