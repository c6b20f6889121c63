"""The route of the past: a symbol's row and book at a moment, and the messages that a value of it depends on."""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response

from api.parameters import RegistryVersion, Symbol
from api.schemas import PastMoment
from api.services import Services
from api.wire_times import Moment
from feature_repo.registry_versions import load_registry_version, registry_versions
from market.clock import floor_to, format_iso
from market.errors import NotFound
from market.instruments import Instrument
from storage.online.document import vector_document
from storage.raw.messages import RawMessage
from training_sets.rebuild.moment import messages_behind, moment_at
from training_sets.rebuild.raw_history import RawHistory
from transforms.book_levels import Levels
from transforms.state import ORDER_NS
from transforms.status import REASON_NAMES

MOST_MESSAGES: Final = 1000
"""Most messages of one response; ``count`` is their total number."""

router = APIRouter(prefix="/features", tags=["features"])


@router.get("/moment", responses={200: {"model": PastMoment}})
def moment(  # noqa: PLR0913, PLR0917  # FastAPI reads the query from the parameters
    request: Request,
    services: Services,
    symbol: Symbol,
    at: Annotated[Moment, Query(description="Time; without an offset it is UTC.")],
    feature: Annotated[str | None, Query(max_length=80, description="Feature whose messages are listed.")] = None,
    depth: Annotated[int, Query(ge=1, le=500, description="Levels of each side of the book.")] = 20,
    registry_version: RegistryVersion = None,
) -> Response:
    """The row of a symbol at the tick up to ``at``, recomputed from raw data, bit for bit as it was served.

    With ``feature``: the newest 1000 of the messages that its value depends on; changing any other message never
    changes the value. Data that is only on the tape, the last hour of a running service, takes longer: it is decoded
    first.
    """
    version = registry_version or services.default_version or registry_versions(services.versions_folder)[-1]
    chosen = load_registry_version(version, services.versions_folder).feature_set
    if services.open_kernel is None:
        raise NotFound("this process has no kernel to recompute a row with")
    row_ns = floor_to(at, ORDER_NS)
    with RawHistory(services.raw, services.open_raw).until(symbol, row_ns) as raw:
        found = moment_at(raw, symbol, services.open_kernel(chosen), row_ns)
        instrument = raw.instrument(symbol)
        behind = None if feature is None else messages_behind(raw, symbol, chosen, feature, row_ns)
    rows = found.rows
    assert rows.reasons is not None, "rows of a kernel have them"
    document: dict[str, Any] = vector_document(
        symbol=symbol,
        row_ns=row_ns,
        columns=chosen.columns,
        values=rows.values[0].tolist(),
        missing={name: REASON_NAMES[why] for name, why in zip(chosen.columns, rows.reasons[0].tolist(), strict=True)},
        statuses=dict(zip((group.name for group in chosen.groups), rows.status[0].tolist(), strict=True)),
        version=version,
        fingerprint=chosen.fingerprint,
        now_ns=services.clock.now_ns(),
        trace_id=request.state.trace_id,
    )
    document["book"] = None
    if found.bids is not None and found.asks is not None:
        document["book"] = {
            "bids": price_levels(found.bids[:depth], instrument),
            "asks": price_levels(found.asks[:depth], instrument),
        }
    document["depends_on"] = None
    if behind is not None:
        document["depends_on"] = {
            "feature": feature,
            "count": len(behind),
            "messages": [_message(each) for each in behind[-MOST_MESSAGES:]],
        }
    return Response(orjson.dumps(document), media_type="application/json")


def price_levels(levels: Levels, instrument: Instrument) -> list[list[float]]:
    """[price, quantity] of each level."""
    scales = 10.0 ** np.array([instrument.price_exponent, instrument.quantity_exponent])
    scaled: list[list[float]] = (levels / scales).tolist()
    return scaled


def _message(message: RawMessage) -> dict[str, Any]:
    return {
        "seq": message.seq,
        "received": format_iso(message.recv_ns),
        "kind": message.kind,
        "records": message.records,
        "update_id": message.update_id,
    }
