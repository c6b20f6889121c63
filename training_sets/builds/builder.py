"""The builder: from a request to the files of every fold and split, with their manifest.

1. Make sure that the features exist, rebuilding the symbol-days that are missing.
2. Lay out the folds and find the prices that labels are made of.
3. Piece after piece in time order: take the features that the model has at each sample, its row once that has arrived
   or the newest tick there is at its time, so that what came late is not seen earlier; label from the moment at which
   the model acts; drop and count what has no features or no label; assign each row to the splits of every fold, purge
   and embargo; write it to their files.
4. Give the files their names, then check continuity, leakage, of the files as they are, and quality; whatever fails
   leaves no dataset.
5. Write the manifest: a folder with a manifest is complete. Memory holds one piece and its prices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from feature_repo.registry_versions import load_registry_version
from market.clock import SECOND_NS
from market.errors import InvalidRequest
from quality.continuity import ContinuityRules
from training_sets.builds.feature_days import make_features
from training_sets.builds.fold_files import FoldFiles
from training_sets.builds.retrieval import open_retrieval
from training_sets.checks.blinding import leakage_warnings
from training_sets.checks.drawn import Written
from training_sets.checks.inspection import (
    LeakagePlace,
    judge_continuity,
    judge_leakage,
    judge_quality,
    open_continuity,
    open_profile,
    write_quality,
)
from training_sets.dataset.files import SCHEMA_NAME, write_schema
from training_sets.dataset.inputs import dataset_inputs
from training_sets.dataset.manifest import write_manifest
from training_sets.provenance import file_entry
from training_sets.rebuild.raw_data import OpenRaw, parquet_alone
from training_sets.request.folds import WalkForward, strategy_name
from training_sets.request.request import DatasetRequest
from training_sets.samples.availability import available_period, told_periods
from training_sets.samples.samples import Sampler, offset_warnings, samples_document
from training_sets.samples.splits import FoldTally, SplitRules, assign_rows

if TYPE_CHECKING:
    from feature_repo.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Dataset:
    """A finished dataset: its folder, its manifest and the rows of each split by name, over all folds.

    days_computed, days_reused: symbol-days whose features were rebuilt for it, and those that were there. is_reused:
    whether it stood already when it was asked for.
    """

    path: Path
    manifest: dict[str, Any]
    records: dict[str, int]
    days_computed: int = 0
    days_reused: int = 0
    is_reused: bool = False


@dataclass(frozen=True, slots=True)
class BuildPlace:
    """Where a build finds what it needs, and the rules it is held to.

    reuses_days: whether days computed before are used again. reuses_samples: whether what was retrieved before is.
    rebuild_workers: processes that rebuild missing days. open_raw: where raw data is read that is only on a tape; None
    is for a folder without one. row_grid_ns: the grid of ticks in history that was not served live.
    leakage_seed: of the rows and days that the leakage check draws; another one for each build.
    """

    store: FeatureStore
    features_folder: Path
    raw_folder: Path
    versions_folder: Path
    kernels_folder: Path
    continuity: ContinuityRules = field(default_factory=ContinuityRules)
    has_quality_gate: bool = True
    reuses_days: bool = True
    reuses_samples: bool = True
    rebuild_workers: int = 1
    open_raw: OpenRaw | None = None
    row_grid_ns: int = SECOND_NS
    leakage_seed: int = 0


def build_dataset(
    request: DatasetRequest,
    place: BuildPlace,
    folder: Path,
    *,
    on_step: Callable[[str], None] = lambda _step: None,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> Dataset:
    """Build the dataset of ``request`` in ``folder``.

    The files have the columns symbol, timestamp (UTC), the version's features in its order, the targets, and fold where
    there are folds; they lie in ``fold-NNN`` then. on_progress: told the share of the step that is done, day by day or
    piece by piece; what either callback raises ends the build.

    Raises InvalidRequest naming what is possible when the request cannot be met, NotFound for an unknown version.
    """
    chosen = load_registry_version(request.registry_version, place.versions_folder).feature_set
    on_step("making sure that the features exist")
    days = make_features(
        request,
        chosen,
        features_folder=place.features_folder,
        raw_folder=place.raw_folder,
        kernels_folder=place.kernels_folder,
        reuses_days=place.reuses_days,
        workers=place.rebuild_workers,
        on_progress=on_progress,
    )
    inputs = dataset_inputs(
        request,
        chosen,
        features_folder=place.features_folder,
        raw_folder=place.raw_folder,
        continuity=place.continuity,
        has_quality_gate=place.has_quality_gate,
        row_grid_ns=place.row_grid_ns,
    )
    open_raw = place.open_raw or parquet_alone(place.raw_folder)
    on_step("reading prices")
    rules = SplitRules(request.label_reach_ns, request.purge, request.embargo_ns)
    tallies = [FoldTally(fold, rules, request.targets) for fold in request.folds()]
    profile = open_profile(request, chosen)
    with ExitStack() as stack:
        retrieval = stack.enter_context(
            open_retrieval(
                request,
                chosen,
                store=place.store,
                features_folder=place.features_folder,
                raw_folder=place.raw_folder,
                open_raw=open_raw,
                kernels_folder=place.kernels_folder,
                keeps_days=place.reuses_samples,
                grid_ns=place.row_grid_ns,
            )
        )
        sampler = Sampler(
            request,
            chosen,
            retrieve=retrieval.known,
            features_folder=place.features_folder,
            raw_folder=place.raw_folder,
            continuity=open_continuity(request, place.continuity),
        )
        on_step("retrieving features as they were known, labelling, splitting")
        files = [FoldFiles(request, chosen, tally.fold, folder=folder, stack=stack) for tally in tallies]
        for piece in sampler.pieces():
            profile.add(piece.times_ns, np.concatenate([piece.features, piece.labels], axis=1))
            for tally, of_fold in zip(tallies, files, strict=True):
                assigned = assign_rows(piece.times_ns, tally.fold, rules, decisions_ns=piece.decisions_ns)
                tally.add(piece.times_ns, assigned, piece.labels)
                of_fold.write(piece, assigned.period, assigned.is_kept)
            on_progress(sampler.counts["sampled"] / sampler.sample_count)
    on_step("writing files")
    kept, warnings = _kept_folds(request, tallies, place.features_folder, with_missing=sampler.counts["with_missing"])
    written: list[Written] = []
    for tally, of_fold in zip(tallies, files, strict=True):
        if tally in kept:
            written += of_fold.finish(tally.records())
        else:
            of_fold.remove()
    on_step("checking continuity, leakage and quality")
    continuity = judge_continuity(sampler.continuity, place.continuity)
    leakage = None
    if request.check_leakage:
        checked = LeakagePlace(
            place.features_folder,
            place.raw_folder,
            open_raw,
            place.kernels_folder,
            place.row_grid_ns,
            place.leakage_seed,
        )
        leakage = judge_leakage(request, chosen, sampler, written, kept, place=checked)
        warnings += leakage_warnings(leakage)
    findings = judge_quality(request, profile, kept) if place.has_quality_gate else []
    records = {name: sum(tally.records().get(name, 0) for tally in kept) for name in ("train", "validation", "test")}
    manifest = {
        **inputs,
        "strategy": strategy_name(request.strategy),
        "columns": files[0].schema.names,
        "targets": [msgspec.to_builtins(target) for target in request.targets],
        "label_price": {symbol: prices.name for symbol, prices in sampler.prices.items()},
        "samples": samples_document(request, sampler) | retrieval.document(),
        "rows_sampled": sampler.counts["sampled"],
        "rows_without_features": sampler.counts["without_features"],
        "rows_too_late": sampler.counts["too_late"],
        "rows_without_label": sampler.counts["without_label"],
        "rows_with_missing_dropped": sampler.counts["with_missing"],
        "values_filled": sampler.counts["values_filled"],
        "labels_unknown": {target.name: sampler.unlabelled[target.name] for target in request.targets},
        "records": records,
        "splits": kept[0].document(),
        "folds": [{"fold": tally.fold.number, "splits": tally.document()} for tally in kept],
        "continuity": [each.document for each in continuity],
        "leakage": leakage,
        "quality": {"checked": place.has_quality_gate, "findings": len(findings)},
        "warnings": [
            *warnings,
            *offset_warnings(request, sampler),
            *(warning for each in continuity for warning in each.warnings),
            *map(str, findings),
        ],
        "files": {file.name: file_entry(file.path, folder) for file in written},
    }
    if request.output_format == "csv":
        write_schema(folder / SCHEMA_NAME, files[0].schema)
        manifest["schema_file"] = file_entry(folder / SCHEMA_NAME, folder)
    if place.has_quality_gate:
        write_quality(folder, manifest, profile, findings)
    write_manifest(folder, manifest)
    return Dataset(folder, manifest, records, days.computed, days.reused)


def _kept_folds(
    request: DatasetRequest, tallies: Sequence[FoldTally], features_folder: Path, *, with_missing: int
) -> tuple[list[FoldTally], list[str]]:
    """The folds with enough to train on, and what is to be said of the others and of empty splits."""
    least = request.strategy.min_train_samples if isinstance(request.strategy, WalkForward) else 0
    kept, warnings = [], []
    for tally in tallies:
        count = tally.records()["train"]
        if count < least:
            warnings.append(f"fold {tally.fold.number}: left out, must have {least} train rows, was {count}")
            continue
        if count == 0:
            dropped = f"; {with_missing} rows were dropped for a missing value" if with_missing else ""
            known = {symbol: available_period(features_folder, symbol) for symbol in request.symbols}
            raise InvalidRequest(
                f"train period: must hold rows with a label, was {tally.fold.periods[0]}; {told_periods(known)}"
                f"{dropped}"
            )
        kept.append(tally)
        warnings += tally.warnings()
    if not kept:
        raise InvalidRequest(f"folds: must be one with {least} train rows or more, was none of {len(tallies)}")
    return kept, warnings
