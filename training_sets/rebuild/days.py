"""Rebuilding days: each UTC day of a symbol is computed once for its inputs, by whichever engine.

1. A day's inputs, by group: the raw files that its rows are computed from, their period, the scale and the start. A day
   whose groups all stand in the feature log with these inputs is skipped.
2. A day is computed for the groups that are missing, whichever registry version asked for the others.
3. What is missing is cut into runs of days, the tasks of an engine. An interrupt lets the days that have begun end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from market.clock import DAY_NS, SECOND_NS, floor_to, format_period, utc_date
from market.errors import InvalidRequest
from storage.raw.manifest import RawPart
from training_sets.engines.engine import Engine
from training_sets.rebuild.due_days import Rebuild, due_inputs
from training_sets.rebuild.runs import DueDay, RebuiltDay, runs_of

MOST_DAYS_A_RUN: Final = 7
"""Progress is reported at least weekly, others wait a week at most, and the horizon costs a seventh."""
WORTH_ENGINE: Final = 10_000_000
"""Records and rows from which two processes are done sooner than this one. Each takes two seconds to begin, in which
this one goes through five million of a few columns."""


@dataclass(frozen=True, slots=True)
class DayRange:
    """The UTC days of a rebuild that ``[from_ns, to_ns]`` touches; None is the end of the raw data."""

    rebuild: Rebuild
    from_ns: int | None = None
    to_ns: int | None = None

    def row_times(self) -> tuple[int, int]:
        """First and last row time that there is raw data for.

        Raises NotFound when there is none of the symbol, InvalidRequest when the range is outside of it.
        """
        first_ns, last_ns = self.rebuild.raw.period(self.rebuild.symbol)
        last_row_ns = floor_to(last_ns, SECOND_NS)
        begin_ns = first_ns if self.from_ns is None else max(self.from_ns, first_ns)
        end_ns = last_row_ns if self.to_ns is None else min(self.to_ns, last_row_ns)
        if end_ns < begin_ns:
            raise InvalidRequest(
                f"rebuild of {self.rebuild.symbol}: must reach into the raw data, {format_period(first_ns, last_ns)}, "
                f"was {format_period(self.from_ns, self.to_ns)}"
            )
        return begin_ns, end_ns


def rebuild_days(
    ranges: Sequence[DayRange], *, engine: Engine | None = None, worth_engine: int = 0
) -> Iterator[RebuiltDay]:
    """Rebuild every day of the ranges into the feature log; yields each as it is done.

    engine: what computes the missing days; None is this thread, a day at a time. worth_engine: records and rows from
    which the engine is asked; fewer are gone through here. The result is the same, bit for bit, whatever the engine.

    Raises NotFound when there is no raw data of a symbol, InvalidRequest when a range is outside of it, and
    StoreUnavailable when the engine cannot be reached.
    """
    missing: list[tuple[Rebuild, list[DueDay]]] = []
    size = 0
    for days in ranges:
        rebuild, due = days.rebuild, []
        parts = rebuild.raw.parts(rebuild.symbol)
        for day_ns, inputs in _inputs(days, parts):
            if inputs:
                due.append((day_ns, inputs))
            else:
                yield RebuiltDay(rebuild.symbol, utc_date(day_ns), 0, ())
        if due:
            missing.append((rebuild, due))
            size += _size(parts, due)
    count = sum(len(due) for _, due in missing)
    if engine is None or count <= 1 or size < worth_engine:
        for rebuild, due in missing:
            for run in runs_of(rebuild, due, MOST_DAYS_A_RUN):
                yield from run.days()
        return
    most_days = min(MOST_DAYS_A_RUN, -(-count // engine.workers))
    runs = [run for rebuild, due in missing for run in runs_of(rebuild, due, most_days)]
    for kernel in {run.kernel() for run in runs}:
        kernel.warm_up()  # compiled once here, not by every worker
    for done in engine.run(runs):
        yield from done


def count_days(days: DayRange) -> int:
    """How many days ``rebuild_days`` will yield. Raises what it does."""
    begin_ns, end_ns = days.row_times()
    return end_ns // DAY_NS - begin_ns // DAY_NS + 1


def _inputs(days: DayRange, parts: list[RawPart]) -> Iterator[DueDay]:
    """Each day of the range, and the inputs of the groups that it lacks."""
    begin_ns, end_ns = days.row_times()
    first_ns, last_ns = days.rebuild.raw.period(days.rebuild.symbol)
    for day_ns in range(floor_to(begin_ns, DAY_NS), end_ns + 1, DAY_NS):
        yield day_ns, due_inputs(days.rebuild, parts, day_ns, first_ns, floor_to(last_ns, SECOND_NS))


def _size(parts: Sequence[RawPart], due: Sequence[DueDay]) -> int:
    """About how many records a rebuild of these days reads and how many rows it makes."""
    begin_ns, end_ns = due[0][0], due[-1][0] + DAY_NS
    read = [part for part in parts if part.first_ns < end_ns and part.last_ns >= begin_ns]
    return sum(file.records for part in read for file in part.files) + len(due) * (DAY_NS // SECOND_NS)
