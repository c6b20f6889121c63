"""The console: a page of our own files on the routes of this API, and the login that opens them to a browser.

The page holds no number: its script asks the same routes as every other caller.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from api.errors import Unauthorized
from api.services import ApiServices, Services
from api.sessions import COOKIE, SESSION_S, csrf_token, session_ends_s, session_value
from market.clock import SECOND_NS, format_iso

FILES: Final = Path(__file__).with_name("console_assets")
PAGE: Final = "/console"
ASSETS: Final = "/console/assets"
LOGIN: Final = "/console/login"
SESSION: Final = "/console/session"
_SAFE: Final = {
    # Nothing but our own files runs, is shown or framed: a name that came with the data stays text.
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

router = APIRouter(prefix=PAGE, tags=["console"])
Asset = Literal[
    "app.js",
    "build.js",
    "chart.js",
    "compare.js",
    "market.js",
    "study.js",
    "timeline.js",
    "symbol.js",
    "coverage.js",
    "registry.js",
    "dom.js",
    "live.js",
    "features.js",
    "past.js",
    "datasets.js",
    "upkeep.js",
    "quality.js",
    "backfill.js",
    "console.css",
    "icon.svg",
]


class Session(BaseModel):
    """needs_key: whether a key is required and was not sent. csrf_token: to be sent with each change.

    ``csrf_token`` and ``ends_at`` are null if the service requires no key, or the key was not sent.
    """

    needs_key: bool
    can_write: bool
    csrf_token: str | None
    ends_at: str | None


@router.get("", response_class=FileResponse, include_in_schema=False)
async def page() -> FileResponse:
    """The page. What it shows is named behind ``#`` of its address."""
    return FileResponse(FILES / "index.html", headers=_SAFE)


@router.get("/assets/{name}", response_class=FileResponse, include_in_schema=False)
async def asset(name: Asset) -> FileResponse:
    """A file of the page."""
    return FileResponse(FILES / name, headers=_SAFE)


@router.post("/login")
async def login(
    request: Request, response: Response, services: Services, api_key: Annotated[str, Body(embed=True, max_length=1000)]
) -> Session:
    """A session in exchange for the key: a cookie that scripts cannot read, for half a day. 401 for a wrong key."""
    if services.api_key is None:
        return _session(services, None)
    if not hmac.compare_digest(api_key.encode(), services.api_key.encode()):
        raise Unauthorized("api_key: must be the service's key, was wrong or missing")
    value = session_value(services.api_key, now_s=_now_s(services))
    is_https = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    response.set_cookie(COOKIE, value, max_age=SESSION_S, path="/", httponly=True, samesite="strict", secure=is_https)
    return _session(services, value)


@router.post("/logout", status_code=204)
async def logout() -> Response:
    """Remove the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


@router.get("/session")
async def session(request: Request, services: Services) -> Session:
    """Whether the caller must send the key, and what it may do."""
    return _session(services, request.cookies.get(COOKIE))


def _session(services: ApiServices, value: str | None) -> Session:
    if services.api_key is None:
        return Session(needs_key=False, can_write=True, csrf_token=None, ends_at=None)
    key = services.api_key.encode()
    ends_s = None if value is None else session_ends_s(key, value, now_s=_now_s(services))
    if value is None or ends_s is None:
        return Session(needs_key=True, can_write=False, csrf_token=None, ends_at=None)
    return Session(
        needs_key=False, can_write=True, csrf_token=csrf_token(key, value), ends_at=format_iso(ends_s * SECOND_NS)
    )


def _now_s(services: ApiServices) -> int:
    return services.clock.now_ns() // SECOND_NS
