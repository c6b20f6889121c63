"""Availability: for which period a symbol has rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, floor_to, format_iso, parse_iso_ns, utc_date
from market.errors import NotFound
from storage.features.log import FeatureLog
from storage.features.parts import REBUILT
from storage.features.row_times import read_row_times
from storage.places import matching
from storage.raw.raw_data import RawData
from training_sets.samples.prices import MID
from transforms.rows import FeatureSet


def available_period(log: FeatureLog, symbol: str, rows_of: FeatureSet = MID) -> tuple[int, int] | None:
    """The first and the last row time of a symbol in the feature log; None when there is none.

    rows_of: whose rows; a version without the mid price has rows too. Reads the first and the last day alone.
    Raises InvalidRequest when the symbol cannot name a folder.
    """
    folder = log.of_symbol(rows_of.groups[0], symbol)
    days = sorted(path.name.removeprefix("date=") for path in matching(folder, "date=*"))
    ends = []
    for day, row in ((days[0], 0), (days[-1], -1)) if days else ():
        day_ns = parse_iso_ns(day)
        row_ns = read_row_times(log, symbol, rows_of, from_ns=day_ns, to_ns=day_ns + DAY_NS - 1).row_ns
        if len(row_ns) == 0:
            return None
        ends.append(int(row_ns[row]))
    return (ends[0], ends[1]) if ends else None


def stored_period(log: FeatureLog, raw: RawData, symbol: str, rows_of: FeatureSet = MID) -> tuple[int, int] | None:
    """The first and the last row time that the feature log has or raw Parquet can give; None when there is none."""
    known = [available_period(log, symbol, rows_of)]
    try:
        first_ns, last_ns = raw.period(symbol)
    except NotFound:
        pass
    else:
        first_row_ns, last_row_ns = floor_to(first_ns, SECOND_NS) + SECOND_NS, floor_to(last_ns, SECOND_NS)
        if first_row_ns <= last_row_ns:
            known.append((first_row_ns, last_row_ns))
    periods = [period for period in known if period is not None]
    return (min(start for start, _ in periods), max(end for _, end in periods)) if periods else None


def stored_days(log: FeatureLog, raw: RawData, symbol: str, rows_of: FeatureSet = MID) -> set[str]:
    """The UTC dates of which there is more than a minute of raw data, or rows that no raw data is there to give.

    A rebuild fills the hole of a missing day with rows of silence: they are not counted as data.
    """
    folder = log.of_symbol(rows_of.groups[0], symbol)
    served = {path.parent.name.removeprefix("date=") for path in matching(folder, "date=*/part-*.parquet")}
    rebuilt = {path.parent.name.removeprefix("date=") for path in matching(folder, f"date=*/{REBUILT}-*.parquet")}
    held: Counter[str] = Counter()
    parts = raw.parts(symbol)
    for part in parts:
        for day_ns in range(floor_to(part.first_ns, DAY_NS), part.last_ns + 1, DAY_NS):
            if any(f"date={utc_date(day_ns)}/" in file.path for file in part.files):
                held[utc_date(day_ns)] += min(part.last_ns, day_ns + DAY_NS) - max(part.first_ns, day_ns)
    first = min((utc_date(part.first_ns) for part in parts), default="")
    last = max((utc_date(part.last_ns) for part in parts), default="")
    without_raw = {day for day in rebuilt if not first <= day <= last}
    return served | without_raw | {day for day, held_ns in held.items() if held_ns > MINUTE_NS} | {first, last}


def told_periods(available: Mapping[str, tuple[int, int] | None]) -> str:
    """The periods as text for an error."""
    return ", ".join(
        f"{symbol} has no rows"
        if known is None
        else f"{symbol} has rows from {format_iso(known[0])} to {format_iso(known[1])}"
        for symbol, known in available.items()
    )


def why_empty(start_ns: int, end_ns: int, available: Mapping[str, tuple[int, int] | None]) -> str:
    """Why a period [start_ns, end_ns) has no rows, though none was dropped, by what each symbol has: one word.

    insufficient_historical_data: the rows begin after it. no_data_in_period: they end before it, or there are none.
    data_gap: there are rows before and after it, or in it, but none that could be sampled with a label.
    """
    known = [period for period in available.values() if period is not None]
    if known and all(first_ns >= end_ns for first_ns, _ in known):
        return "insufficient_historical_data"
    if all(last_ns < start_ns for _, last_ns in known):
        return "no_data_in_period"
    return "data_gap"
