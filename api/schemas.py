"""What goes over the wire: the requests that are understood and the documents that are answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from market.clock import SECOND_NS, format_iso, parse_duration_ns, parse_iso_ns
from market.errors import InvalidRequest
from storage.metadata import DatasetRecord, DatasetStatus
from training_sets.builds import splits_document, stored_request
from training_sets.labels import RegressionTarget
from training_sets.request import DatasetRequest, default_periods
from training_sets.splits import Period

DEFAULT_HORIZON_NS: Final = 60 * SECOND_NS
_EARLIEST_NS: Final = 0
_LATEST_NS: Final = 4_102_444_800 * SECOND_NS
"""The year 2100: sums of later times with a horizon would come near the end of int64."""
_LONGEST_S: Final = 366 * 86_400


def _duration_ns(value: object) -> int:
    """Whole seconds as a number, or text such as "1m"; zero is allowed."""
    if isinstance(value, str):
        seconds = 0 if value in {"0s", "0m", "0h", "0d"} else parse_duration_ns(value) // SECOND_NS
    elif isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    else:
        raise ValueError("must be whole seconds or <int><s|m|h|d>")  # noqa: TRY004  # pydantic reports ValueError alone
    if not 0 <= seconds <= _LONGEST_S:
        raise ValueError(f"must be 0 to {_LONGEST_S} seconds")
    return seconds * SECOND_NS


def _moment_ns(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 time")  # noqa: TRY004  # pydantic reports ValueError alone
    time_ns = parse_iso_ns(value)
    if not _EARLIEST_NS <= time_ns <= _LATEST_NS:
        raise ValueError(f"must be from {format_iso(_EARLIEST_NS)} to {format_iso(_LATEST_NS)}")
    return time_ns


Duration = Annotated[
    int,
    BeforeValidator(_duration_ns),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+[smhd]$"}]}),
]
"""Nanoseconds."""
Moment = Annotated[int, BeforeValidator(_moment_ns), WithJsonSchema({"type": "string", "format": "date-time"})]
"""Nanoseconds since 1970 UTC; a time without an offset means UTC."""
SymbolName = Annotated[str, Field(min_length=1, max_length=64)]
SampleInterval = Literal["1s", "3s", "15s", "1m"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TargetConfig(_Strict):
    """What to predict; ``type`` regression is offered."""

    type: str = "regression"
    horizon: Duration
    decision_delay: Duration = 0
    threshold: float | None = None


class BuildRequest(_Strict):
    """A training set with explicit periods, each [start, end)."""

    symbol: SymbolName | None = None
    symbols: Annotated[list[SymbolName], Field(min_length=1, max_length=100)] | None = None
    split_strategy: str = "time_based"
    train_period_start: Moment | None = None
    train_period_end: Moment | None = None
    validation_period_start: Moment | None = None
    validation_period_end: Moment | None = None
    test_period_start: Moment | None = None
    test_period_end: Moment | None = None
    walk_forward_config: dict[str, Any] | None = None
    target_config: TargetConfig | Annotated[list[TargetConfig], Field(min_length=1)]
    feature_registry_version: str | None = None
    sample_interval: SampleInterval = "1s"
    purge: bool = True
    embargo: Duration = 0
    data_leakage_check: bool = True
    missing: str = "keep"
    output_format: str = "parquet"

    @model_validator(mode="after")
    def _one_way_to_name_symbols(self) -> BuildRequest:
        if (self.symbol is None) == (self.symbols is None):
            raise ValueError("symbol, symbols: must be one of the two")
        return self

    def to_request(self, default_version: str) -> DatasetRequest:
        """The request to build. Raises InvalidRequest, saying what is possible, for what is not offered."""
        _require("split_strategy", offered="time_based", was=self.split_strategy)
        _require("walk_forward_config", offered=None, was=self.walk_forward_config)
        _require("missing", offered="keep", was=self.missing)
        _require("output_format", offered="parquet", was=self.output_format)
        _require("data_leakage_check", offered=True, was=self.data_leakage_check)
        targets = self.target_config if isinstance(self.target_config, list) else [self.target_config]
        _require("target_config: number of targets", offered=1, was=len(targets))
        _require("target_config.type", offered="regression", was=targets[0].type)
        _require("target_config.threshold", offered=None, was=targets[0].threshold)
        return DatasetRequest(
            symbols=tuple(self.symbols) if self.symbols is not None else (str(self.symbol),),
            periods=tuple(self._period(name) for name in ("train", "validation", "test")),
            target=RegressionTarget(targets[0].horizon, targets[0].decision_delay),
            registry_version=self.feature_registry_version or default_version,
            sample_interval_ns=parse_duration_ns(self.sample_interval),
            purge=self.purge,
            embargo_ns=self.embargo,
        )

    def _period(self, name: str) -> Period:
        start_ns, end_ns = (getattr(self, f"{name}_period_{side}") for side in ("start", "end"))
        if start_ns is None or end_ns is None:
            raise InvalidRequest(
                f"{name}_period_start, {name}_period_end: must be given for a time_based split, was without; "
                "the query form ?symbol=&from=&to= splits a period 70/15/15 by time"
            )
        return Period(name, start_ns, end_ns)


def period_request(symbol: str, start_ns: int, end_ns: int, default_version: str) -> DatasetRequest:
    """The request of the query form: 70/15/15 by time, the return over the next minute. Raises InvalidRequest."""
    return DatasetRequest(
        (symbol,), default_periods(start_ns, end_ns), RegressionTarget(DEFAULT_HORIZON_NS), default_version
    )


def _require(thing: str, *, offered: object, was: object) -> None:
    if was != offered:
        raise InvalidRequest(f"{thing}: must be {'left out' if offered is None else offered}, was {was!r}")


class FeatureVector(BaseModel):
    """One row of one symbol; a feature stands in ``features`` or, with its reason, in ``missing``."""

    timestamp: str
    symbol: str
    features: dict[str, float]
    missing: dict[str, str]
    feature_registry_version: str
    feature_set: str
    final: bool
    age_ms: int
    trace_id: str


class HealthOfServices(BaseModel):
    """ok, unavailable or not_used, by service."""

    database: str
    message_queue: str
    online_store: str
    tape: str


class Health(BaseModel):
    """``reasons`` says, by field, why it is null or not ok."""

    status: Literal["ok", "degraded"]
    timestamp: str
    services: HealthOfServices
    database_connected: bool
    queue_connected: bool | None = None
    feature_registry_loaded: bool
    latest_feature_computation_timestamp: str | None = None
    average_latency_ms_last_5min: float | None = None
    data_quality_ok: bool | None = None
    active_dataset_builds_count: int | None = None
    last_dataset_build_duration_seconds: float | None = None
    reasons: dict[str, str]


class BuildStarted(BaseModel):
    """``estimated_completion`` is null until this process has finished a build to judge by."""

    dataset_id: str
    status: DatasetStatus
    estimated_completion: str | None
    splits_info: dict[str, Any]
    trace_id: str


class DatasetTarget(BaseModel):
    """What is predicted."""

    type: Literal["regression"] = "regression"
    horizon_seconds: int
    decision_delay_seconds: int


class DatasetDocument(BaseModel):
    """What is known of a dataset. Counts are null until it is ready; ``manifest`` only in the detail, once ready."""

    dataset_id: str
    symbols: Sequence[str]
    status: DatasetStatus
    progress: float
    splits_info: dict[str, Any]
    target: DatasetTarget
    sample_interval_seconds: int
    purge: bool
    embargo_seconds: int
    feature_registry_version: str
    feature_set: str
    train_records: int | None
    validation_records: int | None
    test_records: int | None
    error_message: str | None
    created_at: str
    updated_at: str
    download_urls: dict[str, str]
    manifest: dict[str, Any] | None = None


def dataset_document(record: DatasetRecord, *, manifest: dict[str, Any] | None = None) -> DatasetDocument:
    """The document of a record."""
    request = stored_request(record)
    splits = ("train", "validation", "test", "all") if record.status == "ready" else ()
    return DatasetDocument(
        dataset_id=record.dataset_id,
        symbols=record.symbols,
        status=record.status,
        progress=record.progress,
        splits_info=splits_document(request) if record.splits_info is None else dict(record.splits_info),
        target=DatasetTarget(
            horizon_seconds=request.target.horizon_ns // SECOND_NS,
            decision_delay_seconds=request.target.delay_ns // SECOND_NS,
        ),
        sample_interval_seconds=request.sample_interval_ns // SECOND_NS,
        purge=request.purge,
        embargo_seconds=request.embargo_ns // SECOND_NS,
        feature_registry_version=record.feature_registry_version,
        feature_set=record.feature_set,
        train_records=record.train_records,
        validation_records=record.validation_records,
        test_records=record.test_records,
        error_message=record.error_message,
        created_at=record.created_at.isoformat().replace("+00:00", "Z"),
        updated_at=record.updated_at.isoformat().replace("+00:00", "Z"),
        download_urls={split: f"/dataset/{record.dataset_id}/download?split={split}" for split in splits},
        manifest=manifest,
    )
