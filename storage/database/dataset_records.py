"""What the database knows of a dataset, and what a build may change of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict

DatasetStatus = Literal["building", "ready", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """What is known of one dataset; ``request`` and ``splits_info`` are JSON objects, times are aware.

    The record counts, ``splits_info`` and ``path`` are None until the build knows them. ``feature_set`` is the
    fingerprint of the feature set, ``progress`` runs from 0 to 1. Of one ``request_hash`` only one record is building.
    ``step`` is what the build does, ``attempt`` how often it was begun, ``announced_at`` when its end was told.
    """

    dataset_id: str
    symbols: tuple[str, ...]
    request: Mapping[str, Any]
    feature_registry_version: str
    feature_set: str
    created_at: datetime
    updated_at: datetime
    status: DatasetStatus = "building"
    progress: float = 0.0
    splits_info: Mapping[str, Any] | None = None
    path: str | None = None
    train_records: int | None = None
    validation_records: int | None = None
    test_records: int | None = None
    error_message: str | None = None
    request_hash: str | None = None
    step: str | None = None
    attempt: int = 0
    trace_id: str | None = None
    announced_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildMeasured:
    """How long an attempt that became ready took, for estimates: samples are entity rows, days are symbol-days."""

    dataset_id: str
    attempt: int
    samples: int
    days_computed: int
    days_reused: int
    features_seconds: float
    build_seconds: float


class DatasetChanges(TypedDict, total=False):
    """The columns of a dataset that a build may change; ``announced_at`` None lets its end be told again."""

    status: DatasetStatus
    progress: float
    splits_info: Mapping[str, Any] | None
    path: str | None
    train_records: int | None
    validation_records: int | None
    test_records: int | None
    error_message: str | None
    step: str | None
    announced_at: datetime | None
