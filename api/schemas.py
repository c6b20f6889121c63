"""The documents that are answered over the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class FeatureVector(BaseModel):
    """One row of one symbol; a feature is in ``features`` or, with its reason, in ``missing``.

    ``groups``: status by group. A position of 0 under NO_DATA is not known.
    """

    timestamp: str
    symbol: str
    features: dict[str, float]
    missing: dict[str, str]
    groups: dict[str, str]
    feature_registry_version: str
    feature_set: str
    age_ms: int
    trace_id: str


class FeatureVectors(BaseModel):
    """The rows of several symbols, in the requested order; ``not_found`` lists symbols without data."""

    timestamp: str
    vectors: list[FeatureVector]
    not_found: list[str]
    trace_id: str


class FeatureHistory(BaseModel):
    """Rows in order of time, column by column; null is unknown. ``available``: when each was readable.

    ``statuses``: of each group in each row, null where it has none. A position of 0 under NO_DATA is not known.
    """

    symbol: str
    feature_registry_version: str
    timestamps: list[str]
    available: list[str]
    features: dict[str, list[float | None]]
    statuses: dict[str, list[str | None]]


class BookLevels(BaseModel):
    """[price, quantity] of each level, best first."""

    bids: list[list[float]]
    asks: list[list[float]]


class PresentTrade(BaseModel):
    """``timestamp`` is the exchange's, ``side`` that of who took."""

    timestamp: str
    side: Literal["buy", "sell"]
    price: float
    quantity: float


class PresentBook(BaseModel):
    """``received``: when the newest message was. ``trades``: newest first."""

    symbol: str
    received: str
    age_ms: int
    book: BookLevels | None
    trades: list[PresentTrade]


class StudiedLine(BaseModel):
    """By bucket; null where nothing of it is known."""

    low: list[float | None]
    high: list[float | None]
    mean: list[float | None]


class StudiedHistogram(BaseModel):
    """Between the first and the 99th percentile; empty where nothing varies. ``below`` and ``above`` are outside."""

    edges: list[float]
    counts: list[int]
    below: int
    above: int


class StudiedFeature(BaseModel):
    """``unknown``: by reason, how many seconds of each bucket. ``quantiles`` are of the document's probabilities."""

    rows: int
    known: int
    mean: float | None
    deviation: float | None
    quantiles: list[float | None]
    histogram: StudiedHistogram
    autocorrelation: list[float | None]
    line: StudiedLine
    unknown: dict[str, list[int]]


class FeatureStudies(BaseModel):
    """``features`` in the order asked, as rows and columns of ``correlation``; what cannot be computed is null."""

    symbol: str
    feature_registry_version: str
    begin: Annotated[str, Field(alias="from")]
    to: str
    bucket_seconds: int
    lags_seconds: list[int]
    probabilities: list[float]
    features: dict[str, StudiedFeature]
    correlation: list[list[float | None]]


class PastMessage(BaseModel):
    """A message on the tape. update_id: the book's ``u``, a candle's start in ns, else 0."""

    seq: int
    received: str
    kind: str
    records: int
    update_id: int


class MessagesBehind(BaseModel):
    """The messages that a value depends on, in tape order: the newest of ``count``."""

    feature: str
    count: int
    messages: list[PastMessage]


class PastMoment(FeatureVector):
    """A row of the past. book: null while it was not known."""

    book: BookLevels | None
    depends_on: MessagesBehind | None


class HealthOfServices(BaseModel):
    """ok, unavailable or not_used, by service; upkeep is ok, late or unknown."""

    database: str
    message_queue: str
    online_store: str
    tape: str
    upkeep: str


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


class Readiness(BaseModel):
    """``missing`` says what the service waits for.

    ``oldest_row_age_s``: seconds since the newest row of the symbol whose row is the oldest; null where none is known.
    """

    ready: bool
    missing: list[str]
    oldest_row_age_s: float | None
