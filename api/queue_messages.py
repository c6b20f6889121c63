"""The messages on our queues, as models that their JSON Schemas are made from; a later version may add keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from api.schemas import FeatureVector


class LiveHeaders(BaseModel):
    """The headers of a message on ``features.live``; its routing key is ``interval``.

    fence: of two workers that publish a symbol, the higher one is right; 0 where a symbol has no lease.
    """

    interval: Literal["1s", "3s", "15s", "1m", "grid"]
    symbol: str
    row_ns: int = Field(ge=0, description="Nanoseconds since 1970 UTC: the time of the row.")
    available_ns: int = Field(ge=0, description="Nanoseconds since 1970 UTC: when the row could be read.")
    late: bool = Field(description="Whether it could be read more than a second after its time.")
    fence: int = Field(ge=0)


class DatasetNotice(BaseModel):
    """A dataset that ended; it may come twice, with the same id. Its header ``X-Trace-Id`` is ``trace_id``."""

    dataset_id: str
    symbol: str = Field(description="The first of symbols.")
    symbols: list[str] = Field(min_length=1)
    status: Literal["ready", "failed"]
    splits_info: dict[str, Any] | None = Field(description="Periods and records of each split or fold.")
    train_records: int | None
    validation_records: int | None
    test_records: int | None
    download_urls: dict[str, str] = Field(description="API paths by split; none if the build failed.")
    feature_registry_version: str
    trace_id: str | None
    error_message: str = Field(default="", description="Why it failed; absent otherwise.")


class AlertNotice(BaseModel):
    """An alert that opened or closed. Times are ISO 8601, UTC."""

    id: int
    state: Literal["open", "closed"]
    rule: str
    subject: str
    severity: Literal["critical", "warning"]
    summary: str
    action: str
    opened_at: str
    closed_at: str | None
    silenced_until: str | None


MESSAGES: Final[Mapping[str, type[BaseModel]]] = {
    "features.live": FeatureVector,
    "features.live.headers": LiveHeaders,
    "features.dataset.ready": DatasetNotice,
    "features.alerts": AlertNotice,
}
"""By queue; headers of a queue's messages are under its name and ``.headers``."""


def message_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema, draft 2020-12, of each of MESSAGES, by the name of its file."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {f"{name}.schema.json": {**dialect, **model.model_json_schema()} for name, model in MESSAGES.items()}
