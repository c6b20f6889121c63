"""Routes of live features."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.listed_names import listed_names
from api.parameters import LONGEST_NAME, From, RegistryVersion, ServedOrBeside, Symbol, To
from api.schemas import FeatureHistory, FeatureVector, FeatureVectors
from api.services import Services
from api.vectors import feature_vector
from api.wire_times import Moment
from feature_repo.registry_versions import load_registry_version, registry_versions
from market.clock import MILLISECOND_NS, SECOND_NS, format_iso
from market.errors import InvalidRequest, NotFound
from storage.features.history import History, groups_with, status_column
from storage.features.log import FeatureLog
from storage.features.shadow_log import shadow_log_folder
from storage.online.memory import newest_vectors
from storage.online.shadow_rows import read_version
from transforms.status import STATUS_NAMES

PRICE: Final = "mid_price"
MOST_SYMBOLS: Final = 1_000
MOST_VALUES: Final = 200_000
"""Of one answer: an hour of fifty features."""

router = APIRouter(prefix="/features", tags=["features"])


@router.get("/latest", responses={200: {"model": FeatureVector | FeatureVectors}})
def latest(  # noqa: PLR0913, PLR0917  # FastAPI reads the query from the parameters
    request: Request,
    services: Services,
    symbol: Annotated[
        str | None, Query(min_length=1, max_length=LONGEST_NAME, description="One symbol; instead of symbols.")
    ] = None,
    symbols: Annotated[
        str | None, Query(description="Several symbols, separated by commas; instead of symbol.")
    ] = None,
    features: Annotated[str | None, Query(description="Names, separated by commas; default: every feature.")] = None,
    interval: Annotated[
        Literal["1s", "3s", "15s", "1m"], Query(description="Only 1s: the online store has the newest row alone.")
    ] = "1s",
    registry_version: RegistryVersion = None,
) -> Response:
    """The newest row of a symbol, or of several; while the online store is down, from ingest in this process.

    symbol returns its vector, or 404; symbols returns all their vectors, and the names of those without one.
    registry_version: of that version, if it is served as active or as shadow; otherwise 409. interval: the online
    store keeps only the newest row, at whatever tick of the grid, so only 1s is accepted.
    """
    if interval != "1s":
        raise InvalidRequest(
            f"interval: must be 1s, the newest row alone is kept online, was {interval!r}; the rows of 3s, 15s and 1m "
            "are those whose time is a multiple of it, in datasets through sample_interval"
        )
    if (symbol is None) == (symbols is None):
        raise InvalidRequest("symbol, symbols: exactly one of the two must be given")
    asked = [symbol] if symbol is not None else listed_names(symbols or "", "symbols")
    if len(asked) > MOST_SYMBOLS:
        raise InvalidRequest(f"symbols: must be 1 to {MOST_SYMBOLS} names, was {len(asked)}")
    found = newest_vectors(services.online, services.memory, asked)
    if any(each is not None and registry_version not in (None, each.version) for each in found):
        found = read_version(services.online, asked, registry_version or "")
    names = [] if features is None else listed_names(features, "features")
    now_ns, trace_id = services.clock.now_ns(), request.state.trace_id
    vectors = [
        feature_vector(each, now_ns=now_ns, trace_id=trace_id, features=names) for each in found if each is not None
    ]
    # The document is made of JSON values alone, so FastAPI's own encoding of it would change nothing.
    if symbol is None:
        document: dict[str, Any] = {
            "timestamp": format_iso(now_ns),
            "vectors": vectors,
            "not_found": [name for name, each in zip(asked, found, strict=True) if each is None],
            "trace_id": trace_id,
        }
    elif vectors:
        [document] = vectors
    else:
        raise NotFound(f"symbol: must be one that has sent data, was {symbol!r}; GET /features/overview lists them")
    return Response(orjson.dumps(document), media_type="application/json")


@router.get("/overview")
def overview(services: Services) -> dict[str, Any]:
    """Each followed symbol's newest row: age, how long after its time it was readable, mid price, statuses.

    A symbol without a row is null. ``unknown`` counts the unknown features.
    """
    now_ns = services.clock.now_ns()
    symbols: dict[str, dict[str, Any] | None] = {}
    newest = newest_vectors(services.online, services.memory, services.symbols)
    for symbol, found in zip(services.symbols, newest, strict=True):
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
    symbol: Symbol,
    begin: From,
    end: To,
    features: Annotated[str | None, Query(description="Names, separated by commas; default: every feature.")] = None,
    as_of: Annotated[Moment | None, Query(description="Only what was readable by then; default: now.")] = None,
    registry_version: RegistryVersion = None,
    rows: ServedOrBeside = "served",
) -> Response:
    """The rows of a symbol with ``from <= row time < to`` from the feature log, up to a minute behind now.

    ``statuses``: of each group in each row. as_of: only what was readable by then. registry_version: whose features;
    default: the served one. rows: ``beside`` are those from the time in which that version was served next to the
    active one. At most 200,000 values; the SDK and the command line stream longer histories.
    """
    version = registry_version or services.default_version or registry_versions(services.versions_folder)[-1]
    chosen = load_registry_version(version, services.versions_folder).feature_set
    names = None if features is None else listed_names(features, "features")
    log = FeatureLog(shadow_log_folder(services.features.folder, version)) if rows == "beside" else services.features
    asked = History(log, symbol, groups_with(chosen, names), begin, end, as_of)
    if (values := (end - begin) // SECOND_NS * len(asked.columns)) > MOST_VALUES:
        raise InvalidRequest(f"history: must be at most {MOST_VALUES} values, rows times features, was {values}")
    times: list[str] = []
    available: list[str] = []
    columns: dict[str, list[float | None]] = {name: [] for name in asked.columns}
    statuses: dict[str, list[str | None]] = {group.name: [] for group in asked.groups}
    for batch in asked.batches():
        for texts, name in ((times, "timestamp"), (available, "available")):
            texts.extend(map(format_iso, batch[name].to_numpy(zero_copy_only=False).view("int64").tolist()))
        for name, column in columns.items():
            column += [None if value != value else value for value in batch[name].to_pylist()]  # noqa: PLR0124  # NaN
        for group, statuses_of in statuses.items():
            statuses_of.extend(batch[status_column(group)].to_pylist())
    document = {
        "symbol": symbol,
        "feature_registry_version": version,
        "timestamps": times,
        "available": available,
        "features": columns,
        "statuses": statuses,
    }
    return Response(orjson.dumps(document), media_type="application/json")
