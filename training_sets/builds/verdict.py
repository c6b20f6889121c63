"""The verdict on the files as they were written: what was checked, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from quality.continuity import Continuity
from quality.suites import Finding
from training_sets.builds.place import BuildPlace
from training_sets.builds.writing import Kept, Written
from training_sets.checks.blinding import Origin
from training_sets.checks.inspection import judge_continuity, judge_quality
from training_sets.checks.proven import ProvenRows
from training_sets.checks.recomputing import Recomputing
from training_sets.checks.search import leakage_warnings, search_leaks
from training_sets.dataset.missing_reasons import missing_reasons
from training_sets.request.folds import covered
from training_sets.request.request import DatasetRequest
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.missing import dropped_warnings
from training_sets.samples.samples import early_warnings, offset_warnings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be called a dataset. leakage, findings: None where it was not to be checked.

    missing: why values are unknown; None if that was not checked.
    """

    continuity: Sequence[Continuity]
    leakage: dict[str, Any] | None
    findings: Sequence[Finding] | None
    warnings: Sequence[str]
    missing: dict[str, Any] | None


def judge_files(
    request: DatasetRequest, features: DatasetFeatures, written: Written, kept: Kept, place: BuildPlace
) -> Verdict:
    """Judge continuity, leakage and quality. Raises InvalidRequest with what is not acceptable."""
    continuity = judge_continuity(written.sampler.continuity, place.rules.continuity)
    leakage = _judge_leakage(request, features, written, kept, place) if request.check_leakage else None
    gated = place.rules.has_quality_gate
    findings = judge_quality(request, written.profile, kept.tallies) if gated else None
    warnings = [
        *kept.warnings,
        *(leakage_warnings(leakage) if leakage is not None else ()),
        *offset_warnings(request, written.sampler),
        *early_warnings(written.sampler),
        *dropped_warnings(written.sampler.counts, written.sampler.unknown),
        *(warning for each in continuity for warning in each.warnings),
        *map(str, findings or ()),
    ]
    missing = missing_reasons(request, features, written.profile, place.features) if gated else None
    return Verdict(continuity, leakage, findings, warnings, missing)


def _judge_leakage(
    request: DatasetRequest, features: DatasetFeatures, written: Written, kept: Kept, place: BuildPlace
) -> dict[str, Any]:
    """How much was checked for looking ahead. Raises InvalidRequest naming the first leak."""
    until_ns, chosen = covered(request.folds())[-1][1], features.chosen
    with ExitStack() as stack:
        of_streams = request.symbols if request.sessions is None else ()
        raw = {symbol: stack.enter_context(place.raw.until(symbol, until_ns)) for symbol in of_streams}
        is_kept = place.reuses_samples and request.sample_kind == "on_row"
        drawn_among = (
            request.sample_interval_ns,
            request.sample_offset_ns,
            msgspec.to_builtins(request.sampling),
            request.missing,
        )
        proven = ProvenRows(place.features, chosen, raw, drawn_among) if is_kept else None
        origin = Origin(
            features,
            place.features,
            raw,
            place.kernels_folder,
            place.rules.row_grid_ns,
            Recomputing(place.engine, place.raw.parquet),
            written.sampler.tables,
            proven,
        )
        return search_leaks(request, kept.files, kept.tallies, written.sampler.prices, origin, seed=place.draw_seed())
