"""The plan: a feature set turned into the source of one kernel that computes its columns in order.

1. The inputs that the chosen features take are gathered once a row: the sums of each window, mids and candles at their
   longest, the merged ticker.
2. For each distinct demand on a source (kind and history) the kernel finds once a row whether it is met.
3. Each feature is one call; where its demand is not met, or it returns NaN, the reason is written beside the NaN.
4. Each group's status follows from its source.
"""

from __future__ import annotations

from typing import Final

from transforms import catalogue
from transforms.catalogue import FEATURES, STALE_AFTER_NS
from transforms.declaration import Feature, Source
from transforms.inputs import INPUTS
from transforms.jit import python_function
from transforms.rows import FeatureGroup, FeatureSet

_HEADER: Final = '''"""The kernel of feature set {fingerprint} (registry {version}); generated, do not edit."""

import math

import numba

from market.clock import SECOND_NS
from transforms.candles import collect_candles, last_candles
from transforms.normalisation import min_max, remember, z_score
from transforms.position import present_position
from transforms.status import NO_DATA, OK, UNDEFINED
from transforms.steps import (
    apply_record,
    begin_tile,
    book_reason,
    book_status,
    candle_reason,
    end_tile,
    history_reason,
    normalised_reason,
    source_status,
    start,
    ticker_status,
    trade_reason,
    unknown_book_window,
    unknown_ticker,
    worst_status,
)
from transforms.ticker import merged_ticker
from transforms.tiles import (
    collect_log_returns,
    collect_mids,
    last_log_returns,
    last_mids,
    open_interest_before,
    present_twice_mid,
    quote_window,
    trade_window,
)
{imports}
NAN = math.nan
'''

_LOOP: Final = '''
@numba.njit(cache=True, error_model="numpy", nogil=True)
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
        while applied < records.shape[0] and records[applied].recv_ns < end_ns:
            apply_record(st, records[applied])
            applied += 1
        end_tile(st)
        is_due = rows < due_ns.shape[0] and due_ns[rows] == end_ns
        if is_due or {remembers} and end_ns % SECOND_NS == 0:
            row = rows if is_due else due_ns.shape[0]
            compute_row(st, end_ns, values[row], reasons[row], status[row])
            rows += 1 if is_due else 0
        begin_tile(st)
    return applied


@numba.njit(cache=True, error_model="numpy", nogil=True)
def begin(state, start_ns):
    """Begin the history of every source at ``start_ns``, unless it has begun."""
    start(state[0], start_ns)
'''


def kernel_source(feature_set: FeatureSet) -> str:
    """Python source of the kernel module of a feature set."""
    features = [FEATURES[name] for name in feature_set.columns if name in FEATURES]
    imports = "".join(
        f"from {python_function(declared.function).__module__} import {_name(declared)} as {_alias(declared)}\n"
        for declared in {_alias(declared): declared for declared in features}.values()
    )
    header = _HEADER.format(fingerprint=feature_set.fingerprint, version=feature_set.version, imports=imports)
    loop = _LOOP.format(remembers=bool(feature_set.normalisations))
    return header + _row_function(feature_set, features) + loop


def _row_function(feature_set: FeatureSet, features: list[Feature]) -> str:
    lines = [
        "",
        "",
        '@numba.njit(error_model="numpy", nogil=True)',
        "def compute_row(st, row_ns, values, reasons, status):",
    ]
    lines += [f"    {line}" for line in _gather(features)]
    demands: dict[str, str] = {}
    for declared in features:
        demand = _demand(declared)
        if demand and demand not in demands:
            demands[demand] = f"reason_{len(demands)}"
            lines.append(f"    {demands[demand]} = {demand}")
    over_candles = [declared for declared in features if "candles" in declared.inputs]
    for column, declared in enumerate(features):
        is_kept = declared in over_candles
        call = f"st.candles.feature[{over_candles.index(declared)}]" if is_kept else _call(declared)
        reason = demands.get(_demand(declared), "")
        lines += [f"    {line}" for line in _column(column, declared, call=call, reason=reason)]
    lines += [f"    {line}" for line in _normalised_columns(feature_set)]
    for index, group in enumerate(feature_set.groups):
        lines.append(f"    status[{index}] = {_status(feature_set, group)}")
    return "\n".join(lines) + "\n\n"


