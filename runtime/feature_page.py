"""The page docs/features.md, made from the declarations."""

from __future__ import annotations

import inspect
import math
import sys
from pathlib import Path
from typing import Final

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from transforms.catalogue import GROUPS, OUR_GROUPS, group_source, group_warm_up_ns, stale_after_ns
from transforms.cross_section import SectionFeature
from transforms.declaration import Feature, Source
from transforms.table_feature import TableFeature
from transforms.table_group import TableGroup

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "features.md"

_INTRODUCTION: Final = """\
# Features

<!-- Made by `feature-service features lock` from the declarations in transforms/features. Do not edit. -->

Every feature the service computes. Row time is `b`, a whole UTC second; a window `W` covers `[b - W, b)` by the time of
receipt. *Horizon* is how far back from `b` a value can see, apart from the order book at `b`. NaN means unknown: by the
rule given for each feature, and also while there is less history than its horizon needs (WARMUP), while its source has
never been seen (NO_DATA), and for order book features while the book has lost its sequence (GAP).

Quantities are in the base currency, prices in the quote currency. In a registry version any of these may be normalised:
`normalization: {type: z_score, window: 5m}` on `x` adds the column `x_z_5m`, `min_max` adds `x_mm_5m`.

## What the names do not say

- Deviations are of the population (`ddof = 0`): over four returns they are 13 % below those of a sample.
- `volatility_1m` is computed from mid prices, second by second, `volatility_5m` from closes, minute by minute: their
  ratio is meaningless.
- `returns_3_candles` are two returns, from the first close to the third; `returns_3m` are three.
- Identical features under two names: `roc_5m` and `returns_5m`; `net_aggressor_pressure` and `signed_volume_3s`; each
  `candle_<i>_..._small` is 1 where its `_large` is 0.
- `buy_sell_volume_ratio` is unknown while nothing was sold, often in a quiet market, and has no upper bound;
  `net_aggressor_pressure_norm` expresses the same between -1 and 1, and is unknown only while nothing was traded.
- `pattern_bullish_engulfing`, `pattern_bearish_engulfing`, `pattern_bullish_harami` and `pattern_bearish_harami`
  never hold where a candle opens at the previous close, as on Bybit: their `_touching` forms, which replace them in
  registry 2.1.0, do.
- A bar is the exchange's own candle of an interval, confirmed and ended: one confirmed before its end by our clock
  counts from its end on. One-minute candles count from when they arrive.
- Position features are 0 when no position is known, and `entry_price` is then the mid price: the group's status,
  NO_DATA, says that no position was received. `realized_pnl` stays for a day after a position is closed.
"""


def feature_page() -> str:
    """The whole page as Markdown."""
    return _INTRODUCTION + "".join(map(group_section, OUR_GROUPS))


def group_section(group: str) -> str:
    """The part of the page on a group of a stream."""
    features, source = GROUPS[group], group_source(group)
    lines = [f"\n## {group}\n"]
    if source is Source.NOTHING:
        lines.append("Reads nothing but the row time.\n")
    else:
        stale = duration_text(stale_after_ns(group))
        lines.append(
            f"Reads {_told_source(group)}. STALE after {stale} of silence; "
            f"every feature has its history after {duration_text(group_warm_up_ns(group))}.\n"
        )
    if (defined := _defined(features[0])) is not None:
        lines.append(f"{defined}\n")
    lines += ["| name | formula | NaN | unit | range | horizon |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{declared.name}` | {_cell(declared.formula)} | {_cell(declared.nan_rule)} | {declared.unit} "
        f"| {_range(declared)} | {duration_text(declared.horizon_ns)} |"
        for declared in features
    ]
    return "\n".join(lines) + "\n"


def _defined(declared: Feature) -> str | None:
    """What the formulas of a group's module use: the paragraphs of its docstring after the first; None without any."""
    told = inspect.getdoc(sys.modules[declared.function.__module__]) or ""
    return told.partition("\n\n")[2] or None


def _told_source(group: str) -> str:
    source, first = group_source(group), GROUPS[group][0]
    return f"bars of {duration_text(first.window_s * SECOND_NS)}" if source is Source.BARS else source.name.lower()


def table_group_section(group: TableGroup) -> str:
    """The same of a group over tables."""
    lines = [
        f"\n## {group.name}\n",
        f"Reads {', '.join(group.tables)}.\n",
        "| name | formula | NaN | unit | range |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{each.name}` | {_cell(each.formula)} | {_cell(each.nan_rule)} | {each.unit} | {_range(each)} |"
        for each in group.columns
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.rstrip(".").replace("|", "\\|")


def _range(declared: Feature | TableFeature | SectionFeature) -> str:
    if math.isinf(declared.low) and math.isinf(declared.high):
        return "any"
    low = "" if math.isinf(declared.low) else f"{declared.low:g} ≤ "
    high = "" if math.isinf(declared.high) else f" ≤ {declared.high:g}"
    return f"{low}x{high}"


def duration_text(duration_ns: int) -> str:
    """A duration for a person, in its largest whole unit."""
    if duration_ns == 0:
        return "0"
    for unit_ns, unit in ((DAY_NS, "d"), (HOUR_NS, "h"), (MINUTE_NS, "m")):
        if duration_ns % unit_ns == 0:
            return f"{duration_ns // unit_ns} {unit}"
    return f"{duration_ns // SECOND_NS} s"
