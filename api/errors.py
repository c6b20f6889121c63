"""Errors as HTTP answers: one table from class to status, one shape for every one of them.

``{"error": "<class>", "message": "...", "trace_id": "..."}``. A status of 500 gives the caller only the trace
id: the log has the rest.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from market.errors import (
    Conflict,
    CorruptStore,
    DeclarationError,
    FeatureServiceError,
    InvalidRequest,
    NotFound,
    RejectedMessage,
    StoreUnavailable,
    UnreadableRecording,
)

RETRY_AFTER_S: Final = 5
LONGEST_SHOWN_INPUT: Final = 80
INTERNAL_MESSAGE: Final = "the request failed inside the service; its log has this trace_id"

_PATH: Final = re.compile(r"""(?<![\w.])/([^\s/'",:;]+)/(?:[^\s/'",:;]+/)*([^\s/'",:;]+)""")

_log = logging.getLogger(__name__)


class Unauthorized(FeatureServiceError):
    """The caller did not show the key."""


class Forbidden(FeatureServiceError):
    """The caller is known, and may not do this."""


class MalformedRequest(FeatureServiceError):
    """The request breaks its schema."""


class TooManyRequests(FeatureServiceError):
    """The caller must wait: until others are done, or ``retry_after_s``."""

    def __init__(self, message: str, *, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BodyTooLarge(FeatureServiceError):
    """The request is longer than its route takes."""


class RequestTooSlow(FeatureServiceError):
    """The request did not arrive whole."""


STATUS: Final[Mapping[type[FeatureServiceError], int]] = {
    InvalidRequest: 400,
    RejectedMessage: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    RequestTooSlow: 408,
    Conflict: 409,
    BodyTooLarge: 413,
    MalformedRequest: 422,
    TooManyRequests: 429,
    FeatureServiceError: 500,
    DeclarationError: 500,  # a registry file or setting of the operator, whatever was asked
    CorruptStore: 500,
    UnreadableRecording: 500,
    StoreUnavailable: 503,
}
"""A class that is not listed has the status of its nearest parent."""


def status_of(error: FeatureServiceError) -> int:
    """The HTTP status of an error of ours."""
    return next(STATUS[parent] for parent in type(error).__mro__ if parent in STATUS)


def error_response(error: FeatureServiceError, trace_id: str) -> JSONResponse:
    """The response for one of our errors."""
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        # It names the thing and its rule: where in the code that was found helps no caller.
        _log.error("trace_id %s: %s: %s", trace_id, type(error).__name__, error)
        return _internal(trace_id)
    is_for_later = status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}
    seconds = error.retry_after_s if isinstance(error, TooManyRequests) else RETRY_AFTER_S
    headers = {"Retry-After": str(seconds)} if is_for_later else None
    return _shaped(status, type(error).__name__, told_to_callers(str(error)), trace_id, headers)


def told_to_callers(message: str) -> str:
    """A message without the folders of this machine: of a path on it, its last name is left."""
    return _PATH.sub(lambda found: found[0] if not Path("/", found[1]).is_dir() else found[2], message)


def install_error_handlers(app: FastAPI) -> None:
    """Give every failure of a request the one shape."""
    # The classes of these handlers are what Starlette promises to call them with; its types know only Exception.
    app.add_exception_handler(FeatureServiceError, _ours)  # type: ignore[arg-type]  # see above
    app.add_exception_handler(RequestValidationError, _malformed)  # type: ignore[arg-type]  # see above
    app.add_exception_handler(HTTPException, _http)  # type: ignore[arg-type]  # see above
    app.add_exception_handler(Exception, _unexpected)


def _ours(request: Request, error: FeatureServiceError) -> JSONResponse:
    return error_response(error, request.state.trace_id)


def _malformed(request: Request, error: RequestValidationError) -> JSONResponse:
    return error_response(malformed(error), request.state.trace_id)


def malformed(error: RequestValidationError) -> MalformedRequest:
    """What breaks the schema of a request."""
    problems = []
    for found in error.errors():
        thing = ".".join(str(part) for part in found["loc"])
        rule = found["msg"].removeprefix("Value error, ")
        shown = "" if found["type"] == "missing" else f", was {repr(found.get('input'))[:LONGEST_SHOWN_INPUT]}"
        problems.append(f"{thing}: {rule}{shown}")
    return MalformedRequest("; ".join(problems))


def _http(request: Request, error: HTTPException) -> JSONResponse:
    """The router's own responses: no such route, no such method."""
    name = HTTPStatus(error.status_code).phrase.replace(" ", "")
    message = f"{request.method} {request.url.path}: {error.detail}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        message += "; GET /docs lists the routes"
    return _shaped(error.status_code, name, message, request.state.trace_id, _with_head(error.headers))


def _with_head(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Of a method that a route has not: whoever has GET has HEAD, which ``Heads`` answers."""
    allowed = set() if headers is None else set(headers.get("Allow", "").split(", "))
    return {**(headers or {}), "Allow": ", ".join(sorted({*allowed, "HEAD"}))} if "GET" in allowed else headers


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    trace_id: str = request.state.trace_id
    _log.error("trace_id %s: %s %s failed", trace_id, request.method, request.url.path, exc_info=error)
    # Starlette answers this one outside of every middleware, so the header must be added here.
    response = _internal(trace_id)
    response.headers["X-Trace-Id"] = trace_id
    return response


def _internal(trace_id: str) -> JSONResponse:
    return _shaped(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", INTERNAL_MESSAGE, trace_id, None)


def _shaped(status: int, name: str, message: str, trace_id: str, headers: Mapping[str, str] | None) -> JSONResponse:
    return JSONResponse({"error": name, "message": message, "trace_id": trace_id}, status, headers)
