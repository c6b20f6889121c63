"""Writing: the samples of a build, piece after piece in time order, into the files of every fold and split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quality.profile import TableProfile
from training_sets.builds.fold_files import FoldFiles
from training_sets.checks.inspection import open_profile
from training_sets.request.request import DatasetRequest
from training_sets.samples.samples import Sampler
from training_sets.samples.splits import FoldTally, SplitRules, assign_rows
from transforms.rows import FeatureSet


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


def write_samples(
    request: DatasetRequest,
    chosen: FeatureSet,
    sampler: Sampler,
    folder: Path,
    *,
    on_progress: Callable[[float], None],
) -> Written:
    """Write every sample to its splits, and close the files."""
    rules = SplitRules(request.label_reach_ns, request.purge, request.embargo_ns)
    profile = open_profile(request, chosen)
    with ExitStack() as stack:
        folds = [
            WrittenFold(FoldTally(fold, rules), FoldFiles(request, chosen, fold, folder=folder, stack=stack))
            for fold in request.folds()
        ]
        for piece in sampler.pieces():
            profile.add(piece.times_ns, np.concatenate([piece.features, piece.labels], axis=1), piece.symbol)
            for each in folds:
                assigned = assign_rows(piece.times_ns, each.tally.fold, rules, decisions_ns=piece.decisions_ns)
                each.tally.add(piece.times_ns, assigned)
                each.files.write(piece, assigned.period, assigned.is_kept)
            on_progress(sampler.counts["sampled"] / sampler.sample_count)
    return Written(folds, profile, sampler)
