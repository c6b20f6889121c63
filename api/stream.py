"""The rows of a symbol as server-sent events, one a row, from whichever process computes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.access import stream_token
from api.errors import TooManyRequests
from api.parameters import Symbol
from api.services import ApiServices, Services
from api.vectors import feature_vector
from market.clock import SECOND_NS, format_iso, parse_duration_ns
from market.errors import NotFound

MOST_STREAMS: Final = 200
"""At a time, in one process; each holds a connection."""

GRID: Final = "grid"

router = APIRouter(prefix="/features", tags=["features"])


class StreamToken(BaseModel):
    """``token`` is null if the service requires no key. A stream that is open when it ends stays open."""

    token: str | None
    expires_at: str | None


@router.post("/stream/token")
def token(services: Services) -> StreamToken:
    """A token for ``/features/stream?token=``, valid for a minute: a browser's EventSource cannot send headers."""
    if services.api_key is None:
        return StreamToken(token=None, expires_at=None)
    text, until_s = stream_token(services.api_key, now_s=services.clock.now_ns() // SECOND_NS)
    return StreamToken(token=text, expires_at=format_iso(until_s * SECOND_NS))


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "One event a row, a comment in silence."}},
)
async def stream(
    request: Request,
    services: Services,
    symbol: Symbol,
    interval: Annotated[
        Literal["grid", "1s", "3s", "15s", "1m"], Query(description="Row times to send; grid is every one.")
    ] = GRID,
    token: Annotated[  # noqa: ARG001  # the door has read it
        str | None, Query(description="Token from POST /features/stream/token, instead of the key.")
    ] = None,
) -> StreamingResponse:
    """Each row when it is stored, as an event ``row`` with a FeatureVector; the newest one immediately.

    The id of an event is its row time in nanoseconds. interval: only rows whose time is a multiple of it; ``grid``
    is every row. A slow reader loses the oldest waiting rows, so row times may jump. A comment is sent during silence.
    """
    if symbol not in services.symbols:
        [found] = await run_in_threadpool(services.online.read, [symbol])
        if found is None:
            raise NotFound(f"symbol: must be one that has sent data, was {symbol!r}; GET /features/overview lists them")
    if services.feed.readers >= MOST_STREAMS:
        raise TooManyRequests(f"streams: must be at most {MOST_STREAMS} at a time, were {services.feed.readers}")
    step_ns = 1 if interval == GRID else parse_duration_ns(interval)
    events = _events(services, symbol, step_ns=step_ns, trace_id=request.state.trace_id)
    # A proxy that gathers an answer before it passes it on would hold the rows back.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(services: ApiServices, symbol: str, *, step_ns: int, trace_id: str) -> AsyncIterator[bytes]:
    with services.feed.reading(symbol, step_ns=step_ns) as reader:
        while not reader.is_closed:
            row = await reader.take(services.heartbeat_s)
            if row is None:
                yield b": no row\n\n"
            else:
                document = feature_vector(row, now_ns=services.clock.now_ns(), trace_id=trace_id)
                yield b"id: %d\nevent: row\ndata: %b\n\n" % (row.row_ns, orjson.dumps(document))
