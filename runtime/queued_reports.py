"""Data quality reports as JSON, for the queue: its workers have the stores and the registry versions open already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ingestion.tape.quality import SymbolReport
from quality.limits import QualityLimits
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from training_sets.engines.job_queue import Kind


def report_kind(raw: RawData, log: FeatureLog, versions_folder: Path) -> Kind[dict[str, Any]]:
    """Reports on these stores."""

    def task(document: Mapping[str, Any]) -> SymbolReport:
        from feature_repo.registry_versions import load_registry_version

        return SymbolReport(
            raw=raw,
            log=log,
            symbol=document["symbol"],
            served=load_registry_version(document["version"], versions_folder).feature_set,
            from_ns=document["from_ns"],
            to_ns=document["to_ns"],
            limits=QualityLimits(**document["limits"]),
        )

    return Kind("quality report", SymbolReport, _document_of, task, dict, dict)


def _document_of(report: SymbolReport) -> dict[str, Any]:
    return {
        "symbol": report.symbol,
        "version": report.served.version,
        "from_ns": report.from_ns,
        "to_ns": report.to_ns,
        "limits": asdict(report.limits),
    }
