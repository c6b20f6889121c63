"""Relabelling: the labels of drawn rows, made again from their prices, and again with other prices after their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from market.errors import InvalidRequest
from training_sets.checks.blinding import Known
from training_sets.checks.leakage import Column, Leak, find_leaks
from training_sets.request.sampling import SignalSampling
from training_sets.request.targets import MetaLabelTarget, Target, volatility_window_ns
from training_sets.samples.inputs import sides_at
from training_sets.samples.labels import make_labels
from training_sets.samples.prices import LabelPrices, PriceSeries

SEED: Final = 20260105

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def check_labels(
    prices: Mapping[str, LabelPrices],
    targets: Sequence[Target],
    rows: Sequence[Known],
    signals: SignalSampling | None = None,
) -> int:
    """Make labels again, with other prices after their ends too; how many were compared. Raises InvalidRequest.

    signals: of the primary model whose trades meta-labels judge.
    """
    for symbol in dict.fromkeys(row.drawn.symbol for row in rows):
        own = sorted((row for row in rows if row.drawn.symbol == symbol), key=lambda row: row.drawn.time_ns)
        for number, target in enumerate(targets):
            written = [float(row.drawn.values[number - len(targets)]) for row in own]
            of_target = signals if isinstance(target, MetaLabelTarget) else None
            _check_labels(prices[symbol], target, own, written, of_target)
    return len(rows) * len(targets)


def _check_labels(
    prices: LabelPrices,
    target: Target,
    rows: Sequence[Known],
    written: Sequence[float],
    signals: SignalSampling | None,
) -> None:
    """Of one symbol and target: the prices around each row stand one behind the other, so that one call makes all."""
    step_ns = prices.step_ns
    around_ns = volatility_window_ns(target) + 2 * step_ns, target.reach_ns + 2 * step_ns
    begins_ns, bars = [], []
    sampled_ns = prices.own_ns(np.array([row.drawn.time_ns for row in rows], np.int64))
    acted_ns = prices.own_ns(np.array([row.decision_ns for row in rows], np.int64))
    for before_ns, after_ns in zip(
        (sampled_ns - around_ns[0]).tolist(), (acted_ns + around_ns[1]).tolist(), strict=True
    ):
        series = prices.between(before_ns, after_ns)
        grid_ns = np.arange(before_ns - (before_ns - series.start_ns) % step_ns, after_ns + 1, step_ns)
        begins_ns.append(int(grid_ns[0]))
        bars.append(series.bars_at(grid_ns))
    steps = max(len(each) for each in bars)
    values = np.full((len(rows) * steps, 3), np.nan)
    for at, each in enumerate(bars):
        values[at * steps : at * steps + len(each)] = each
    moved_ns = np.arange(len(rows)) * steps * step_ns - np.array(begins_ns)
    times_ns, decisions_ns = sampled_ns + moved_ns, acted_ns + moved_ns

    sides = None if signals is None else sides_at(signals, np.array([row.drawn.time_ns for row in rows]))

    def compute(_times_ns: Int64s, changed: Float64s) -> Mapping[str, Column]:
        price, high, low = np.ascontiguousarray(changed.T)
        laid_out = PriceSeries(prices.name, 0, step_ns, price, high, low)
        labels = make_labels(times_ns, laid_out, target, decisions_ns=decisions_ns, sides=sides)
        return {target.name: Column(labels, np.zeros(len(rows), np.int64))}

    labels = compute(times_ns, values)[target.name].values
    for row, label, found in zip(rows, labels.tolist(), written, strict=True):
        if label != found:
            drawn = row.drawn
            raise InvalidRequest(
                f"leakage: {target.name} of {drawn.symbol} at {format_iso(drawn.time_ns)} in {drawn.file} must be "
                f"what its prices give, {label!r}, was {found!r}"
            )
    # Told by how long after the end of its row's label each price is.
    ends_ns = decisions_ns + target.reach_ns
    past_ends_ns = np.arange(len(rows) * steps) * step_ns - np.repeat(ends_ns, steps)
    leaks = find_leaks(compute, past_ends_ns, values, cuts_ns=[0], seed=SEED)
    if leaks:
        row = rows[leaks[0].at]
        end_ns = int(prices.our_ns(acted_ns[leaks[0].at : leaks[0].at + 1] + target.reach_ns)[0])
        raise InvalidRequest(f"leakage: {row.drawn.symbol} {Leak(target.name, leaks[0].at, end_ns, end_ns)}")
