"""Inspection: what a built dataset is held to before it may be called one: continuity, leakage, quality."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from market.clock import SECOND_NS
from market.errors import InvalidRequest
from quality.continuity import Continuity, ContinuityRules, ContinuityTally
from quality.profile import TableProfile
from quality.report import render_report
from quality.suites import Finding, check_quality, quality_document
from training_sets.dataset.manifest import QUALITY_NAME, REPORT_NAME
from training_sets.provenance import file_entry
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import is_class
from transforms.catalogue import FEATURES
from transforms.rows import FeatureSet


def value_columns(request: DatasetRequest, chosen: FeatureSet) -> list[str]:
    """The float64 columns: the version's features, then the targets. Raises InvalidRequest when two share a name."""
    columns = [*chosen.columns, *(target.name for target in request.targets)]
    if clashing := {target.name for target in request.targets} & {*chosen.columns, "symbol", "timestamp", "fold"}:
        raise InvalidRequest(f"target names: must not be those of other columns, was {', '.join(sorted(clashing))}")
    return columns


def open_profile(request: DatasetRequest, chosen: FeatureSet) -> TableProfile:
    """The profile of the columns, with the ranges that the catalogue declares."""
    columns = value_columns(request, chosen)
    known = [FEATURES.get(name) for name in columns]
    low = np.array([-np.inf if feature is None else feature.low for feature in known])
    high = np.array([np.inf if feature is None else feature.high for feature in known])
    return TableProfile(columns, low, high)


def judge_quality(request: DatasetRequest, profile: TableProfile) -> list[Finding]:
    """Every finding, when all of them are minor. Raises InvalidRequest with the critical ones."""
    classes = {target.name for target in request.targets if is_class(target)}
    findings = check_quality(profile, [target.name for target in request.targets], classes)
    if critical := [str(finding) for finding in findings if finding.severity == "critical"]:
        raise InvalidRequest("; ".join(critical))
    return findings


def write_quality(folder: Path, manifest: dict[str, Any], profile: TableProfile, findings: Sequence[Finding]) -> None:
    """``_quality.json`` and ``_report.html`` beside the files; the manifest names both with their hashes."""
    document = quality_document(profile, findings)
    page = render_report(
        f"Dataset of {', '.join(manifest['request']['symbols'])}, registry {manifest['feature_registry_version']}",
        manifest=manifest,
        profile=profile,
        findings=findings,
        targets={target["name"]: _in_words(target) for target in manifest["targets"]},
        symbols=manifest["request"]["symbols"],
    )
    (folder / QUALITY_NAME).write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    (folder / REPORT_NAME).write_text(page)
    manifest["quality"]["files"] = [file_entry(folder / name, folder) for name in (QUALITY_NAME, REPORT_NAME)]


def _in_words(target: Mapping[str, Any]) -> str:
    """A target as the manifest states it: its kind, then its settings, durations in seconds."""
    stated = [
        f"{name.removesuffix('_ns')} {value / SECOND_NS:g} s" if name.endswith("_ns") else f"{name} {value}"
        for name, value in target.items()
        if name not in {"name", "type"} and value is not None
    ]
    return ", ".join([str(target.get("type", "")).replace("_", " "), *stated])


def open_continuity(request: DatasetRequest, rules: ContinuityRules) -> dict[str, list[ContinuityTally]]:
    """A tally of each stretch of time that the dataset covers, period by period, by symbol; none at chosen times."""
    if request.sample_times_ns:
        return {symbol: [] for symbol in request.symbols}
    periods = sorted(
        {(period.start_ns, period.end_ns, period.name) for fold in request.folds() for period in fold.periods}
    )
    return {
        symbol: [
            ContinuityTally(
                f"{symbol} {name}",
                start_ns=start_ns,
                end_ns=end_ns,
                interval_ns=request.sample_interval_ns,
                rules=rules,
            )
            for start_ns, end_ns, name in periods
        ]
        for symbol in request.symbols
    }


def judge_continuity(tallies: Mapping[str, Sequence[ContinuityTally]], rules: ContinuityRules) -> list[Continuity]:
    """What was found of each symbol and period. Raises InvalidRequest with the first critical gap, if that fails."""
    found = [tally.finish() for of_symbol in tallies.values() for tally in of_symbol]
    for checked in found:
        if checked.is_critical and rules.fail_on_critical:
            raise InvalidRequest(checked.warnings[-1])
    return found
