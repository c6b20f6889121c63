"""Finishing: the documents that describe the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from training_sets.builds.verdict import Verdict
from training_sets.builds.writing import Kept, Written
from training_sets.checks.inspection import write_quality
from training_sets.dataset.drift import write_profile
from training_sets.dataset.files import SCHEMA_NAME, fold_name, write_schema
from training_sets.dataset.fitted import STEPS_NAME, fit_steps, write_steps
from training_sets.dataset.manifest import column_roles, write_manifest
from training_sets.provenance import file_entry
from training_sets.request.fitting import FittedStep
from training_sets.request.folds import strategy_name
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import classes
from training_sets.samples.label_spans import weighing_target
from training_sets.samples.samples import samples_document


def write_documents(
    request: DatasetRequest, inputs: dict[str, Any], written: Written, kept: Kept, verdict: Verdict, folder: Path
) -> dict[str, Any]:
    """Write the schema, the quality and the manifest last; gives it."""
    manifest = {
        **inputs,
        **_dataset_document(request, written, kept, verdict),
        "files": {file.name: file_entry(file.path, folder) for file in kept.files},
    }
    if request.output_format == "csv":
        write_schema(folder / SCHEMA_NAME, written.folds[0].files.schema)
        manifest["schema_file"] = file_entry(folder / SCHEMA_NAME, folder)
    if request.fitted_steps is not None:
        _write_fitted(request.fitted_steps, manifest, kept, folder)
    write_profile(folder, manifest, written.profile)
    if verdict.findings is not None:
        write_quality(folder, manifest, written.profile, verdict.findings, verdict.missing)
    write_manifest(folder, manifest)
    return manifest


def _write_fitted(steps: tuple[FittedStep, ...], manifest: dict[str, Any], kept: Kept, folder: Path) -> None:
    """Fit the steps of each fold on its train file, as it was written and checked, and nothing else."""
    features = tuple(manifest["column_roles"]["features"])
    train = {file.name: file for file in kept.files}
    fitted = {}
    for tally in kept.tallies:
        number = tally.fold.number
        file = train["train" if number is None else f"{fold_name(number)}/train"]
        fitted[number] = fit_steps(steps, features, file.path, file.output_format)
    write_steps(folder / STEPS_NAME, fitted)
    manifest["fitted_steps"] = file_entry(folder / STEPS_NAME, folder)


def _dataset_document(request: DatasetRequest, written: Written, kept: Kept, verdict: Verdict) -> dict[str, Any]:
    """What the manifest states of the rows and of what was checked, but for the files."""
    sampler, tallies = written.sampler, kept.tallies
    return {
        "strategy": strategy_name(request.strategy),
        "columns": written.folds[0].files.schema.names,
        "column_roles": column_roles(written.folds[0].files.schema.names, request),
        "targets": [msgspec.to_builtins(target) for target in request.targets],
        "classes": {target.name: dict(of) for target in request.targets if (of := classes(target))},
        "label_price": {symbol: prices.name for symbol, prices in sampler.prices.items()},
        "samples": samples_document(request, sampler),
        "rows_sampled": sampler.counts["sampled"],
        "rows_without_features": sampler.counts["without_features"],
        "rows_too_late": sampler.counts["too_late"],
        "rows_without_label": sampler.counts["without_label"],
        "rows_too_early": sampler.counts["too_early"],
        "rows_with_missing_dropped": sampler.counts["with_missing"],
        "rows_dropped_by_column": dict(sorted(sampler.unknown.items())),
        "values_filled": sampler.counts["values_filled"],
        "labels_unknown": {target.name: sampler.unlabelled[target.name] for target in request.targets},
        "records": {
            name: sum(tally.records().get(name, 0) for tally in tallies) for name in ("train", "validation", "test")
        },
        "empty_splits": list(kept.empty),
        "empty_test_split": any(each["split"] == "test" for each in kept.empty),
        "splits": tallies[0].document(),
        "folds": [{"fold": tally.fold.number, "splits": tally.document()} for tally in tallies],
        "continuity": [each.document for each in verdict.continuity],
        "leakage": verdict.leakage,
        "quality": {"checked": verdict.findings is not None, "findings": len(verdict.findings or ())},
        "warnings": list(verdict.warnings),
        **_weights_document(request, kept),
    }


def _weights_document(request: DatasetRequest, kept: Kept) -> dict[str, Any]:
    """How rows are weighed; nothing where they are not."""
    if request.weighting is None:
        return {}
    target = request.targets[weighing_target(request)].name
    return {"weights": {**msgspec.to_builtins(request.weighting), "target": target, "splits": list(kept.weights)}}
