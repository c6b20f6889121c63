"""Routes of data quality."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from api.build_request import Moment
from api.services import Services
from feature_repo.registry_versions import load_registry_version
from ingestion.tape.quality import symbol_quality
from market.clock import DAY_NS, to_datetime
from market.errors import InvalidRequest

MOST_DAYS = 31

router = APIRouter(prefix="/data-quality", tags=["data quality"])


class QualityReport(BaseModel):
    """What is missing, doubled, late or far from the rest in a symbol's data, and what to do about it.

    Rates are null where nothing was there to count, and ``unchecked`` says what could not be looked at.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    symbol: str
    period_start: str
    period_end: str
    missing_rate: float | None
    anomaly_rate: float | None
    sequence_gaps: int
    desynchronization_events: int
    anomaly_details: list[dict[str, Any]]
    sequence_gap_details: list[dict[str, Any]]
    recommendations: list[str]
    unchecked: dict[str, str]
    created_at: str


@router.get("/report")
def report(
    services: Services,
    symbol: Annotated[str, Query(min_length=1, max_length=64)],
    begin: Annotated[Moment, Query(alias="from")],
    end: Annotated[Moment, Query(alias="to")],
) -> QualityReport:
    """The data quality of a symbol over a period of at most 31 days; each report is kept."""
    if end - begin > MOST_DAYS * DAY_NS:
        raise InvalidRequest(f"period: must be at most {MOST_DAYS} days, was {(end - begin) / DAY_NS:.1f}")
    found = symbol_quality(
        services.raw,
        services.features,
        symbol,
        load_registry_version(services.default_version, services.versions_folder).feature_set,
        from_ns=begin,
        to_ns=end,
    )
    return QualityReport(**services.quality_reports.keep(found, to_datetime(services.clock.now_ns())))
