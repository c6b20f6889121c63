"""The route of the coverage certificate."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.parameters import MaybeFrom, MaybeTo, Symbol
from api.services import Services
from api.wire_times import MOST_DAYS, check_days
from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS
from training_sets.checks.coverage import held_period, symbol_coverage
from training_sets.samples.kline_days import KlineHistory

router = APIRouter(tags=["data quality"])


class Coverage(BaseModel):
    """For each stream, what was expected, what is stored, and exactly what is missing, over a period and by UTC day."""

    symbol: str
    begin: Annotated[str, Field(alias="from")]
    to: str
    feature_registry_version: str
    streams: dict[str, dict[str, Any]]


@router.get("/coverage")
def coverage(
    services: Services,
    symbol: Symbol,
    begin: MaybeFrom = None,
    end: MaybeTo = None,
) -> Coverage:
    """The coverage certificate of a symbol for at most 31 days, by default the last stored ones.

    Raw Parquet and the tape after it, including the open segment, are read as one.
    """
    with services.open_raw(symbol) as raw:
        first_ns, last_ns = held_period(raw, symbol, min(services.clock.now_ns(), raw.period(symbol)[1]))
        to_ns = min(last_ns, last_ns if end is None else end)
        from_ns = max(first_ns, to_ns - MOST_DAYS * DAY_NS) if begin is None else begin
        check_days(from_ns, to_ns)
        chosen = load_registry_version(services.default_version, services.versions_folder).feature_set
        history = KlineHistory(raw, services.known_klines)
        found = symbol_coverage(history, symbol, chosen, (from_ns, to_ns), books=services.known_books)
        return Coverage.model_validate(found)
