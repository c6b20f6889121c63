"""Blinding: a sample of what a dataset holds, computed again by an engine and prices that never saw what came after.

1. Some times, evenly spaced, are chosen before the build; what was retrieved for them is kept as it came.
2. For each, the row that was known is rebuilt from raw data, the tape included, that ends where the row does. A bit
   that differs came from somewhere else than the row's past: from its future, from a fill, from a label.
3. Each of their labels is made again with other prices after its end.
4. A fold whose label windows overlap another split has learned from it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from market.errors import InvalidRequest, NotFound
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from training_sets.checks.leakage import Column, find_leaks
from training_sets.rebuild.raw_history import RawHistory
from training_sets.rebuild.rebuild import rebuild_rows_at
from training_sets.request.targets import Target, volatility_window_ns
from training_sets.samples.labels import make_labels
from training_sets.samples.prices import LabelPrices, PriceSeries
from training_sets.samples.splits import FoldTally
from training_sets.samples.witness import Seen
from transforms.catalogue import set_horizon_ns
from transforms.kernel import Kernel
from transforms.rows import FeatureSet

SEED: Final = 20260105

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def check_features(
    seen: Sequence[Seen],
    chosen: FeatureSet,
    log: FeatureLog,
    raw: RawHistory,
    *,
    open_kernel: Callable[[], Kernel],
) -> dict[str, Any]:
    """Rebuild what was seen from the past alone; how many rows were compared, and why others could not be.

    Raises InvalidRequest naming the first column that differs, and when there are rows of which none could be rebuilt.
    """
    # Reading and the kernel leave the interpreter to others: threads take all cores.
    with ExitStack() as stack, ThreadPoolExecutor(os.cpu_count(), "leakage check") as pool:
        opened = {
            symbol: stack.enter_context(raw.until(symbol, last_row_ns))
            for symbol, last_row_ns in _last_rows(seen).items()
        }
        reasons = list(pool.map(lambda each: _why_unchecked(each, chosen, log, opened[each.symbol]), seen))
        checked = [each for each, reason in zip(seen, reasons, strict=True) if reason is None]
        rebuilt = sum(each.row_ns is not None for each in checked)
        # Compiled once, before the threads ask for it, and not at all where nothing can be rebuilt.
        kernel = open_kernel() if rebuilt else None
        for _ in pool.map(lambda each: _compare(each, chosen, kernel, opened[each.symbol]), checked):
            pass  # an error of a thread is raised here, the first one in the order of what was seen
    unchecked = Counter(reason for reason in reasons if reason is not None)
    if unchecked and rebuilt == 0:
        told = ", ".join(f"{reason} ({count} rows)" for reason, count in unchecked.items())
        raise InvalidRequest(
            f"leakage: at least one row must be rebuilt from its past, none could be: {told}; "
            "data_leakage_check must be off to build without"
        )
    return {
        "rows_rebuilt_from_their_past": rebuilt,
        "times_without_a_row": len(checked) - rebuilt,
        "rows_not_checked": dict(unchecked),
    }


def _last_rows(seen: Sequence[Seen]) -> dict[str, int]:
    last: dict[str, int] = {}
    for each in seen:
        last[each.symbol] = max(last.get(each.symbol, 0), each.row_ns or 0)
    return last


def _compare(each: Seen, chosen: FeatureSet, kernel: Kernel | None, raw: RawData) -> None:
    """Rebuild the row that was known and compare its bits; without one every value must be unknown."""
    expected = np.full(len(chosen.columns), np.nan)
    if each.row_ns is not None and kernel is not None:
        expected = rebuild_rows_at(raw, each.symbol, kernel, np.array([each.row_ns])).values[0]
    differs = np.flatnonzero(expected.view(np.int64) != _canonical(each.values).view(np.int64))
    if len(differs) > 0:
        at = int(differs[0])
        raise InvalidRequest(
            f"leakage: {chosen.columns[at]} of {each.symbol} at {format_iso(each.time_ns)} must be what its past "
            f"gives, {float(expected[at])!r}, was {float(each.values[at])!r}"
        )


def leakage_warnings(leakage: Mapping[str, Any]) -> list[str]:
    """One line for every reason for which rows were not checked."""
    unchecked: Mapping[str, int] = leakage["rows_not_checked"]
    total = leakage["rows_rebuilt_from_their_past"] + sum(unchecked.values())
    return [f"leakage: {count} of {total} rows were not checked, {reason}" for reason, count in unchecked.items()]


def check_labels(prices: Mapping[str, LabelPrices], targets: Sequence[Target], seen: Sequence[Seen]) -> int:
    """Make labels again with other prices after their ends; how many were compared. Raises InvalidRequest."""
    compared = 0
    for each in sorted(seen, key=lambda each: (each.symbol, each.time_ns)):
        of_symbol = prices[each.symbol]
        step_ns = of_symbol.step_ns
        for target in targets:
            before_ns = each.time_ns - volatility_window_ns(target) - 2 * step_ns
            after_ns = each.decision_ns + target.reach_ns + 2 * step_ns
            series = of_symbol.between(before_ns, after_ns)
            grid_ns = np.arange(before_ns - (before_ns - series.start_ns) % step_ns, after_ns + 1, step_ns)
            leaks = find_leaks(
                _labels_of(each, series, target),
                grid_ns,
                series.at(grid_ns),
                cuts_ns=[each.decision_ns + target.reach_ns],
                seed=SEED,
            )
            if leaks:
                raise InvalidRequest(f"leakage: {each.symbol} {leaks[0]}")
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


def _labels_of(seen: Seen, series: PriceSeries, target: Target) -> Callable[[Int64s, Float64s], Mapping[str, Column]]:
    time_ns, decision_ns = np.array([[seen.time_ns], [seen.decision_ns]], np.int64)

    def compute(grid_ns: Int64s, values: Float64s) -> Mapping[str, Column]:
        changed = PriceSeries(series.name, int(grid_ns[0]), series.step_ns, values)
        labels = make_labels(time_ns, changed, target, decisions_ns=decision_ns)
        return {target.name: Column(labels, decision_ns + target.reach_ns)}

    return compute


def _why_unchecked(each: Seen, chosen: FeatureSet, log: FeatureLog, raw: RawData) -> str | None:
    """Why raw data cannot give the row that was seen; None when it can, and when there was none."""
    if each.row_ns is None:
        return None
    symbol = each.symbol
    try:
        first_ns, last_ns = raw.period(symbol)
    except NotFound:
        return f"{symbol}: no raw data"
    if each.row_ns > last_ns:
        return f"{symbol}: raw data ends before the row"
    if first_ns > each.row_ns - set_horizon_ns(chosen):
        earlier, _ = log.read(symbol, chosen, from_ns=None, to_ns=first_ns)
        if len(earlier) > 0:
            return f"{symbol}: raw data begins within the row's horizon"
    return None


def _canonical(values: Float64s) -> Float64s:
    """NaN with one bit pattern; a store may give back another."""
    return np.where(np.isnan(values), np.nan, values)
