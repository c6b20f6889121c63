"""The plan: a feature set turned into the source of one kernel that computes its columns in order.

1. What parts of a row take together is gathered once a row: mids, log returns and candles at their longest.
2. Each part of neighbouring columns is one call, see ``row_part``; the normalised columns follow.
3. Each group's status follows from its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from transforms import catalogue
from transforms.declaration import Feature, Source
from transforms.inputs import INPUTS
from transforms.row_part import RowPart, are_new, bars_at, row_parts
from transforms.rows import FeatureGroup, FeatureSet

_HEADER: Final = '''"""The kernel of feature set {fingerprint} (registry {version}); generated, do not edit."""

import math

from market.clock import SECOND_NS
from transforms.bars import collect_bars
from transforms.candles import collect_candles
from transforms.jit import jit, jit_inside
from transforms.normalisation import min_max, remember, z_score
from transforms.status import OK
from transforms.steps import (
    apply_records,
    bar_status,
    begin_tile,
    book_status,
    end_tile,
    normalised_reason,
    source_status,
    ticker_status,
    worst_status,
)
from transforms.tiles import collect_log_returns, collect_mids
{imports}
NAN = math.nan
'''

_LOOP: Final = '''
@jit
def run(state, records, until_ns, due_ns, values, reasons, status):
    """Apply records, end every tile up to ``until_ns`` and compute the rows that are due.

    records: EVENT (m,), slot by slot. due_ns: int64 (n,), ends of tiles, ascending. values, reasons, status: room for
    n + 1 rows; the last is for rows that nobody asked for and whose values are kept for normalised columns.
    Returns how many records were applied; those of a tile that has not ended are left.
    """
    st = state[0]
    applied = 0
    rows = 0
    while st.next_end_ns <= until_ns:
        end_ns = st.next_end_ns
        applied = apply_records(st, records, applied, end_ns)
        end_tile(st)
        is_due = rows < due_ns.shape[0] and due_ns[rows] == end_ns
        if is_due or {remembers} and end_ns % SECOND_NS == 0:
            row = rows if is_due else due_ns.shape[0]
            compute_row(st, end_ns, values[row], reasons[row], status[row])
            rows += 1 if is_due else 0
        begin_tile(st)
    return applied
'''


def kernel_source(feature_set: FeatureSet) -> str:
    """Python source of the kernel module of a feature set; what of it others share is in its parts' modules."""
    parts = row_parts(feature_set.columns)
    imports = "".join(f"from {part.module} import {part.name}\n" for part in parts)
    header = _HEADER.format(fingerprint=feature_set.fingerprint, version=feature_set.version, imports=imports)
    return header + _row_function(feature_set, parts) + _LOOP.format(remembers=bool(feature_set.normalisations))


def _row_function(feature_set: FeatureSet, parts: Sequence[RowPart]) -> str:
    lines = ["", "", "@jit_inside", "def compute_row(st, row_ns, values, reasons, status):"]
    lines += [f"    {line}" for line in gathered([declared for part in parts for declared in part.features])]
    lines += [f"    {part.call}" for part in parts]
    lines += [f"    {line}" for line in _normalised_columns(feature_set)]
    for index, group in enumerate(feature_set.groups):
        lines.append(f"    status[{index}] = {_status(feature_set, group)}")
    return "\n".join(lines) + "\n\n"


def gathered(features: Sequence[Feature]) -> list[str]:
    """Statements that bring what the features take together, in the state."""
    taking = {name: [declared for declared in features if name in declared.inputs] for name in INPUTS}
    lines = [
        f"collect_{series}(st, row_ns, {max(declared.window_s for declared in taking[series])})"
        for series in ("mids", "log_returns")
        if taking[series]
    ]
    if taking["candles"]:
        most = max(declared.candles for declared in taking["candles"])
        lines.append(f"are_new = collect_candles(st.candles, row_ns, {most})")
    for interval_s in sorted({declared.window_s for declared in taking["bars"]}):
        of_interval = [declared for declared in taking["bars"] if declared.window_s == interval_s]
        most, first = max(declared.candles for declared in of_interval), of_interval[0]
        lines.append(f"{are_new(first)} = collect_bars(st.bars, row_ns, {bars_at(first)}, {most})")
    return lines


def _normalised_columns(feature_set: FeatureSet) -> list[str]:
    """Statements that keep each normalised feature's value and write its normalised column."""
    lines = []
    for at, normalised in enumerate(feature_set.normalisations):
        source = feature_set.columns.index(normalised.feature)
        column = feature_set.columns.index(normalised.name)
        warm_up_ns = catalogue.normalised_warm_up_ns(normalised)
        call = f"{normalised.method}(st.normalised[{at}], row_ns, values[{source}], {normalised.window_s})"
        lines += [
            f"remember(st.normalised[{at}], row_ns, values[{source}])",
            f"values[{column}] = {call} + 0.0",
            f"reasons[{column}] = normalised_reason(st, row_ns, values[{column}], reasons[{source}], {warm_up_ns})",
            f"if reasons[{column}] != OK:",
            f"    values[{column}] = NAN",
        ]
    return lines


def _status(feature_set: FeatureSet, group: FeatureGroup) -> str:
    if group.name not in catalogue.GROUPS:
        # The normalised group is last: its status is the worst of the groups before it.
        return f"worst_status(status, {len(feature_set.groups) - 1})"
    source = catalogue.group_source(group.name)
    warm_up_ns = catalogue.group_warm_up_ns(group.name)
    if source is Source.NOTHING:
        return "OK"
    stale_after_ns = catalogue.stale_after_ns(group.name)
    if source is Source.BOOK:
        return f"book_status(st, row_ns, {warm_up_ns}, {stale_after_ns})"
    horizon_ns = catalogue.group_horizon_ns(group.name)
    if source is Source.BARS:
        at = bars_at(catalogue.GROUPS[group.name][0])
        return f"bar_status(st, row_ns, {at}, {horizon_ns}, {warm_up_ns}, {stale_after_ns})"
    if source is Source.TICKERS:
        return f"ticker_status(st, row_ns, {horizon_ns}, {warm_up_ns}, {stale_after_ns})"
    return f"source_status(st, row_ns, {source.value}, {horizon_ns}, {warm_up_ns}, {stale_after_ns})"
