"""HEAD: answered as GET is, with its status and headers, the length of a download among them, and without content.

RFC 9110, 9.3.2. The routes know GET alone, so that each stands in the document of the API once.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """ASGI middleware in front of the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # A range is of GET alone (14.2).
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        asked = {**scope, "method": "GET", "headers": headers}

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                if "route" in asked:
                    scope["route"] = asked["route"]
                await send(message)
                # With its end the caller counts as gone: of a file or a stream nothing more is read.
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await asyncio.sleep(0)  # who waits for the caller to be gone comes to know it

        await self._app(asked, receive, send_head)
