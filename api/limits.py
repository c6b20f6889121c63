"""Limits: how large a request may be, how long it may take to arrive, how often and how many at a time.

1. A body is read whole before a route sees it, up to the limit of its route: one that says that it is longer, or turns
   out to be, is answered by 413 at once. One that does not arrive in time is answered by 408 and its connection closed.
2. A caller, told by the key or without one by the address, has a bucket for reading and one for changing: a request
   that finds its bucket empty is answered by 429, with the seconds after which there is room again.
3. Of requests that change something so many are worked on as the database has connections for; others wait their turn.

Memory is bounded by the limits: of bodies above the ordinary one only a few are held at a time.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import READING, READING_POSTS
from api.errors import BodyTooLarge, RequestTooSlow, TooManyRequests, error_response
from api.requests import log_body
from market.errors import FeatureServiceError

MOST_CALLERS: Final = 10_000
"""Of more than that the ones that were silent for longest start again with full buckets."""
MOST_LARGE: Final = 2
MOST_CHANGING: Final = 4
_BURST_S: Final = 2.0
LARGE_ROUTES: Final = frozenset({"/model/evaluate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """body_bytes is of every route, predictions_bytes of those that take a model's predictions; rates are of a caller.

    body_s: within which a body must have arrived.
    """

    body_bytes: int = 1 << 20
    predictions_bytes: int = 64 << 20
    reads_per_s: float = 5000.0
    changes_per_s: float = 50.0
    body_s: float = 30.0


class Limits:
    """ASGI middleware behind the door, which has told the trace id. now_s: a clock that never goes back."""

    def __init__(self, app: ASGIApp, *, limits: RequestLimits, caller_header: str, now_s: Callable[[], float]) -> None:
        self._app = app
        self._limits = limits
        self._caller_header = caller_header
        self._now_s = now_s
        self._buckets: OrderedDict[tuple[str, bool], tuple[float, float]] = OrderedDict()
        self._large = 0
        self._changing = asyncio.Semaphore(MOST_CHANGING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._take_turn(scope)
            if scope["method"] in READING:
                await self._app(scope, receive, send)
            else:
                await self._changed(scope, receive, send)
        except (BodyTooLarge, RequestTooSlow, TooManyRequests) as refusal:
            await _refuse(refusal, scope, receive, send)

    async def _changed(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_large = scope["path"] in LARGE_ROUTES
        if is_large and self._large >= MOST_LARGE:
            raise TooManyRequests(f"{scope['path']}: must be at most {MOST_LARGE} at a time, was more")
        self._large += is_large
        try:
            limit = self._limits.predictions_bytes if is_large else self._limits.body_bytes
            try:
                async with asyncio.timeout(self._limits.body_s):
                    body = await _whole_body(scope, receive, limit)
            except TimeoutError:
                raise RequestTooSlow(f"body: must arrive within {self._limits.body_s:g} s, was incomplete") from None
            if body is None:
                return  # the caller is gone
            log_body(scope, body)
            async with AsyncExitStack() as stack:
                if not is_large and scope["path"] not in READING_POSTS:
                    await stack.enter_async_context(self._changing)
                await self._app(scope, _replayed(body, receive), send)
        finally:
            self._large -= is_large

    def _take_turn(self, scope: Scope) -> None:
        is_read = scope["method"] in READING or scope["path"] in READING_POSTS
        rate = self._limits.reads_per_s if is_read else self._limits.changes_per_s
        address = scope.get("client") or ("", 0)
        caller = (Headers(scope=scope).get(self._caller_header) or address[0], is_read)
        now_s, room = self._now_s(), max(rate * _BURST_S, 1.0)
        left, since_s = self._buckets.pop(caller, (room, now_s))
        left = min(room, left + (now_s - since_s) * rate)
        self._buckets[caller] = (left - 1.0 if left >= 1.0 else left, now_s)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        if left < 1.0:
            raise TooManyRequests(
                f"requests: must be at most {rate:g} a second per caller, was more",
                retry_after_s=math.ceil((1.0 - left) / rate),
            )


async def _whole_body(scope: Scope, receive: Receive, limit: int) -> bytearray | None:
    stated = Headers(scope=scope).get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise BodyTooLarge(f"body: must be at most {limit} bytes for {scope['path']}, was {stated}")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(f"body: must be at most {limit} bytes for {scope['path']}, was more")
        if not message.get("more_body", False):
            return body


def _replayed(body: bytearray, receive: Receive) -> Receive:
    held: list[bytearray] = [body]

    async def again() -> Message:
        if held:
            return {"type": "http.request", "body": held.pop(), "more_body": False}
        return await receive()

    return again


async def _refuse(refusal: FeatureServiceError, scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(refusal, scope["state"]["trace_id"])
    if not isinstance(refusal, TooManyRequests):
        # The rest of the body is not waited for, so that nothing else can come over this connection.
        response.headers["Connection"] = "close"
    await response(scope, receive, send)
