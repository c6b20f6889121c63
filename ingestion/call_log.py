"""What was asked of another service and what it answered, a line of the log at debug."""

from __future__ import annotations

import logging
from typing import Final

import httpx

LONGEST_BODY: Final = 2_000

_log = logging.getLogger(__name__)


async def log_call(answer: httpx.Response) -> None:
    """A hook of an HTTP client: method, path, both bodies up to LONGEST_BODY, status. Keys are in headers, left out."""
    if not _log.isEnabledFor(logging.DEBUG):
        return
    await answer.aread()
    asked = answer.request
    _log.debug(
        "%s %s%s sent %s, response %d %s",
        asked.method,
        asked.url.host,
        asked.url.path,
        asked.content[:LONGEST_BODY].decode(errors="replace") or "nothing",
        answer.status_code,
        answer.text[:LONGEST_BODY] or "nothing",
    )
