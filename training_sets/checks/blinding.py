"""Blinding: a sample of what a dataset holds, computed again by an engine and prices that never saw what came after.

1. Some times, evenly spaced, are chosen before the build; what was retrieved for them is kept as it came.
2. For each, the row that was known is rebuilt from raw data that ends where the row does. A bit that differs came from
   somewhere else than the row's past: from its future, from a fill, from a label.
3. Each of their labels is made again with other prices after its end.
4. A fold whose label windows overlap another split has learned from it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import MINUTE_NS, SECOND_NS, format_iso
from market.errors import InvalidRequest, NotFound
from storage.features.log import read_feature_log
from storage.raw.manifest import raw_period
from training_sets.checks.leakage import Column, find_leaks
from training_sets.rebuild.rebuild import rebuild_rows
from training_sets.request.targets import Target, volatility_window_ns
from training_sets.samples.labels import make_labels
from training_sets.samples.prices import LabelPrices, PriceSeries
from training_sets.samples.splits import FoldTally
from training_sets.samples.witness import Seen
from transforms.catalogue import set_horizon_ns
from transforms.kernel import Kernel
from transforms.rows import FeatureSet

SEED: Final = 20260105
_LONGEST_LAG_NS: Final = MINUTE_NS

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def check_features(
    seen: Sequence[Seen],
    chosen: FeatureSet,
    *,
    features_folder: Path,
    raw_folder: Path,
    open_kernel: Callable[[], Kernel],
) -> dict[str, Any]:
    """Rebuild what was seen from the past alone; how many rows were compared, and why others could not be.

    Raises InvalidRequest naming the first column that differs.
    """
    # Reading and the kernel leave the interpreter to others: threads take all cores.
    with ThreadPoolExecutor(os.cpu_count(), "leakage check") as pool:
        known = list(pool.map(lambda each: _known_row(each, chosen, features_folder, raw_folder), seen))
        checked = [(each, row_ns) for each, (row_ns, reason) in zip(seen, known, strict=True) if reason is None]
        # Compiled once, before the threads ask for it, and not at all where nothing can be rebuilt.
        kernel = open_kernel() if any(row_ns is not None for _, row_ns in checked) else None
        for _ in pool.map(lambda pair: _compare(pair[0], pair[1], chosen, kernel, raw_folder), checked):
            pass  # an error of a thread is raised here, the first one in the order of what was seen
    unchecked = Counter(reason for _, reason in known if reason is not None)
    return {"rows_rebuilt_from_their_past": len(checked), "rows_not_checked": dict(unchecked)}


def _compare(each: Seen, row_ns: int | None, chosen: FeatureSet, kernel: Kernel | None, raw_folder: Path) -> None:
    """Rebuild the row that was known and compare its bits; without one every value must be unknown."""
    expected = np.full(len(chosen.columns), np.nan)
    if row_ns is not None and kernel is not None:
        expected = rebuild_rows(raw_folder, each.symbol, kernel, from_ns=row_ns, to_ns=row_ns).values[0]
    differs = np.flatnonzero(expected.view(np.int64) != _canonical(each.values).view(np.int64))
    if len(differs) > 0:
        at = int(differs[0])
        raise InvalidRequest(
            f"leakage: {chosen.columns[at]} of {each.symbol} at {format_iso(each.time_ns)} must be what its past "
            f"gives, {float(expected[at])!r}, was {float(each.values[at])!r}"
        )


def check_labels(prices: Mapping[str, LabelPrices], targets: Sequence[Target], times_ns: Int64s) -> int:
    """Make labels again with other prices after their ends; how many were compared. Raises InvalidRequest.

    times_ns: int64 (n,), ascending.
    """
    compared = 0
    for symbol, of_symbol in prices.items():
        step_ns = of_symbol.step_ns
        for target in targets:
            for time_ns in times_ns.tolist():
                before_ns = time_ns - volatility_window_ns(target) - step_ns
                after_ns = time_ns + target.reach_ns + 2 * step_ns
                series = of_symbol.between(before_ns, after_ns)
                grid_ns = np.arange(before_ns - (before_ns - series.start_ns) % step_ns, after_ns + 1, step_ns)
                leaks = find_leaks(
                    _labels_of(time_ns, series, target),
                    grid_ns,
                    series.at(grid_ns),
                    cuts_ns=[time_ns + target.reach_ns],
                    seed=SEED,
                )
                if leaks:
                    raise InvalidRequest(f"leakage: {symbol} {leaks[0]}")
                compared += 1
    return compared


def check_boundaries(tallies: Sequence[FoldTally], target: str) -> None:
    """No label of a split may look at a time of another. Raises InvalidRequest naming the target and the split."""
    for tally in tallies:
        for split in tally.document():
            if split["overlaps_next"]:
                fold = "" if tally.fold.number is None else f" of fold {tally.fold.number}"
                raise InvalidRequest(
                    f"leakage: {target} of {split['name']}{fold} must end before the next split begins, its last label "
                    f"ends {split['last_label_end']}; purge must be on, or data_leakage_check off"
                )


def _labels_of(time_ns: int, series: PriceSeries, target: Target) -> Callable[[Int64s, Float64s], Mapping[str, Column]]:
    row_ns = np.array([time_ns], np.int64)

    def compute(grid_ns: Int64s, values: Float64s) -> Mapping[str, Column]:
        changed = PriceSeries(series.name, int(grid_ns[0]), series.step_ns, values)
        return {target.name: Column(make_labels(row_ns, changed, target), row_ns + target.reach_ns)}

    return compute


def _known_row(
    each: Seen, chosen: FeatureSet, features_folder: Path, raw_folder: Path
) -> tuple[int | None, str | None]:
    """The time of the row that was known, None when there was none, and why it cannot be rebuilt, None when it can."""
    try:
        row_ns = _known_row_ns(each, chosen, features_folder)
        reason = None if row_ns is None else _why_unchecked(each.symbol, row_ns, chosen, features_folder, raw_folder)
    except NotFound:
        return None, f"{each.symbol}: no raw data"
    return row_ns, reason


def _known_row_ns(each: Seen, chosen: FeatureSet, features_folder: Path) -> int | None:
    """The newest row that was available at the time; None when the symbol had none young enough."""
    rows, available_ns = read_feature_log(
        features_folder, each.symbol, chosen, from_ns=each.time_ns - _LONGEST_LAG_NS, to_ns=each.time_ns + SECOND_NS
    )
    known = rows.row_ns[(rows.row_ns <= each.time_ns) & (available_ns <= each.time_ns)]
    return int(known[-1]) if len(known) > 0 else None


def _why_unchecked(symbol: str, row_ns: int, chosen: FeatureSet, features_folder: Path, raw_folder: Path) -> str | None:
    """Why raw data cannot give the row; None when it can."""
    first_ns, last_ns = raw_period(raw_folder, symbol)
    if row_ns > last_ns:
        return f"{symbol}: raw data ends before the row"
    if first_ns > row_ns - set_horizon_ns(chosen):
        earlier, _ = read_feature_log(features_folder, symbol, chosen, from_ns=None, to_ns=first_ns)
        if len(earlier) > 0:
            return f"{symbol}: raw data begins within the row's horizon"
    return None


def _canonical(values: Float64s) -> Float64s:
    """NaN with one bit pattern; a store may give back another."""
    return np.where(np.isnan(values), np.nan, values)
