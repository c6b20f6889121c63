"""The search for leaks in a dataset's files as written: all of their rows, drawn rows, and drawn days of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training_sets.checks.blinding import Origin, check_boundaries, check_features, check_joined
from training_sets.checks.drawn import WrittenFile, draw_rows, stratum_ns
from training_sets.checks.foresight import Foresight
from training_sets.checks.log_days import check_stretches, draw_stretches
from training_sets.checks.rederiving import check_inputs
from training_sets.checks.relabelling import check_labels
from training_sets.checks.sources import Sources
from training_sets.checks.table_rows import check_table_rows
from training_sets.request.folds import covered
from training_sets.request.request import DatasetRequest
from training_sets.request.sampling import SignalSampling
from training_sets.request.targets import is_class
from training_sets.samples.prices import LabelPrices
from training_sets.samples.splits import FoldTally


def search_leaks(
    request: DatasetRequest,
    files: Sequence[WrittenFile],
    kept: Sequence[FoldTally],
    prices: Mapping[str, LabelPrices],
    origin: Origin,
    *,
    seed: int,
) -> dict[str, Any]:
    """How much was checked for looking ahead, as the manifest states it.

    kept: the folds that the files are of. seed: of the rows and days that are drawn.

    Raises InvalidRequest naming the first leak, and when nothing could be checked.
    """
    check_boundaries(kept, max(request.targets, key=lambda target: target.reach_ns).name)
    labels = {target.name: is_class(target) for target in request.targets}
    told = [*origin.features.columns, *request.input_names]
    foresight = Foresight(told, labels, longest_reach_ns=request.label_reach_ns, interval_ns=request.sample_interval_ns)
    drawn = draw_rows(
        files,
        [*told, *labels],
        length_ns=stratum_ns(covered(request.folds())),
        seed=seed,
        foresight=foresight,
        is_proven=None if origin.proven is None else origin.proven.is_proven,
    )
    rows = Sources(request, origin).of(drawn)
    inputs_made = check_inputs(drawn, request, origin)
    is_logged = request.sample_kind == "on_row"
    features = check_features(rows, origin) | check_joined(rows, origin.features, on_rows=is_logged)
    features |= check_table_rows(rows, origin.features, origin.tables, on_rows=is_logged)
    stretches = draw_stretches(request.symbols, covered(request.folds()), seed, origin.proven) if is_logged else []
    days = check_stretches(stretches, origin)
    signals = request.sampling if isinstance(request.sampling, SignalSampling) else None
    labels_made = check_labels(prices, request.targets, rows, signals)
    if origin.proven is not None:
        origin.proven.save()
    return {
        "seed": seed,
        "rows_drawn": len(drawn),
        "labels_made_again": labels_made,
        **({"inputs_made_again": inputs_made} if request.input_names else {}),
        **features,
        **days,
        "all_rows": foresight.document(),
    }


def leakage_warnings(leakage: Mapping[str, Any]) -> list[str]:
    """One line for every check that could not be made, of what ``search_leaks`` gave."""
    unchecked: Mapping[str, int] = leakage["rows_not_checked"]
    total = leakage["rows_rebuilt_from_their_past"] + sum(unchecked.values())
    all_rows = leakage["all_rows"]
    few, judged = all_rows["rows_too_few_to_judge"], all_rows["rows_judged"]
    too_few = (
        f"leakage: {few} of {few + judged} rows were not searched for columns that know labels or next values, fewer "
        f"than {all_rows['block_rows']} of a symbol and file"
    )
    return [
        *(
            f"leakage: it is unknown when rows of {view} could be read, its source has no creation times"
            for view in leakage.get("views_not_proven", ())
        ),
        *(
            f"leakage: {view} was not computed again, none of its tables is there"
            for view in leakage.get("table_views_not_computed", ())
        ),
        *(f"leakage: {count} of {total} rows were not checked, {reason}" for reason, count in unchecked.items()),
        *(f"leakage: the feature log was not checked, {told}" for told in leakage["log_days_not_checked"]),
        *([too_few] if few else ()),
    ]
