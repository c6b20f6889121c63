"""Dataset records: what the metadata store keeps and returns for a request."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from market.clock import DAY_NS, format_iso
from storage.database.dataset_records import BuildMeasured, DatasetRecord
from training_sets.request.folds import covered, strategy_name
from training_sets.request.request import DatasetRequest, request_document, stated_request
from training_sets.samples.splits import SplitRules, laid_periods

FIRST_PACE_S: Final = 2.0
"""A day of a symbol, its features computed: what 90 days of minute klines in five folds take on one core."""


def splits_document(request: DatasetRequest) -> dict[str, Any]:
    """The splits as they are asked for, as JSON: how many folds, and the periods of the first."""
    folds = request.folds()
    return {
        "split_strategy": strategy_name(request.strategy),
        "folds": len(folds),
        "splits": [
            {"name": period.name, "start": format_iso(period.start_ns), "end": format_iso(period.end_ns)}
            for period in folds[0].periods
        ],
    }


def timeline_document(request: DatasetRequest) -> list[dict[str, Any]]:
    """Of each fold its number and periods, as JSON, with what purge and embargo leave of each by the request alone."""
    rules = SplitRules.of(request)
    return [
        {
            "fold": fold.number,
            "periods": [
                {
                    "name": laid.period.name,
                    "start": format_iso(laid.period.start_ns),
                    "embargo_from": format_iso(laid.embargo_from_ns),
                    "used_from": format_iso(laid.used_from_ns),
                    "used_until": format_iso(laid.used_until_ns),
                    "end": format_iso(laid.period.end_ns),
                }
                for laid in laid_periods(fold, rules)
            ],
        }
        for fold in request.folds()
    ]


def stored_request(record: DatasetRecord) -> DatasetRequest:
    """The request that a record was made from."""
    return stated_request(record.request)


def request_hash(request: DatasetRequest, feature_set: str) -> str:
    """What two requests for the same dataset have in common; ``feature_set`` is the fingerprint of the features."""
    document = msgspec.json.encode(request_document(request), order="sorted")
    return hashlib.sha256(feature_set.encode() + b" " + document).hexdigest()


def sample_count(request: DatasetRequest) -> int:
    """An upper bound of the entity rows."""
    if request.sample_times_ns:
        return len(request.symbols) * len(request.sample_times_ns)
    step_ns = request.sample_interval_ns
    return len(request.symbols) * sum(
        -((start_ns - end_ns) // step_ns) for start_ns, end_ns in covered(request.folds())
    )


def symbol_days(request: DatasetRequest) -> float:
    """How many days the periods are of, over all symbols."""
    return len(request.symbols) * sum(end_ns - start_ns for start_ns, end_ns in covered(request.folds())) / DAY_NS


def seconds_left(
    own: DatasetRecord, building: Sequence[DatasetRecord], measured: Sequence[BuildMeasured], *, parallel: int
) -> float:
    """How long until a build will be done, those before it first.

    At the pace of those measured by their samples; before there was one, at FIRST_PACE_S a symbol's day.
    """
    samples = sum(each.samples for each in measured)
    ahead = [record for record in building if record.created_at < own.created_at]
    left, pace_s = _days_left, FIRST_PACE_S
    if samples > 0:
        left, pace_s = _samples_left, sum(each.features_seconds + each.build_seconds for each in measured) / samples
    return (sum(map(left, ahead)) / parallel + left(own)) * pace_s


def _days_left(record: DatasetRecord) -> float:
    return symbol_days(stored_request(record)) * (1.0 - record.progress)


def _samples_left(record: DatasetRecord) -> float:
    return sample_count(stored_request(record)) * (1.0 - record.progress)


def download_url(dataset_id: str, split: str) -> str:
    """Where a split's files are downloaded from."""
    return f"/dataset/{dataset_id}/download?split={split}"


def download_urls(record: DatasetRecord) -> dict[str, str]:
    """The path of each split's file, and of all of them, by split; none before the dataset is ready."""
    splits = (*stored_request(record).folds()[0].names, "all") if record.status == "ready" else ()
    return {split: download_url(record.dataset_id, split) for split in splits}
