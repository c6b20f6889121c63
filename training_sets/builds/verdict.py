"""The verdict on what was written: which folds are kept, what was checked, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from market.errors import InvalidRequest
from quality.continuity import Continuity
from quality.suites import Finding
from training_sets.builds.place import BuildPlace
from training_sets.builds.writing import Written, WrittenFold
from training_sets.checks.blinding import check_boundaries, check_features, check_labels, leakage_warnings
from training_sets.checks.inspection import judge_continuity, judge_quality
from training_sets.request.folds import WalkForward
from training_sets.request.request import DatasetRequest
from training_sets.samples.availability import available_period, told_periods
from transforms.rows import FeatureSet


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be called a dataset. leakage, findings: None where it was not to be checked."""

    kept: Sequence[WrittenFold]
    continuity: Sequence[Continuity]
    leakage: dict[str, Any] | None
    findings: Sequence[Finding] | None
    warnings: Sequence[str]


def judge_samples(request: DatasetRequest, chosen: FeatureSet, written: Written, place: BuildPlace) -> Verdict:
    """Judge continuity, leakage and quality. Raises InvalidRequest with what is not acceptable."""
    kept, warnings = _kept_folds(request, written, place)
    continuity = judge_continuity(written.sampler.continuity, place.rules.continuity)
    leakage = _judge_leakage(request, chosen, written, kept, place)
    if leakage is not None:
        warnings += leakage_warnings(leakage)
    findings = judge_quality(request, written.profile) if place.rules.has_quality_gate else None
    warnings += [warning for each in continuity for warning in each.warnings]
    warnings += map(str, findings or ())
    return Verdict(kept, continuity, leakage, findings, warnings)


def _kept_folds(request: DatasetRequest, written: Written, place: BuildPlace) -> tuple[list[WrittenFold], list[str]]:
    """The folds with enough to train on, and what is to be said of the others and of empty splits."""
    least = request.strategy.min_train_samples if isinstance(request.strategy, WalkForward) else 0
    kept, warnings = [], []
    for each in written.folds:
        tally = each.tally
        count = tally.records()["train"]
        if count < least:
            warnings.append(f"fold {tally.fold.number}: left out, must have {least} train rows, was {count}")
            continue
        if count == 0:
            with_missing = written.sampler.counts["with_missing"]
            dropped = f"; {with_missing} rows were dropped for a missing value" if with_missing else ""
            known = {symbol: available_period(place.features, symbol) for symbol in request.symbols}
            raise InvalidRequest(
                f"train period: must hold rows with a label, was {tally.fold.periods[0]}; {told_periods(known)}"
                f"{dropped}"
            )
        kept.append(each)
        warnings += tally.warnings()
    if not kept:
        raise InvalidRequest(f"folds: must be one with {least} train rows or more, was none of {len(written.folds)}")
    return kept, warnings


def _judge_leakage(
    request: DatasetRequest, chosen: FeatureSet, written: Written, kept: Sequence[WrittenFold], place: BuildPlace
) -> dict[str, Any] | None:
    """How much was checked for looking ahead. Raises InvalidRequest naming the first column that does."""
    witness = written.sampler.witness
    if witness is None:
        return None
    longest = max(request.targets, key=lambda target: target.reach_ns)
    check_boundaries([each.tally for each in kept], longest.name)
    labels = check_labels(written.sampler.prices, request.targets, witness.seen)
    features = check_features(
        witness.seen, chosen, place.features, place.raw, open_kernel=partial(place.kernel, chosen)
    )
    return {"labels_made_again": labels, **features}
