"""A part of a row: neighbouring columns of one group as the source of one function, which kernels share.

1. What several features take of the same window is made once a row.
2. For each distinct demand on the source (kind and history) the part finds once a row whether it is met.
3. Each feature is one call; where its demand is not met, or it returns NaN, the reason is written beside the NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Final

from transforms import catalogue
from transforms.catalogue import FEATURES
from transforms.declaration import Feature, Source
from transforms.inputs import INPUTS
from transforms.jit import python_function
from transforms.state import BAR_MINUTES

PARTS: Final = "feature_service_parts"
"""The package that their modules are in, in a process that has loaded some."""
COLUMNS_A_PART: Final = 24
"""A set that differs by one feature compiles so many again at most."""
_HEADER: Final = '''"""Columns of group {group}, whose code is {fingerprint}; generated, do not edit."""

import math

from transforms.bars import last_bars
from transforms.candles import last_candles
from transforms.jit import jit_part
from transforms.position import present_position
from transforms.status import OK, UNDEFINED
from transforms.steps import (
    bar_reason,
    book_reason,
    candle_reason,
    history_reason,
    trade_reason,
    unknown_book_window,
    unknown_ticker,
)
from transforms.ticker import merged_ticker
from transforms.tiles import (
    last_log_returns,
    last_mids,
    open_interest_before,
    present_twice_mid,
    quote_window,
    trade_window,
)
{imports}
NAN = math.nan


@jit_part
'''


@dataclass(frozen=True)
class RowPart:
    """The features of neighbouring columns. first: that of the first of them. kept: that of its first kept value."""

    features: tuple[Feature, ...]
    first: int
    kept: int

    @property
    def module(self) -> str:
        """The name of its module."""
        return f"{PARTS}.{self.name}"

    @cached_property
    def name(self) -> str:
        """The name of its function: the group's, and a hash of all that is compiled."""
        digest = hashlib.sha256((self._header + self._body).encode()).hexdigest()[:16]
        return f"{self.features[0].group}_{digest}"

    @property
    def source(self) -> str:
        """Python source of its module, whose function has its name."""
        return f"{self._header}def {self.name}{self._body}"

    @property
    def call(self) -> str:
        """The statement by which a kernel calls it."""
        over_candles = f", {self.kept}, {are_new(self.features[0])}" if self.over_candles else ""
        return f"{self.name}(st, row_ns, values, reasons, {self.first}{over_candles})"

    @property
    def over_candles(self) -> list[Feature]:
        """Its features whose values are kept until the candles or bars are others."""
        return [declared for declared in self.features if {"candles", "bars"} & set(declared.inputs)]

    @property
    def _header(self) -> str:
        group = self.features[0].group
        imports = "".join(
            f"from {python_function(declared.function).__module__} import {_name(declared)} as {_alias(declared)}\n"
            for declared in {_alias(declared): declared for declared in self.features}.values()
        )
        return _HEADER.format(group=group, fingerprint=catalogue.group_fingerprint(group), imports=imports)

    @property
    def _body(self) -> str:
        kept = ", kept, are_new" if self.over_candles else ""
        lines = [f"(st, row_ns, values, reasons, first{kept}):", *_gathered(self.features)]
        demands: dict[str, str] = {}
        for declared in self.features:
            demand = _demand(declared)
            if demand and demand not in demands:
                demands[demand] = f"reason_{len(demands)}"
                lines.append(f"{demands[demand]} = {demand}")
        for column, declared in enumerate(self.features):
            is_kept = declared in self.over_candles
            call = f"st.candles.feature[kept + {self.over_candles.index(declared)}]" if is_kept else _call(declared)
            lines += _column(column, declared, call=call, reason=demands.get(_demand(declared), ""))
        return "\n    ".join(lines) + "\n"


def row_parts(columns: Sequence[str]) -> list[RowPart]:
    """The parts that a set's columns are made of, those apart that normalise others."""
    parts: list[RowPart] = []
    first = kept = 0
    declared = [FEATURES[name] for name in columns if name in FEATURES]
    for _group, neighbours in groupby(declared, key=lambda each: each.group):
        left = tuple(neighbours)
        while left:
            features, left = left[:COLUMNS_A_PART], left[COLUMNS_A_PART:]
            parts.append(RowPart(features, first, kept))
            first += len(features)
            kept += len(parts[-1].over_candles)
    return parts


def _gathered(features: Sequence[Feature]) -> list[str]:
    """Statements that make what the features take."""
    taking = {name: [declared for declared in features if name in declared.inputs] for name in INPUTS}
    lines = [
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
    return lines + _over_candles(taking["candles"] or taking["bars"])


def _over_candles(taking: Sequence[Feature]) -> list[str]:
    """Statements that compute what is kept as long as the candles, or the bars of an interval, are the same."""
    if not taking:
        return []
    at = bars_at(taking[0])
    known = "st.candles.known" if at is None else f"st.bars.known[{at}]"
    lines = ["if are_new:"]
    for count in sorted({declared.candles for declared in taking}):
        lines.append(f"    if {known} >= {count}:")
        if at is None:
            lines.append(f"        candles_{count} = last_candles(st.candles, {count})")
        else:
            lines.append(f"        bars_{count} = last_bars(st.bars, {at}, {count})")
        lines += [
            f"        st.candles.feature[kept + {place}] = {_call(declared)}"
            for place, declared in enumerate(taking)
            if declared.candles == count
        ]
    return lines


def bars_at(declared: Feature) -> int | None:
    """Where the interval of a feature of bars stands among BAR_MINUTES; None of any other."""
    return BAR_MINUTES.index(declared.window_s // 60) if declared.source is Source.BARS else None


def are_new(declared: Feature) -> str:
    """The name that tells whether a feature's candles or bars are others than those of the row before."""
    at = bars_at(declared)
    return "are_new" if at is None else f"are_new_{at}"


def _demand(declared: Feature) -> str:
    """The expression that tells why a feature cannot be computed in this row, "" when it always can."""
    match declared.source:
        case Source.BOOK:
            return f"book_reason(st, row_ns, {declared.warm_up_ns})"
        case Source.KLINES:
            return f"candle_reason(st, row_ns, {declared.candles}, {declared.warm_up_ns})"
        case Source.BARS:
            return f"bar_reason(st, row_ns, {bars_at(declared)}, {declared.candles}, {declared.warm_up_ns})"
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
    """Statements that write one column, counted from the part's first, and its reason."""
    if not reason:
        return [f"values[first + {column}] = {call}", f"reasons[first + {column}] = OK"]
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
        f"values[first + {column}] = NAN",
        f"reasons[first + {column}] = {reason}",
        f"if {reason} == OK:",
        f"    value = {call}",
        "    if value == value:",
        # -0.0 + 0.0 is 0.0: a row has one zero.
        f"        values[first + {column}] = value + 0.0",
        "    else:",
        f"        reasons[first + {column}] = {unknown}",
    ]


def _name(declared: Feature) -> str:
    return str(declared.function.__name__)


def _alias(declared: Feature) -> str:
    return f"{declared.group}_{_name(declared)}"
