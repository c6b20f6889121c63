"""Routes of the computed-feature cache: what it holds, throwing it away, filling it beforehand."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from api.build_request import SymbolName
from api.errors import MalformedRequest
from api.parameters import LONGEST_NAME, OnlySymbol
from api.services import Services
from api.wire_times import Moment
from market.clock import parse_iso_ns

router = APIRouter(prefix="/cache", tags=["cache"])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Invalidation(_Strict):
    """One symbol or all, from one day to another, both included; empty means everything."""

    symbol: SymbolName | None = None
    begin: Annotated[Moment | None, Field(alias="from")] = None
    end: Annotated[Moment | None, Field(alias="to")] = None


class Warming(_Strict):
    """The days that ``[from, to]`` touches, for the registry version that is served unless another is named.

    ``symbol``, ``start_date`` and ``end_date`` are other names, of one symbol.
    """

    symbols: Annotated[
        list[SymbolName],
        Field(min_length=1, max_length=100, validation_alias=AliasChoices("symbols", "symbol")),
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    ]
    begin: Annotated[Moment, Field(validation_alias=AliasChoices("from", "start_date"))]
    end: Annotated[Moment, Field(validation_alias=AliasChoices("to", "end_date"))]
    feature_registry_version: str | None = None


class Invalidated(BaseModel):
    """Number of removed files."""

    files_removed: int


class WarmingStarted(BaseModel):
    """One job per symbol; ``GET /cache/statistics`` names the unfinished ones."""

    job_ids: dict[str, int]


@router.get("/statistics")
def statistics(services: Services) -> dict[str, Any]:
    """Computed days by symbol, how many of them the last builds could use, and what is being warmed."""
    return services.builds.cache.statistics()


@router.post("/invalidate")
def invalidate(  # FastAPI reads the query from the parameters
    services: Services,
    *,
    body: Annotated[Invalidation | None, Body()] = None,
    everything: Annotated[bool, Query(alias="all", description="Every computed day.")] = False,
    pattern: Annotated[
        str | None, Query(min_length=1, max_length=LONGEST_NAME, description="Symbols, with * and ?, e.g. BTC*.")
    ] = None,
    symbol: OnlySymbol = None,
    date_range: Annotated[str | None, Query(description="<first date>/<last date>, both included")] = None,
) -> Invalidated:
    """Discard computed days; they are recomputed when needed. Served rows stay.

    By a JSON body, or by the query: ``all=true``, or a ``symbol`` or ``pattern`` of symbols, a ``date_range``, or both.
    """
    cache = services.builds.cache
    is_narrowed = (pattern, symbol, date_range) != (None, None, None)
    ways = {"a JSON body": body is not None, "all=true": everything, "symbol, pattern or date_range": is_narrowed}
    if len(given := [way for way, is_given in ways.items() if is_given]) != 1:
        raise MalformedRequest(f"request: must be one of {', '.join(ways)}, was {' and '.join(given) or 'none'}")
    if pattern is not None and symbol is not None:
        raise MalformedRequest(f"symbol, pattern: must be one of the two, was {symbol!r} and {pattern!r}")
    if body is not None:
        removed = cache.invalidate(symbol=body.symbol, from_ns=body.begin, to_ns=body.end)
        return Invalidated(files_removed=removed)
    from_ns, to_ns = (None, None) if date_range is None else _range(date_range)
    symbols: list[str | None] = [symbol] if pattern is None else [*cache.symbols_like(pattern)]
    return Invalidated(
        files_removed=sum(cache.invalidate(symbol=each, from_ns=from_ns, to_ns=to_ns) for each in symbols)
    )


def _range(dates: str) -> tuple[int, int]:
    first, _, last = dates.partition("/")
    try:
        begin_ns, end_ns = parse_iso_ns(first), parse_iso_ns(last)
    except ValueError:
        raise MalformedRequest(f"date_range: must be <first date>/<last date>, was {dates!r}") from None
    if end_ns < begin_ns:
        raise MalformedRequest(f"date_range: must not end before it begins, was {dates!r}")
    return begin_ns, end_ns


@router.post("/warm", status_code=202)
def warm(services: Services, body: Warming) -> WarmingStarted:
    """Compute missing days, as jobs."""
    version = body.feature_registry_version or services.default_version
    cache = services.builds.cache
    return WarmingStarted(
        job_ids={symbol: cache.warm(symbol, version, from_ns=body.begin, to_ns=body.end) for symbol in body.symbols}
    )
