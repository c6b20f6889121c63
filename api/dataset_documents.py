"""The documents that are answered of datasets: a build that started, one dataset, whether its files are intact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from api.errors import told_to_callers
from market.clock import SECOND_NS, format_iso, to_ns
from storage.database.dataset_records import DatasetRecord, DatasetStatus
from training_sets.dataset.records import download_urls, splits_document, stored_request, timeline_document
from training_sets.request.targets import Target


class BuildStarted(BaseModel):
    """``status`` is ready if a dataset of the same request exists: nothing is built, and ``dataset_id`` is its id.

    ``estimated_completion`` uses the pace of the last builds, or that of a typical machine before the first build.
    """

    dataset_id: str
    status: DatasetStatus
    estimated_completion: str
    splits_info: dict[str, Any]
    trace_id: str


class Verification(BaseModel):
    """``files``: of each file that the manifest states, whether its bytes are those that were written."""

    dataset_id: str
    is_intact: bool
    files: dict[str, Literal["intact", "changed"]]


class LaidPeriod(BaseModel):
    """A period of a split. Samples are used from ``used_from`` until before ``used_until``.

    They are purged before ``embargo_from`` and from ``used_until`` on, and embargoed in between until ``used_from``. By
    the request alone: a sample that is acted on later than at its time is purged earlier.
    """

    name: str
    start: str
    embargo_from: str
    used_from: str
    used_until: str
    end: str


class FoldTimeline(BaseModel):
    """A fold's periods in order of time. ``fold`` is null for the only one of a strategy that makes one."""

    fold: int | None
    periods: list[LaidPeriod]


class DatasetDocument(BaseModel):
    """A dataset. Counts are null until it is ready.

    ``timeline`` only in the detail; ``manifest`` and ``performance`` too, once ready. A fold of the timeline that is
    not in the manifest had too few samples to train on.
    """

    dataset_id: str
    symbols: Sequence[str]
    status: DatasetStatus
    progress: float
    step: str | None
    attempt: int
    splits_info: dict[str, Any]
    targets: list[dict[str, Any]]
    sample_interval_seconds: int
    purge: bool
    embargo_seconds: int
    missing: str
    output_format: str
    feature_registry_version: str
    feature_set: str
    train_records: int | None
    validation_records: int | None
    test_records: int | None
    error_message: str | None
    created_at: str
    updated_at: str
    download_urls: dict[str, str]
    timeline: list[FoldTimeline] | None = None
    manifest: dict[str, Any] | None = None
    performance: dict[str, Any] | None = None


def dataset_detail(
    record: DatasetRecord, *, manifest: dict[str, Any] | None = None, performance: dict[str, Any] | None = None
) -> DatasetDocument:
    """The document of a record that is shown alone."""
    timeline = [FoldTimeline(**each) for each in timeline_document(stored_request(record))]
    told = {"timeline": timeline, "manifest": manifest, "performance": performance}
    return dataset_document(record).model_copy(update=told)


def dataset_document(record: DatasetRecord) -> DatasetDocument:
    """The document of a record."""
    request = stored_request(record)
    return DatasetDocument(
        dataset_id=record.dataset_id,
        symbols=record.symbols,
        status=record.status,
        progress=record.progress,
        step=record.step,
        attempt=record.attempt,
        splits_info=splits_document(request) if record.splits_info is None else dict(record.splits_info),
        targets=[target_document(target) for target in request.targets],
        sample_interval_seconds=request.sample_interval_ns // SECOND_NS,
        purge=request.purge,
        embargo_seconds=request.embargo_ns // SECOND_NS,
        missing=request.missing,
        output_format=request.output_format,
        feature_registry_version=record.feature_registry_version,
        feature_set=record.feature_set,
        train_records=record.train_records,
        validation_records=record.validation_records,
        test_records=record.test_records,
        error_message=None if record.error_message is None else told_to_callers(record.error_message),
        created_at=format_iso(to_ns(record.created_at)),
        updated_at=format_iso(to_ns(record.updated_at)),
        download_urls=download_urls(record),
    )


def target_document(target: Target) -> dict[str, Any]:
    """A target as JSON, its durations in seconds."""
    durations = {"horizon_ns": "horizon", "delay_ns": "decision_delay", "volatility_window_ns": "volatility_window"}
    stated: dict[str, Any] = msgspec.to_builtins(target)
    return {
        f"{durations[name]}_seconds" if name in durations else name: value // SECOND_NS if name in durations else value
        for name, value in stated.items()
    }
