"""Routes of the computed-feature cache: what it holds, throwing it away, filling it beforehand."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.build_request import Moment, SymbolName
from api.services import Services

router = APIRouter(prefix="/cache", tags=["cache"])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Invalidation(_Strict):
    """Of one symbol or of all, from one day to another, both included; nothing is everything."""

    symbol: SymbolName | None = None
    begin: Annotated[Moment | None, Field(alias="from")] = None
    end: Annotated[Moment | None, Field(alias="to")] = None


class Warming(_Strict):
    """The days that ``[from, to]`` touches, for the registry version that is served unless another is named."""

    symbols: Annotated[list[SymbolName], Field(min_length=1, max_length=100)]
    begin: Annotated[Moment, Field(alias="from")]
    end: Annotated[Moment, Field(alias="to")]
    feature_registry_version: str | None = None


class Invalidated(BaseModel):
    """How many files are gone."""

    files_removed: int


class WarmingStarted(BaseModel):
    """One job a symbol; ``GET /cache/statistics`` names those that have not ended."""

    job_ids: dict[str, int]


@router.get("/statistics")
def statistics(services: Services) -> dict[str, Any]:
    """Computed days by symbol, how many of them the last builds could use, and what is being warmed."""
    return services.builds.cache.statistics()


@router.post("/invalidate")
def invalidate(services: Services, body: Invalidation) -> Invalidated:
    """Throw computed days away; they are computed again when they are asked for. What was served stays."""
    removed = services.builds.cache.invalidate(symbol=body.symbol, from_ns=body.begin, to_ns=body.end)
    return Invalidated(files_removed=removed)


@router.post("/warm", status_code=202)
def warm(services: Services, body: Warming) -> WarmingStarted:
    """Compute the days that are missing, by jobs."""
    version = body.feature_registry_version or services.default_version
    cache = services.builds.cache
    return WarmingStarted(
        job_ids={symbol: cache.warm(symbol, version, from_ns=body.begin, to_ns=body.end) for symbol in body.symbols}
    )
