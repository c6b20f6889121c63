"""Routes of live features."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.build_request import Moment
from api.schemas import FeatureHistory, FeatureVector
from api.services import Services
from api.vectors import feature_vector
from feature_repo.registry_versions import load_registry_version, registry_versions
from market.clock import MILLISECOND_NS, SECOND_NS, format_iso
from market.errors import InvalidRequest, NotFound
from storage.features.history import History, groups_with
from storage.features.log import FeatureLog
from storage.features.shadow_log import shadow_log_folder
from storage.online.memory import newest_vector
from storage.online.shadow_rows import read_version
from transforms.status import STATUS_NAMES

PRICE: Final = "mid_price"
MOST_VALUES: Final = 200_000
"""Of one answer: an hour of fifty features."""

router = APIRouter(prefix="/features", tags=["features"])


@router.get("/latest", responses={200: {"model": FeatureVector}})
def latest(
    request: Request,
    services: Services,
    symbol: Annotated[str, Query(min_length=1, max_length=40)],
    interval: Annotated[Literal["1s", "3s", "15s", "1m"], Query()] = "1s",
    registry_version: Annotated[str | None, Query(min_length=1, max_length=40)] = None,
) -> Response:
    """The newest row of a symbol; while the online store is away, that of the ingest role in this process.

    registry_version: of that version, which is served or served beside; 409 while it is neither.

    interval: the online store keeps the newest row alone, whatever tick of the grid it is of, so only 1s is taken.
    """
    if interval != "1s":
        raise InvalidRequest(
            f"interval: must be 1s, the newest row alone is kept online, was {interval!r}; the rows of 3s, 15s and 1m "
            "are those whose time is a multiple of it, in datasets through sample_interval"
        )
    found = newest_vector(services.online, services.memory, symbol)
    if found is not None and registry_version not in (None, found.version):
        [found] = read_version(services.online, [symbol], registry_version)
    if found is None:
        raise NotFound(f"symbol: must be one that has sent data, was {symbol!r}")
    # The document is made of JSON values alone, so FastAPI's own encoding of it would change nothing.
    document = feature_vector(found, now_ns=services.clock.now_ns(), trace_id=request.state.trace_id)
    return Response(orjson.dumps(document), media_type="application/json")


@router.get("/overview")
def overview(services: Services) -> dict[str, Any]:
    """Of each followed symbol its newest row: age, how long after its time it was readable, mid price, statuses.

    A symbol without a row is null. ``unknown`` counts the features that are not known.
    """
    now_ns = services.clock.now_ns()
    symbols: dict[str, dict[str, Any] | None] = {}
    for symbol in services.symbols:
        found = newest_vector(services.online, services.memory, symbol)
        if found is None:
            symbols[symbol] = None
            continue
        prices = dict(zip(found.columns, found.values.tolist(), strict=True))
        symbols[symbol] = {
            "timestamp": format_iso(found.row_ns),
            "age_ms": found.age_ns(now_ns) // MILLISECOND_NS,
            "lag_ms": (found.available_ns - found.row_ns) / MILLISECOND_NS,
            "mid_price": None if PRICE in found.missing else prices.get(PRICE),
            "missing": {PRICE: found.missing[PRICE]} if PRICE in found.missing else {},
            "features": len(found.columns),
            "unknown": len(found.missing),
            "feature_registry_version": found.version,
            "groups": {group: STATUS_NAMES[status] for group, status in found.statuses.items()},
        }
    return {"timestamp": format_iso(now_ns), "symbols": symbols}


@router.get("/history", responses={200: {"model": FeatureHistory}})
def history(  # noqa: PLR0913, PLR0917  # FastAPI reads the query from the parameters
    services: Services,
    symbol: Annotated[str, Query(min_length=1, max_length=40)],
    begin: Annotated[Moment, Query(alias="from")],
    end: Annotated[Moment, Query(alias="to")],
    features: Annotated[str, Query(description="Names separated by commas; none is every feature.")] = "",
    as_of: Annotated[Moment | None, Query()] = None,
    registry_version: Annotated[str | None, Query(max_length=40)] = None,
    rows: Annotated[Literal["served", "beside"], Query()] = "served",
) -> Response:
    """The rows of a symbol with ``from <= row time < to`` as the feature log has them, up to a minute behind now.

    as_of: only what was readable by then. registry_version: whose features; default is the one that is served.
    rows: beside are those of the time in which that version was served beside the active one. Longer
    histories than MOST_VALUES are for the SDK and the command line, which stream them.
    """
    version = registry_version or services.default_version or registry_versions(services.versions_folder)[-1]
    chosen = load_registry_version(version, services.versions_folder).feature_set
    names = [name.strip() for name in features.split(",") if name.strip()]
    log = FeatureLog(shadow_log_folder(services.features.folder, version)) if rows == "beside" else services.features
    asked = History(log, symbol, groups_with(chosen, names), begin, end, as_of)
    if (values := (end - begin) // SECOND_NS * len(asked.columns)) > MOST_VALUES:
        raise InvalidRequest(f"history: must be at most {MOST_VALUES} values, rows times features, was {values}")
    times: list[str] = []
    available: list[str] = []
    columns: dict[str, list[float | None]] = {name: [] for name in asked.columns}
    for batch in asked.batches():
        for texts, name in ((times, "timestamp"), (available, "available")):
            texts.extend(map(format_iso, batch[name].to_numpy(zero_copy_only=False).view("int64").tolist()))
        for name, column in columns.items():
            column += [None if value != value else value for value in batch[name].to_pylist()]  # noqa: PLR0124  # NaN
    document = {
        "symbol": symbol,
        "feature_registry_version": version,
        "timestamps": times,
        "available": available,
        "features": columns,
    }
    return Response(orjson.dumps(document), media_type="application/json")
