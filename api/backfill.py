"""Routes of backfilling: start, follow, list and cancel jobs that fetch history."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, model_serializer

from api.parameters import Limit, OnlySymbol
from api.services import ApiServices, Services
from backfill.jobs import dates_total
from backfill.request import BackfillRequest, checked_data_types, data_types_of_kinds, last_days, parse_date
from feature_repo.registry_versions import load_registry_version
from market.errors import InvalidRequest
from storage.database.backfill_jobs import BackfillRecord, BackfillStatus
from transforms.catalogue import set_kinds

router = APIRouter(prefix="/backfill", tags=["backfill"])
JobId = Annotated[str, Path(description="Id of the job.")]


class HistoricalRequest(BaseModel):
    """A period to fetch, both dates included; without data types those that the registry version reads."""

    symbol: Annotated[str, Field(min_length=1, max_length=64)]
    start_date: Annotated[str, Field(max_length=40)]
    end_date: Annotated[str, Field(max_length=40)]
    data_types: Annotated[list[str] | None, Field(max_length=16)] = None


class AutoRequest(BaseModel):
    """The last days to fetch; by default as many as one request may have."""

    symbol: Annotated[str, Field(min_length=1, max_length=64)]
    max_days: int | None = None


class BackfillStarted(BaseModel):
    """An accepted job."""

    job_id: str
    status: BackfillStatus
    message: str


class BackfillProgress(BaseModel):
    """How far a job is; the date is there while one is worked on."""

    dates_completed: int
    dates_total: int
    current_date: str | None = None

    @model_serializer
    def _without_no_date(self) -> dict[str, Any]:
        known: dict[str, Any] = {"dates_completed": self.dates_completed, "dates_total": self.dates_total}
        return known if self.current_date is None else {**known, "current_date": self.current_date}


class BackfillDocument(BaseModel):
    """A job; times are ISO 8601 with an offset, both dates are included."""

    job_id: str
    symbol: str
    start_date: str
    end_date: str
    data_types: list[str]
    status: BackfillStatus
    progress: BackfillProgress
    start_time: str | None
    end_time: str | None
    error_message: str | None
    completed_dates: list[str]
    failed_dates: list[str]


def backfill_document(record: BackfillRecord) -> BackfillDocument:
    """A job in the API."""
    return BackfillDocument(
        job_id=record.job_id,
        symbol=record.symbol,
        start_date=record.start_date,
        end_date=record.end_date,
        data_types=list(record.data_types),
        status=record.status,
        progress=BackfillProgress(
            dates_completed=len(record.completed_dates),
            dates_total=dates_total(record),
            current_date=record.current_date if record.status == "in_progress" else None,
        ),
        start_time=None if record.start_time is None else record.start_time.isoformat(),
        end_time=None if record.end_time is None else record.end_time.isoformat(),
        error_message=record.error_message,
        completed_dates=list(record.completed_dates),
        failed_dates=list(record.failed_dates),
    )


@router.post("/historical", status_code=202)
def historical(request: Request, services: Services, body: HistoricalRequest) -> BackfillStarted:
    """Fetch a period. 400 for future dates, too many days, an unknown symbol or data type; it says what is possible."""
    asked = BackfillRequest(
        body.symbol,
        parse_date(body.start_date, "start_date"),
        parse_date(body.end_date, "end_date"),
        _data_types(services) if body.data_types is None else checked_data_types(body.data_types),
    )
    return _started(request, services, asked)


@router.post("/auto", status_code=202)
def auto(request: Request, services: Services, body: AutoRequest) -> BackfillStarted:
    """Fetch missing data of the last days; data from live messages or an earlier backfill is left alone."""
    most_days = services.backfills.most_days
    days = most_days if body.max_days is None else body.max_days
    if not 1 <= days <= most_days:
        raise InvalidRequest(f"max_days: must be 1 to {most_days}, was {days}")
    return _started(request, services, last_days(body.symbol, days, _data_types(services), services.backfills.now_ns()))


@router.get("/status/{job_id}")
def status(services: Services, job_id: JobId) -> BackfillDocument:
    """Progress of a job."""
    return backfill_document(services.backfills.get(job_id))


@router.get("/list")
def list_jobs(
    services: Services,
    status: Annotated[BackfillStatus | None, Query(description="Only those in this state.")] = None,
    symbol: OnlySymbol = None,
    limit: Limit = 100,
) -> list[BackfillDocument]:
    """The newest jobs, newest first. Days that a dataset build fetched itself are in no job; see `GET /coverage`."""
    found = services.backfills.newest(status=status, symbol=symbol, limit=limit)
    return [backfill_document(record) for record in found]


@router.post("/{job_id}/cancel", status_code=202)
def cancel(services: Services, job_id: JobId) -> BackfillDocument:
    """Stop a job at its next step; fetched data stays."""
    return backfill_document(services.backfills.cancel(job_id))


def _started(request: Request, services: ApiServices, asked: BackfillRequest) -> BackfillStarted:
    record = services.backfills.start(asked, trace_id=request.state.trace_id)
    return BackfillStarted(job_id=record.job_id, status=record.status, message="Backfilling job started")


def _data_types(services: ApiServices) -> tuple[str, ...]:
    """What the registry version that is served reads."""
    chosen = load_registry_version(services.default_version, services.versions_folder).feature_set
    return data_types_of_kinds(set_kinds(chosen), services.backfills.category)
