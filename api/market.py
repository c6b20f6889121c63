"""The route of the present: a symbol's order book and newest trades, as its tape has them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Response

from api.moment import price_levels
from api.parameters import Symbol
from api.schemas import PresentBook
from api.services import Services
from feature_repo.registry_versions import load_registry_version, registry_versions
from market.clock import MILLISECOND_NS, format_iso
from market.errors import NotFound
from market.events import BUY

MOST_TRADES: Final = 200

router = APIRouter(prefix="/features", tags=["features"])


@router.get("/market", responses={200: {"model": PresentBook}})
def present(
    services: Services,
    symbol: Symbol,
    depth: Annotated[int, Query(ge=1, le=500, description="Levels of each side of the book.")] = 20,
    trades: Annotated[int, Query(ge=0, le=MOST_TRADES, description="Number of trades, the newest ones.")] = 50,
) -> Response:
    """The order book after the newest message on the tape, and the newest trades: what the newest row was made of.

    ``book`` is null while it is not known. 404 where no ingest has
    kept a checkpoint lately.
    """
    if services.present is None:
        raise NotFound("tape: must exist to show the current market, this process has none")
    version = services.default_version or registry_versions(services.versions_folder)[-1]
    chosen = load_registry_version(version, services.versions_folder).feature_set
    found = services.present(symbol, chosen, trades)
    scales = 10.0**found.instrument.price_exponent, 10.0**found.instrument.quantity_exponent
    document: dict[str, Any] = {
        "symbol": symbol,
        "received": format_iso(found.recv_ns),
        "age_ms": (services.clock.now_ns() - found.recv_ns) // MILLISECOND_NS,
        "book": None,
        "trades": [
            {
                "timestamp": format_iso(int(each["event_ns"])),
                "side": "buy" if each["field"] == BUY else "sell",
                "price": int(each["px"]) / scales[0],
                "quantity": int(each["qty"]) / scales[1],
            }
            for each in found.trades[::-1]
        ],
    }
    if found.book is not None:
        bids, asks = found.book
        document["book"] = {
            "bids": price_levels(bids[:depth], found.instrument),
            "asks": price_levels(asks[:depth], found.instrument),
        }
    return Response(orjson.dumps(document), media_type="application/json")
