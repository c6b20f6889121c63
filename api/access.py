"""The door of the API: every request gets its trace id, and only a caller with the key comes in.

The key is sent as X-API-Key, or as Authorization: Bearer, which is what Feast's clients can send.

A route is closed unless its path is in ``OPEN_PATHS`` or an asset of a page of ours: a new one cannot be left open by
forgetting it. A browser's EventSource cannot send a header, so a stream is opened by a token too, for a minute. The
session of the console opens every route, and one that changes something with the session's token alone.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.errors import Forbidden, Unauthorized, error_response
from api.openapi import ASSETS
from api.sessions import COOKIE, CSRF_HEADER, is_token_of, session_ends_s, signature

OPEN_PATHS: Final = frozenset(
    {"/health", "/ready", "/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}
    | {"/console", "/console/login", "/console/logout", "/console/session"}
)
OPEN_ASSETS: Final = (f"{ASSETS}/", "/console/assets/")
STREAM_PATH: Final = "/features/stream"
TOKEN_S: Final = 60
"""How long a token opens the stream; one that is open stays open."""
API_KEY_HEADER: Final = "X-API-Key"
TRACE_HEADER: Final = "X-Trace-Id"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
READING_POSTS: Final = frozenset({"/get-online-features"})
"""Paths of requests that change nothing, whose question is too long for a query."""
_TRACE_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def stream_token(api_key: str, *, now_s: int) -> tuple[str, int]:
    """A token that opens a stream in every process with the key, and when it ends, in seconds since 1970."""
    until_s = now_s + TOKEN_S
    return f"{until_s}.{signature(api_key.encode(), STREAM_PATH, str(until_s))}", until_s


class Door:
    """ASGI middleware: takes a well-formed X-Trace-Id or makes one, returns it, and asks for the key.

    api_key: None lets everybody in, which the settings allow on a loopback address alone. now_s: seconds since 1970.
    """

    def __init__(
        self, app: ASGIApp, *, api_key: str | None, make_trace_id: Callable[[], str], now_s: Callable[[], int]
    ) -> None:
        self._now_s = now_s
        self._app = app
        self._api_key = None if api_key is None else api_key.encode()
        self._make_trace_id = make_trace_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(TRACE_HEADER, "")
        trace_id = given if _TRACE_ID.fullmatch(given) else self._make_trace_id()
        scope.setdefault("state", {})["trace_id"] = trace_id

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[TRACE_HEADER] = trace_id
            await send(message)

        with bound_contextvars(trace_id=trace_id):  # every log line of this request has it
            path: str = scope["path"]
            is_open = path in OPEN_PATHS or path.startswith(OPEN_ASSETS)
            is_let_in = is_open or self._has_key(headers) or (path == STREAM_PATH and self._has_token(scope))
            refusal = None if is_let_in else self._session_refusal(scope, headers)
            if refusal is None:
                await self._app(scope, receive, send_traced)
            else:
                await error_response(refusal, trace_id)(scope, receive, send_traced)

    def _session_refusal(self, scope: Scope, headers: Headers) -> Unauthorized | Forbidden | None:
        """Why the console's cookie does not open the door; None when it does."""
        assert self._api_key is not None, "without a key the door is open"
        value = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if value is None or session_ends_s(self._api_key, value, now_s=self._now_s()) is None:
            return Unauthorized(f"{API_KEY_HEADER}: must be the service's key, was wrong or missing")
        if scope["method"] in READING or is_token_of(self._api_key, value, headers.get(CSRF_HEADER, "")):
            return None
        return Forbidden(
            f"{CSRF_HEADER}: must be the session's token when a session changes something, was wrong or missing"
        )

    def _has_token(self, scope: Scope) -> bool:
        if self._api_key is None:
            return True
        until, _, signed = QueryParams(scope["query_string"]).get("token", "").partition(".")
        if not hmac.compare_digest(signed.encode(), signature(self._api_key, STREAM_PATH, until).encode()):
            return False
        return int(until) > self._now_s()  # we signed it, so it is a number

    def _has_key(self, headers: Headers) -> bool:
        if self._api_key is None:
            return True
        given = headers.get(API_KEY_HEADER)
        if given is None:  # Feast's clients send theirs so
            scheme, _, given = headers.get("Authorization", "").partition(" ")
            given = given if scheme.lower() == "bearer" else ""
        # A header's bytes come decoded as latin-1; this undoes it.
        return hmac.compare_digest(given.encode("latin-1"), self._api_key)
