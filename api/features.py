"""Routes of live features."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.schemas import FeatureVector
from api.services import Services
from api.vectors import feature_vector
from market.errors import InvalidRequest, NotFound
from storage.online.memory import newest_vector

router = APIRouter(prefix="/features", tags=["features"])


@router.get("/latest", responses={200: {"model": FeatureVector}})
def latest(
    request: Request,
    services: Services,
    symbol: Annotated[str, Query(min_length=1, max_length=40)],
    interval: Annotated[Literal["1s", "3s", "15s", "1m"], Query()] = "1s",
) -> Response:
    """The newest row of a symbol; while the online store is away, that of the ingest role in this process.

    interval: the online store keeps the newest row alone, whatever tick of the grid it is of, so only 1s is taken.
    """
    if interval != "1s":
        raise InvalidRequest(
            f"interval: must be 1s, the newest row alone is kept online, was {interval!r}; the rows of 3s, 15s and 1m "
            "are those whose time is a multiple of it, in datasets through sample_interval"
        )
    found = newest_vector(services.online, services.memory, symbol)
    if found is None:
        raise NotFound(f"symbol: must be one that has sent data, was {symbol!r}")
    # The document is made of JSON values alone, so FastAPI's own encoding of it would change nothing.
    document = feature_vector(found, now_ns=services.clock.now_ns(), trace_id=request.state.trace_id)
    return Response(orjson.dumps(document), media_type="application/json")
