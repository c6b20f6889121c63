"""What the OpenAPI document says of every route: operation ids, and the errors that are really answered."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

from fastapi.routing import APIRoute
from pydantic import BaseModel

ASSETS: Final = "/docs/assets"
"""Where the pages at /docs and /redoc have their scripts and styles from."""


class ErrorDocument(BaseModel):
    """An error: its class, and a message with the thing, the rule and the actual value; the log has ``trace_id``."""

    error: str
    message: str
    trace_id: str


_EXAMPLES: Final[dict[int, tuple[str, str]]] = {
    400: ("InvalidRequest", "period: must lie within what is known, 2026-01-05T12:00:00Z to 2026-01-05T12:10:00Z"),
    401: ("Unauthorized", "X-API-Key: must be the service's key, was wrong or missing"),
    403: (
        "Forbidden",
        "X-CSRF-Token: must be the session's token when a session changes something, was wrong or missing",
    ),
    404: ("NotFound", "symbol: must be one that has sent data, was 'XUSDT'; GET /features/overview lists them"),
    408: ("RequestTooSlow", "body: must arrive within 30 s, was incomplete"),
    409: ("Conflict", "dataset 41ccbbba: must be building to be cancelled, was ready"),
    413: ("BodyTooLarge", "body: must be at most 1048576 bytes, was more"),
    422: ("MalformedRequest", "query.symbol: Field required"),
    429: ("TooManyRequests", "requests: must be at most 50 a second, were more"),
    500: ("InternalError", "the request failed inside the service; its log has this trace_id"),
    503: ("StoreUnavailable", "online store: does not respond"),
}
OF_EVERY_ROUTE: Final = (401, 422, 429, 500, 503)
OF_A_BODY: Final = (408, 413)
_RENAMED: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
"""As RFC 9110 calls them, and Python from 3.13 on."""


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a router's routes, for FastAPI's ``responses``: those of every route, and ``statuses``."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*OF_EVERY_ROUTE, *statuses}):
        error, message = _EXAMPLES[status]
        example = {"error": error, "message": message, "trace_id": "4bf92f3577b34da6"}
        found[status] = {
            "model": ErrorDocument,
            "description": _RENAMED.get(status, HTTPStatus(status).phrase),
            "content": {"application/json": {"example": example}},
        }
    return found


def operation_id(route: APIRoute) -> str:
    """The subject of the path, then the function: features_latest, dataset_build, data_quality_report."""
    subject = re.sub(r"\W", "_", route.path.split("/")[1])
    return route.name if subject in route.name else f"{subject}_{route.name}"
