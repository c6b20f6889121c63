"""Routes of data quality."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.parameters import LONGEST_NAME, From, Symbol, To
from api.services import Services
from api.wire_times import check_days
from feature_repo.registry_versions import load_registry_version
from ingestion.tape.quality import symbol_quality
from market.clock import to_datetime
from training_sets.dataset.drift import MOST_HOURS, ServedDrift

router = APIRouter(prefix="/data-quality", tags=["data quality"])


class QualityReport(BaseModel):
    """Missing, duplicated and late messages and outliers in a symbol's data, and what to do about them.

    Rates are null if there was nothing to count, and ``unchecked`` says what could not be checked.
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
    late_messages: int | None
    duplicate_messages: int | None
    anomaly_details: list[dict[str, Any]]
    sequence_gap_details: list[dict[str, Any]]
    recommendations: list[str]
    unchecked: dict[str, str]
    created_at: str


@router.get("/report")
def report(
    services: Services,
    symbol: Symbol,
    begin: From,
    end: To,
) -> QualityReport:
    """The data quality of a symbol over a period of at most 31 days; each report is kept."""
    check_days(begin, end)
    found = symbol_quality(
        services.raw,
        services.features,
        symbol,
        load_registry_version(services.default_version, services.versions_folder).feature_set,
        from_ns=begin,
        to_ns=end,
        limits=services.quality_limits,
    )
    return QualityReport(**services.quality_reports.keep(found, to_datetime(services.clock.now_ns())))


class Disagreement(BaseModel):
    """Two values that should be equal, null if a side has none, and the messages that state them."""

    check: str
    at: str
    what: str
    live: str | None
    history: str | None
    messages: list[str]


class Reconciliation(BaseModel):
    """A UTC day as received live against the exchange's history.

    agrees: true when every check was made and found nothing, false when one did, null otherwise. checks: counts by
    check. disagreements: the first of each check. unchecked: which checks could not be made, and why.
    """

    id: str
    symbol: str
    date: str
    agrees: bool | None
    missing_rate: float | None
    anomaly_rate: float | None
    sequence_gaps: int
    desynchronization_events: int
    checks: dict[str, dict[str, int]]
    disagreements: list[Disagreement]
    unchecked: dict[str, str]
    created_at: str


@router.get("/reconciliation")
def reconciliation(
    services: Services,
    symbol: Symbol,
    begin: From,
    end: To,
) -> list[Reconciliation]:
    """The newest reconciliation of each day that begins in a period of at most 31 days, oldest first.

    ``feature-service quality reconcile`` creates them.
    """
    check_days(begin, end)
    found = services.quality_reports.reconciliations(symbol, to_datetime(begin), to_datetime(end))
    return [Reconciliation.model_validate(each) for each in found]


class ColumnDrift(BaseModel):
    """How far a column is from the dataset; psi and ks are null if there are too few values.

    drifted: the measures that exceed their limits; none if the column is expected to change, ``is_expected``.
    """

    psi: float | None
    ks: float | None
    missing_then: float
    missing_now: float
    drifted: list[str]
    is_expected: bool


class SymbolDrift(BaseModel):
    """``rows`` that were served, ``drifted`` columns, and every column, the farthest first."""

    rows: int
    drifted: list[str]
    columns: dict[str, ColumnDrift]


class Drift(BaseModel):
    """How far served rows are from those of a dataset, by symbol."""

    model_config = ConfigDict(populate_by_name=True)

    dataset_id: str
    feature_registry_version: str
    begin: Annotated[str, Field(alias="from")]
    end: Annotated[str, Field(alias="to")]
    limits: dict[str, float]
    symbols: dict[str, SymbolDrift]


@router.get("/drift")
def drift(
    services: Services,
    dataset_id: Annotated[str, Query(min_length=1, max_length=LONGEST_NAME, description="Id of the dataset.")],
    hours: Annotated[int, Query(ge=1, le=MOST_HOURS, description="How many of the last hours.")] = 1,
) -> Drift:
    """How far the rows served in the last hours are from the dataset that a model was trained on."""
    served = ServedDrift(services.features, services.versions_folder, services.drift_limits)
    record = services.metadata.get_dataset(dataset_id)
    return Drift.model_validate(served.of(record, until_ns=services.clock.now_ns(), hours=hours))
