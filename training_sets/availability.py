"""Availability: for which period a symbol has rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from market.clock import DAY_NS, format_iso, parse_iso_ns
from storage.feature_log import group_folder, read_feature_log
from storage.instruments import checked_symbol
from training_sets.prices import MID
from transforms.rows import FeatureSet


def available_period(features_folder: Path, symbol: str, rows_of: FeatureSet = MID) -> tuple[int, int] | None:
    """The first and the last row time of a symbol in the feature log; None when there is none.

    rows_of: whose rows; a version without the mid price has rows too. Reads the first and the last day alone.
    Raises InvalidRequest when the symbol cannot name a folder.
    """
    folder = group_folder(features_folder, rows_of.groups[0]) / f"symbol={checked_symbol(symbol)}"
    days = sorted(path.name.removeprefix("date=") for path in folder.glob("date=*"))
    ends = []
    for day, row in ((days[0], 0), (days[-1], -1)) if days else ():
        day_ns = parse_iso_ns(day)
        rows, _ = read_feature_log(features_folder, symbol, rows_of, from_ns=day_ns, to_ns=day_ns + DAY_NS)
        if len(rows) == 0:
            return None
        ends.append(int(rows.row_ns[row]))
    return (ends[0], ends[1]) if ends else None


def told_periods(available: Mapping[str, tuple[int, int] | None]) -> str:
    """The periods as text for an error."""
    return ", ".join(
        f"{symbol} has no rows"
        if known is None
        else f"{symbol} has rows from {format_iso(known[0])} to {format_iso(known[1])}"
        for symbol, known in available.items()
    )
