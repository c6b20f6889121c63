"""Runs of days as JSON, for an engine whose workers have the stores open already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from training_sets.engines.job_queue import Kind
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.runs import RebuildRun, RebuiltDay
from transforms.catalogue import FEATURES, feature_set
from transforms.normalisation import Normalisation


def rebuild_kind(raw: RawData, features: FeatureLog, kernel_cache: Path) -> Kind[list[RebuiltDay]]:
    """Runs of days between these stores."""

    def task(document: Mapping[str, Any]) -> RebuildRun:
        rebuild = read_rebuild(document, raw, features, kernel_cache)
        return RebuildRun(rebuild, tuple((day_ns, inputs) for day_ns, inputs in document["due"]))

    return Kind("rebuild", RebuildRun, document_of, task, _result_document, _result)


def document_of(run: RebuildRun) -> dict[str, Any]:
    """A run without its stores."""
    return rebuild_document(run.rebuild) | {"due": [[day_ns, inputs] for day_ns, inputs in run.due]}


def rebuild_document(rebuild: Rebuild) -> dict[str, Any]:
    """A rebuild without its stores."""
    chosen = rebuild.feature_set
    return {
        "symbol": rebuild.symbol,
        "version": chosen.version,
        "features": [name for name in chosen.columns if name in FEATURES],
        "normalisations": [asdict(column) for column in chosen.normalisations],
        "reuses_days": rebuild.reuses_days,
        "keeps_served": rebuild.keeps_served,
    }


def read_rebuild(document: Mapping[str, Any], raw: RawData, features: FeatureLog, kernel_cache: Path) -> Rebuild:
    """The rebuild of a document between these stores."""
    chosen = feature_set(
        document["version"],
        document["features"],
        [Normalisation(**column) for column in document["normalisations"]],
    )
    return Rebuild(
        raw,
        features,
        kernel_cache,
        document["symbol"],
        chosen,
        reuses_days=document["reuses_days"],
        keeps_served=document["keeps_served"],
    )


def _result_document(days: list[RebuiltDay]) -> list[dict[str, Any]]:
    return [asdict(day) for day in days]


def _result(document: list[dict[str, Any]]) -> list[RebuiltDay]:
    return [RebuiltDay(**{**day, "groups": tuple(day["groups"])}) for day in document]
