"""Inspection: what a built dataset is held to before it may be called one: continuity, leakage, quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from market.clock import SECOND_NS
from market.errors import InvalidRequest
from quality.continuity import Continuity, ContinuityRules, ContinuityTally, VaryingTally
from quality.profile import TableProfile
from quality.report import render_report
from quality.suites import (
    MOST_RISK_ADJUSTED,
    ONE_LABEL,
    TOO_GREAT,
    Finding,
    Severity,
    check_quality,
    quality_document,
)
from training_sets.dataset.drift import split_drift
from training_sets.dataset.files import PATH, barrier_columns, table_schema
from training_sets.dataset.manifest import QUALITY_NAME, REPORT_NAME, write_json
from training_sets.dataset.relations import label_relations
from training_sets.provenance import file_entry
from training_sets.request.folds import PurgedCombinations
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RiskAdjustedTarget, TripleBarrierTarget, is_class
from training_sets.request.weighting import COLUMNS
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.splits import FoldTally
from transforms.catalogue import FEATURES


def value_columns(request: DatasetRequest, features: DatasetFeatures) -> list[str]:
    """The float64 columns: the features, then the targets. Raises InvalidRequest when a target has another's name."""
    columns = [*features.columns, *(target.name for target in request.targets)]
    others = {*features.columns, "symbol", "timestamp", "fold", *(COLUMNS if request.weighting is not None else ())}
    others.update(*(barrier_columns(name) for name in _barriers(request)))
    others |= {PATH} if isinstance(request.strategy, PurgedCombinations) else set()
    others |= set(request.input_names)
    if clashing := {target.name for target in request.targets} & others:
        raise InvalidRequest(f"target names: must not be those of other columns, was {', '.join(sorted(clashing))}")
    return columns


def dataset_schema(request: DatasetRequest, features: DatasetFeatures) -> pa.Schema:
    """The columns of every file of the dataset. Raises as ``value_columns``."""
    return table_schema(
        value_columns(request, features),
        has_fold=request.folds()[0].number is not None,
        metadata={"feature_registry_version": features.chosen.version, "feature_set": features.chosen.fingerprint},
        barriers=_barriers(request),
        numbers=(*request.input_names, *(COLUMNS if request.weighting is not None else ())),
        has_path=isinstance(request.strategy, PurgedCombinations),
    )


def _barriers(request: DatasetRequest) -> list[str]:
    return [target.name for target in request.targets if isinstance(target, TripleBarrierTarget)]


def open_profile(request: DatasetRequest, features: DatasetFeatures) -> TableProfile:
    """The profile of the columns, with the ranges that the catalogue declares."""
    columns = value_columns(request, features)
    known = [FEATURES.get(name) for name in columns]
    low = np.array([-np.inf if feature is None else feature.low for feature in known])
    high = np.array([np.inf if feature is None else feature.high for feature in known])
    return TableProfile(columns, low, high, classes={target.name for target in request.targets if is_class(target)})


def judge_quality(request: DatasetRequest, profile: TableProfile, kept: Sequence[FoldTally]) -> list[Finding]:
    """Every finding, when all of them are minor. Raises InvalidRequest with the critical ones."""
    classes = {target.name for target in request.targets if is_class(target)}
    findings = check_quality(profile, [target.name for target in request.targets], classes)
    findings += _findings_of_splits(kept)
    if critical := [str(finding) for finding in findings if finding.severity == "critical"]:
        raise InvalidRequest("; ".join(critical))
    return findings


def _findings_of_splits(kept: Sequence[FoldTally]) -> list[Finding]:
    """What is wrong with the labels of single splits, as purge and embargo left them.

    A model learns nothing from a train split of one label, and is judged by nothing on another of one.
    """
    constant: dict[Severity, dict[str, float]] = {"critical": {}, "minor": {}}
    too_great: dict[str, float] = {}
    for tally in kept:
        where = "" if tally.fold.number is None else f" of fold {tally.fold.number}"
        for name, targets in tally.targets.items():
            for each in targets:
                subject = f"{each.target.name} in {name}{where}"
                if each.is_constant:
                    constant["critical" if name == "train" else "minor"][f"all of {subject}"] = each.least
                most = max(-each.least, each.greatest)
                if isinstance(each.target, RiskAdjustedTarget) and each.rows and most > MOST_RISK_ADJUSTED:
                    too_great[subject] = most
    return [
        *(Finding(ONE_LABEL, severity, subjects) for severity, subjects in constant.items() if subjects),
        *([Finding(TOO_GREAT, "minor", too_great)] if too_great else []),
    ]


def write_quality(
    folder: Path,
    manifest: dict[str, Any],
    profile: TableProfile,
    findings: Sequence[Finding],
    missing: dict[str, Any] | None,
) -> None:
    """``_quality.json`` and ``_report.html`` next to the files; the manifest names both with their hashes.

    missing: why values are unknown, see ``training_sets.dataset.missing_reasons``; None where that is not known.
    """
    drift = split_drift(profile, manifest["splits"], manifest["request"]["symbols"])
    related = label_relations(profile, manifest)
    document = {**quality_document(profile, findings), "train_against_test": drift, "relations": related}
    document["missing_by_reason"] = missing
    page = render_report(
        f"Dataset of {', '.join(manifest['request']['symbols'])}, registry {manifest['feature_registry_version']}",
        manifest=manifest,
        profile=profile,
        findings=findings,
        targets={target["name"]: _in_words(target) for target in manifest["targets"]},
        measured=document,
    )
    write_json(folder / QUALITY_NAME, document)
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


def open_continuity(request: DatasetRequest, rules: ContinuityRules) -> dict[str, list[ContinuityTally | VaryingTally]]:
    """A tally of each stretch of time that the dataset covers, period by period, by symbol.

    At chosen times, and of events, the interval is that of the rules.
    """
    periods = sorted(
        {(period.start_ns, period.end_ns, period.name) for fold in request.folds() for period in fold.periods}
    )
    has_interval = not request.sample_times_ns and request.sampling is None

    def tally(thing: str, start_ns: int, end_ns: int) -> ContinuityTally | VaryingTally:
        if not has_interval:
            return VaryingTally(thing, start_ns=start_ns, end_ns=end_ns, rules=rules)
        interval_ns = request.sample_interval_ns
        return ContinuityTally(thing, start_ns=start_ns, end_ns=end_ns, interval_ns=interval_ns, rules=rules)

    return {
        symbol: [tally(f"{symbol} {name}", start_ns, end_ns) for start_ns, end_ns, name in periods]
        for symbol in request.symbols
    }


def judge_continuity(
    tallies: Mapping[str, Sequence[ContinuityTally | VaryingTally]], rules: ContinuityRules
) -> list[Continuity]:
    """What was found of each symbol and period. Raises InvalidRequest with the first critical gap, if that fails."""
    found = [tally.finish() for of_symbol in tallies.values() for tally in of_symbol]
    for checked in found:
        if checked.is_critical and rules.fail_on_critical:
            raise InvalidRequest(checked.warnings[-1])
    return found
