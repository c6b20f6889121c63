"""Days of the feature log, drawn at random, rebuilt from raw data and compared by their bits.

A log that disagrees with its raw data has been written by something else. One twentieth of the dataset's symbol-days is
compared: so many whole ones, and of another as long a stretch as is left over; of fewer than twenty, a stretch of one
day that is so much of the whole, an hour at least.

A day that an earlier check compared, whose files and raw data are the same, counts. While there is such a one, it
stands for a day that is drawn and was not compared; of one of those an hour is compared then: with every build more of
the log is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from market.clock import DAY_NS, HOUR_NS, SECOND_NS, floor_to, format_iso, utc_date
from market.errors import InvalidRequest, NotFound
from storage.features.row_times import read_row_times
from training_sets.checks.blinding import Origin
from training_sets.checks.proven import ProvenRows
from training_sets.checks.recomputing import LogStretch
from transforms.catalogue import set_horizon_ns

SHARE: Final = 0.05
PARTS: Final = 24
"""Of one day that another stands for, one is compared: an hour."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of a symbol in [from_ns, to_ns], within one UTC day."""

    symbol: str
    from_ns: int
    to_ns: int


def draw_stretches(
    symbols: Sequence[str], spans: Sequence[tuple[int, int]], seed: int, proven: ProvenRows | None = None
) -> list[Stretch]:
    """What is compared, of disjoint [start, end) that a dataset covers. proven: what was compared before."""
    days = [
        (symbol, max(day_ns, start_ns), min(day_ns + DAY_NS, end_ns))
        for symbol in symbols
        for start_ns, end_ns in spans
        for day_ns in range(floor_to(start_ns, DAY_NS), end_ns, DAY_NS)
    ]
    generator = np.random.default_rng(seed)
    left_ns = floor_to(int(SHARE * sum(end_ns - start_ns for _, start_ns, end_ns in days)), SECOND_NS)
    drawn: dict[int, Stretch] = {}
    for at in generator.permutation(len(days)).tolist():
        symbol, start_ns, end_ns = days[at]
        length_ns = min(max(left_ns, HOUR_NS), end_ns - start_ns)
        start_ns += int(generator.integers(0, (end_ns - start_ns - length_ns) // SECOND_NS + 1)) * SECOND_NS
        drawn[at] = Stretch(symbol, start_ns, start_ns + length_ns - 1)
        left_ns -= length_ns
        if left_ns <= 0:
            break
    stretches = [drawn[at] for at in sorted(drawn)]
    return stretches if proven is None else _with_proven(stretches, days, generator, proven)


def _with_proven(
    stretches: Sequence[Stretch],
    days: Sequence[tuple[str, int, int]],
    generator: np.random.Generator,
    proven: ProvenRows,
) -> list[Stretch]:
    """The stretches; in place of one that was not compared one that was, as long, and of one of those a part.

    Where one has no other to stand for it, it is what is compared anew, and no part is.
    """
    spare = [
        Stretch(symbol, max(from_ns, start_ns), min(to_ns, end_ns - 1))
        for symbol, start_ns, end_ns in days
        for from_ns, to_ns in proven.stretches(symbol, start_ns)
    ]
    found = [drawn for drawn in stretches if drawn in spare]
    spare = [each for each in spare if each not in found]
    parts: list[Stretch] = []
    is_any_new = False
    # The longest have the fewest others.
    for drawn in sorted((each for each in stretches if each not in found), key=_length_ns, reverse=True):
        others = [each for each in spare if _length_ns(each) >= _length_ns(drawn)]
        if not others:
            found.append(drawn)
            is_any_new = True
            continue
        instead = min(others, key=_length_ns)
        spare.remove(instead)
        part_ns = floor_to(_length_ns(drawn) // PARTS, SECOND_NS)
        from_ns = drawn.from_ns + int(generator.integers(0, (_length_ns(drawn) - part_ns) // SECOND_NS + 1)) * SECOND_NS
        found.append(instead)
        parts.append(Stretch(drawn.symbol, from_ns, from_ns + part_ns))
    return [*found, *([parts[int(generator.integers(len(parts)))]] if parts and not is_any_new else [])]


def _length_ns(stretch: Stretch) -> int:
    return stretch.to_ns - stretch.from_ns


def check_stretches(stretches: Sequence[Stretch], origin: Origin) -> dict[str, Any]:
    """How many rows of the log were compared, and what could not be.

    Raises InvalidRequest with the first difference.
    """
    compared = before = 0
    unchecked: list[str] = []
    tasks: dict[Stretch, LogStretch] = {}
    for stretch in stretches:
        if origin.proven is not None:
            known = origin.proven.rows_compared(stretch.symbol, stretch.from_ns, stretch.to_ns)
            if known is not None:
                compared, before = compared + known, before + 1
                continue
        if (bounds := _comparable(stretch, origin)) is None:
            unchecked.append(f"{_told(stretch)}: raw data does not hold what its rows look back at")
        else:
            tasks[stretch] = LogStretch(origin.rebuild(stretch.symbol), *bounds)
    # One at a time in this process: memory holds a piece of one day.
    results = origin.recomputing.results([*tasks.values()], threads=1)
    found = {(each.symbol, each.from_ns, each.to_ns): each for each in results}
    for stretch, task in tasks.items():
        of_stretch = found[stretch.symbol, task.from_ns, task.to_ns]
        if (first := of_stretch.first) is not None:
            raise InvalidRequest(
                f"leakage: the feature log of {_told(stretch)} must be what its raw data gives, {first.feature} at "
                f"{format_iso(first.row_ns)} is {first.rebuilt}, was {first.served}"
            )
        compared += of_stretch.rows
        if origin.proven is not None:
            origin.proven.add_stretch(stretch.symbol, stretch.from_ns, stretch.to_ns, of_stretch.rows)
    return {
        "log_rows_rebuilt": compared,
        "log_days_proven_before": before,
        "log_days": len(stretches) - len(unchecked),
        "log_days_not_checked": unchecked,
    }


def _told(stretch: Stretch) -> str:
    return f"{stretch.symbol} {utc_date(stretch.from_ns)}"


def _comparable(stretch: Stretch, origin: Origin) -> tuple[int, int] | None:
    """The first and the last row of a stretch that raw data can give; None when there is none."""
    symbol, chosen = stretch.symbol, origin.chosen
    try:
        first_ns, last_ns = origin.raw[symbol].period(symbol)
        earlier = read_row_times(origin.log, symbol, chosen, from_ns=first_ns - DAY_NS, to_ns=first_ns - 1)
    except NotFound:
        return None
    from_ns, to_ns = max(stretch.from_ns, first_ns + 1), min(stretch.to_ns, floor_to(last_ns, SECOND_NS))
    if len(earlier) > 0:
        from_ns = max(from_ns, first_ns + set_horizon_ns(chosen))
    return (from_ns, to_ns) if from_ns <= to_ns else None
