"""Writing: the samples of a build, piece after piece in time order, into the files of every fold and split.

Once all are written, it is known which folds are kept: their files get their names, those of the others are removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from market.errors import InvalidRequest
from quality.profile import TableProfile
from training_sets.builds.fold_files import FoldFiles
from training_sets.builds.place import BuildPlace
from training_sets.checks.drawn import WrittenFile
from training_sets.checks.inspection import open_profile
from training_sets.request.folds import WalkForward
from training_sets.request.request import DatasetRequest
from training_sets.samples.availability import available_period, told_periods, why_empty
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.label_spans import Weigher
from training_sets.samples.missing import dropped_warnings
from training_sets.samples.samples import Sampler
from training_sets.samples.splits import FoldTally, SplitRules, assign_rows


@dataclass(frozen=True, slots=True)
class WrittenFold:
    """What a fold keeps and drops, and its files, which have no names yet."""

    tally: FoldTally
    files: FoldFiles


@dataclass(frozen=True, slots=True)
class Written:
    """Every fold, the profile of all rows, and the sampler with what it counted and saw."""

    folds: Sequence[WrittenFold]
    profile: TableProfile
    sampler: Sampler


@dataclass(frozen=True, slots=True)
class Kept:
    """The folds that the dataset has, their files by name, and what is to be said of the others and of empty splits.

    weights: what those of each split are, where rows are weighed. empty: fold, split and reason of each split without
    rows.
    """

    folds: Sequence[WrittenFold]
    files: Sequence[WrittenFile]
    warnings: Sequence[str]
    weights: Sequence[dict[str, Any]]
    empty: Sequence[dict[str, Any]]

    @property
    def tallies(self) -> list[FoldTally]:
        return [each.tally for each in self.folds]


def write_samples(
    request: DatasetRequest,
    features: DatasetFeatures,
    sampler: Sampler,
    folder: Path,
    *,
    on_progress: Callable[[float], None],
) -> Written:
    """Write every sample to its splits, and close the files."""
    weigher = Weigher.of(request, sampler.prices)
    rules = SplitRules.of(request)
    profile = open_profile(request, features)
    with ExitStack() as stack:
        folds = [
            WrittenFold(
                FoldTally(fold, rules, request.targets),
                FoldFiles(request, features, fold, folder=folder, stack=stack, weigher=weigher),
            )
            for fold in request.folds()
        ]
        for piece in sampler.pieces():
            # Column by column, as the features lie: by rows it would take five times as long.
            values = np.concatenate([piece.features.T, piece.labels.T]).T
            profile.add(piece.times_ns, values, piece.symbol)
            for each in folds:
                assigned = assign_rows(piece.times_ns, each.tally.fold, rules, decisions_ns=piece.decisions_ns)
                each.tally.add(piece.times_ns, assigned, piece.labels)
                each.files.write(piece, assigned.period, assigned.is_kept)
            on_progress(sampler.counts["sampled"] / sampler.sample_count)
    return Written(folds, profile, sampler)


def keep_folds(request: DatasetRequest, written: Written, place: BuildPlace) -> Kept:
    """Name files of folds with enough to train on, remove those of the others. Raises InvalidRequest without one."""
    folds, warnings = _kept_folds(request, written, place)
    empty = [
        {"fold": each.tally.fold.number, "split": name, "reason": reason}
        for each in folds
        for name, reason in each.tally.empty_splits(partial(_why_empty, request, place)).items()
    ]
    files: list[WrittenFile] = []
    weights: list[dict[str, Any]] = []
    for each in written.folds:
        if each in folds:
            of_fold, weighed = each.files.finish()
            files += of_fold
            weights += [{"fold": each.tally.fold.number, "split": name} | told for name, told in weighed.items()]
        else:
            each.files.remove()
    return Kept(folds, files, warnings, weights, empty)


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
            lost = _told_losses(request, written)
            known = {symbol: available_period(place.features, symbol) for symbol in request.symbols}
            raise InvalidRequest(
                f"train period: must hold rows with a label, was {tally.fold.periods[0]}; {told_periods(known)}{lost}"
            )
        kept.append(each)
        warnings += tally.warnings(tally.empty_splits(partial(_why_empty, request, place)))
    if not kept:
        raise InvalidRequest(f"folds: must be one with {least} train rows or more, was none of {len(written.folds)}")
    return kept, warnings


def _told_losses(request: DatasetRequest, written: Written) -> str:
    """Of how many samples of all periods there was nothing to write, and why."""
    counts = written.sampler.counts
    samples = "samples" if request.sampling is None else "events"
    told = (
        f"; of {counts['sampled']} {samples} in all periods, {counts['without_features']} had no row of features and "
        f"{counts['without_label']} no label"
    )
    if counts["with_missing"]:
        told += f"; {counts['with_missing']} rows were dropped for a missing value"
    return told + "".join(f"; {each}" for each in dropped_warnings(counts, written.sampler.unknown))


def _why_empty(request: DatasetRequest, place: BuildPlace, start_ns: int, end_ns: int) -> str:
    known = {symbol: available_period(place.features, symbol) for symbol in request.symbols}
    return why_empty(start_ns, end_ns, known)
