"""The record of each request: a log line, and a row of ``api_endpoint_metrics``."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from starlette.types import Scope

from api.access import OPEN_PATHS
from market.clock import SECOND_NS, Clock, to_datetime

LONGEST_BODY: Final = 2_000
_SECRET: Final = re.compile(r'("[^"]*(?:key|password|secret|token)[^"]*"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|$)', re.IGNORECASE)
_SYMBOL: Final = re.compile(rb"(?:^|&)symbol=([A-Z0-9]{1,20})(?:&|$)")

_log: Final = structlog.stdlib.get_logger(__name__)


def log_body(scope: Scope, body: bytes | bytearray) -> None:
    """At debug, what was sent with a request, up to LONGEST_BODY; texts that are named like a secret are left out."""
    if body and logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        text = bytes(body[:LONGEST_BODY]).decode(errors="replace")
        sent = _SECRET.sub(r'\1"***"', text)
        trace_id = scope.get("state", {}).get("trace_id")
        _log.debug("request body", method=scope["method"], path=scope["path"], body=sent, trace_id=trace_id)


class RequestNotes:
    """Tells of a request when its answer begins: a stream lasts as its reader likes.

    keep: takes the row; None keeps none. What is open to everybody, which probes ask for again and again, is logged at
    debug. The query is not logged: a token may be in it.
    """

    def __init__(self, clock: Clock, keep: Callable[[Mapping[str, Any]], object] | None) -> None:
        self._clock = clock
        self._keep = keep

    def __call__(self, scope: Scope, *, route: str, status: int, seconds: float) -> None:
        """Tell of one. route: its template."""
        trace_id = scope.get("state", {}).get("trace_id")
        path, method, ms = str(scope["path"]), str(scope["method"]), round(seconds * 1000, 3)
        log = _log.debug if path in OPEN_PATHS else _log.info
        log("request", method=method, path=path, status=status, ms=ms, trace_id=trace_id)
        if self._keep is None:
            return
        symbol = _SYMBOL.search(scope["query_string"])
        self._keep(
            {
                "endpoint": route,
                "method": method[:10],
                "response_time_ms": ms,
                "status_code": status,
                "symbol": None if symbol is None else symbol[1].decode(),
                "request_timestamp": to_datetime(self._clock.now_ns() - int(seconds * SECOND_NS)),
                "trace_id": trace_id,
            }
        )