def _gather(features: list[Feature]) -> list[str]:
    """Statements that make the inputs of a row."""
    lines = []
    taking = {name: [declared for declared in features if name in declared.inputs] for name in INPUTS}
    for series in ("mids", "log_returns"):
        if taking[series]:
            longest_s = max(declared.window_s for declared in taking[series])
            lines.append(f"collect_{series}(st, row_ns, {longest_s})")
    lines += [
        f"trades_{window} = trade_window(st.tiles, row_ns, {window})"
        for window in sorted({declared.window_s for declared in taking["trades"]})
    ]
    lines += [
        f"quotes_{window} = quote_window(st, row_ns, {window})"
        for window in sorted({declared.window_s for declared in taking["quotes"]})
    ]
    if taking["ticker"]:
        lines.append("ticker = merged_ticker(st.ticker, row_ns)")
    if taking["position"]:
        lines.append("position = present_position(st.position, row_ns)")
    if taking["candles"]:
        most = max(declared.candles for declared in taking["candles"])
        lines.append(f"if collect_candles(st.candles, row_ns, {most}):")
        for count in sorted({declared.candles for declared in taking["candles"]}):
            lines.append(f"    if st.candles.known >= {count}:")
            lines.append(f"        candles_{count} = last_candles(st.candles, {count})")
            lines += [
                f"        st.candles.feature[{at}] = {_call(declared)}"
                for at, declared in enumerate(taking["candles"])
                if declared.candles == count
            ]
    return lines


def _demand(declared: Feature) -> str:
    """The expression that tells why a feature cannot be computed in this row, "" when it always can."""
    match declared.source:
        case Source.BOOK:
            return f"book_reason(st, row_ns, {declared.warm_up_ns})"
        case Source.KLINES:
            return f"candle_reason(st, row_ns, {declared.candles}, {declared.warm_up_ns})"
        case Source.TRADES:
            horizon_ns = catalogue.group_horizon_ns(declared.group)
            return f"trade_reason(st, row_ns, {horizon_ns}, {declared.warm_up_ns})"
        case Source.TICKERS:
            return f"history_reason(st, row_ns, {declared.source.value}, {declared.warm_up_ns})"
        case Source.POSITIONS:
            return "OK"
        case Source.NOTHING:
            return ""


def _call(declared: Feature) -> str:
    """The expression that computes a feature."""
    arguments = ", ".join(
        INPUTS[name].expression.format(window=declared.window_s, candles=declared.candles)
        if name in INPUTS
        else str(declared.parameters[name])
        for name in declared.inputs
    )
    return f"{_alias(declared)}({arguments})"


def _column(column: int, declared: Feature, *, call: str, reason: str) -> list[str]:
    """Statements that write one column and its reason."""
    if not reason:
        return [f"values[{column}] = {call}", f"reasons[{column}] = OK"]
    match declared.source:
        case Source.BOOK:
            unknown = f"unknown_book_window(st, row_ns, {declared.horizon_ns})"
        case Source.TICKERS:
            unknown = "unknown_ticker(st, row_ns)"
        case Source.POSITIONS:
            unknown = "book_reason(st, row_ns, 0)"
        case _:
            unknown = "UNDEFINED"
    return [
        f"values[{column}] = NAN",
        f"reasons[{column}] = {reason}",
        f"if {reason} == OK:",
        f"    value = {call}",
        "    if value == value:",
        # -0.0 + 0.0 is 0.0: a row has one zero.
        f"        values[{column}] = value + 0.0",
        "    else:",
        f"        reasons[{column}] = {unknown}",
    ]


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
    stale_after_ns = STALE_AFTER_NS[source]
    if source is Source.BOOK:
        return f"book_status(st, row_ns, {warm_up_ns}, {stale_after_ns})"
    horizon_ns = catalogue.group_horizon_ns(group.name)
    if source is Source.TICKERS:
        return f"ticker_status(st, row_ns, {horizon_ns}, {warm_up_ns}, {stale_after_ns})"
    return f"source_status(st, row_ns, {source.value}, {horizon_ns}, {warm_up_ns}, {stale_after_ns})"


def _name(declared: Feature) -> str:
    return str(declared.function.__name__)


def _alias(declared: Feature) -> str:
    return f"{declared.group}_{_name(declared)}"
