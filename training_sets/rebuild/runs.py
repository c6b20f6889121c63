"""A run of days: UTC days of a symbol that follow each other, computed in one go by whichever process is given it.

1. Days that follow each other are computed in one run, whose rows are those of a run for each: the horizon before its
   first day, a day and more for candles and tickers, is gone through once and not for every day.
2. A day's files are written aside, a row group at a time, and renamed together: a rebuild that is interrupted or killed
   has whole days or none, and the next one continues from there.
3. The locks of a run's days keep other processes of this machine from computing them meanwhile; a day that another one
   computed all the same has the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from market.clock import DAY_NS, SECOND_NS, utc_date
from market.errors import Conflict
from storage.features.rebuilt_days import rebuilt_columns, write_rebuilt_day
from storage.file_locks import exclusive
from storage.places import Place
from training_sets.rebuild.due_days import Rebuild, still_due
from training_sets.rebuild.rebuild import rows_by_day, rows_in_groups, stream_rows
from training_sets.rebuild.revision import DayRevision
from transforms.catalogue import FEATURES, GROUPS, feature_set
from transforms.kernel import Kernel, compile_kernel

DueDay = tuple[int, dict[str, str]]
"""Begin of a day that is to be computed, ns, and the hash of the inputs of each group that it lacks."""
ROW_GROUP_ROWS: Final = 6 * 3600
"""Of a rebuilt day: 30 MB of the whole catalogue. A row group an hour would take twice the bytes on the disk."""
_LOCKS: Final = 256


@dataclass(frozen=True, slots=True)
class RebuiltDay:
    """One day of a symbol: rows computed, 0 when nothing was missing, and the groups they were computed for."""

    symbol: str
    date: str
    rows: int
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RebuildRun:
    """The task of an engine: days of one symbol that follow each other and lack the same groups."""

    rebuild: Rebuild
    due: tuple[DueDay, ...]

    def perform(self, is_stopping: Callable[[], bool]) -> list[RebuiltDay]:
        """Compute and write what is still missing; given up before the first day or after one where it is to stop."""
        done = []
        try:
            for day in self.days(is_stopping):
                done.append(day)
                if is_stopping():
                    break
        except Conflict:
            if not is_stopping():
                raise
        return done

    def days(self, is_stopping: Callable[[], bool] | None = None) -> Iterator[RebuiltDay]:
        """Each day as soon as it is whole. Raises Conflict when ``is_stopping`` ends the wait for another process."""
        rebuild = self.rebuild
        with ExitStack() as stack:
            for lock in sorted({lock_of(rebuild, utc_date(day_ns)) for day_ns, _ in self.due}):
                stack.enter_context(exclusive(lock, gives_up=is_stopping))
            due: list[DueDay] = []
            for day_ns, inputs in self.due:
                # Another build may have computed it while this one waited.
                lacking = still_due(rebuild, utc_date(day_ns), inputs)
                if lacking:
                    due.append((day_ns, lacking))
                else:
                    yield RebuiltDay(rebuild.symbol, utc_date(day_ns), 0, ())
            for run in runs_of(rebuild, due, len(due)):
                yield from _computed(run)

    def kernel(self) -> Kernel:
        """The kernel of the groups that the run lacks; of the whole set when normalised columns are among them.

        Columns that other versions have of such a group are computed with it: a day of a group is one file, whose rows
        answer every version.
        """
        rebuild, inputs = self.rebuild, self.due[0][1]
        chosen = rebuild.feature_set
        names = [name for name in chosen.columns if name in FEATURES]
        normalisations = chosen.normalisations
        if not any(name not in GROUPS for name in inputs):
            names = [name for name in names if FEATURES[name].group in inputs]
            normalisations = ()
        others: set[str] = set()
        for group in chosen.groups:
            if group.name in inputs and group.name in GROUPS:
                for day_ns, made_of in self.due:
                    date = utc_date(day_ns)
                    others |= rebuilt_columns(rebuild.features, group, rebuild.symbol, date, made_of[group.name])
        extra = sorted(others.difference(names) & FEATURES.keys())
        if not extra and len(names) == len([name for name in chosen.columns if name in FEATURES]):
            return compile_kernel(chosen, rebuild.kernel_cache)
        return compile_kernel(feature_set(chosen.version, [*names, *extra], normalisations), rebuild.kernel_cache)


def runs_of(rebuild: Rebuild, due: Sequence[DueDay], most_days: int) -> list[RebuildRun]:
    """Days that follow each other and lack the same groups, at most so many together."""
    runs: list[list[DueDay]] = []
    for day_ns, inputs in due:
        last = runs[-1] if runs else []
        if last and last[-1][0] + DAY_NS == day_ns and last[-1][1].keys() == inputs.keys() and len(last) < most_days:
            last.append((day_ns, inputs))
        else:
            runs.append([(day_ns, inputs)])
    return [RebuildRun(rebuild, tuple(run)) for run in runs]


def _computed(run: RebuildRun) -> Iterator[RebuiltDay]:
    """Days of which nothing is there, under the locks of the caller."""
    rebuild, kernel, inputs = run.rebuild, run.kernel(), dict(run.due)
    _, last_ns = rebuild.raw.period(rebuild.symbol)
    to_ns = min(run.due[-1][0] + DAY_NS - SECOND_NS, last_ns)
    pieces = stream_rows(rebuild.raw, rebuild.symbol, kernel, from_ns=run.due[0][0], to_ns=to_ns)
    for day_ns, of_day in rows_by_day(pieces):
        date = utc_date(day_ns)
        revision = DayRevision(rebuild, kernel.feature_set, day_ns, frozenset(inputs[day_ns]))
        count = write_rebuilt_day(
            rebuild.features,
            rebuild.symbol,
            kernel.feature_set.groups,
            ((rows, revision.available_ns(rows)) for rows in rows_in_groups(of_day, ROW_GROUP_ROWS)),
            date=date,
            inputs=inputs[day_ns],
            is_revising=revision.is_revising,
        )
        yield RebuiltDay(rebuild.symbol, date, count, tuple(inputs[day_ns]))


def lock_of(rebuild: Rebuild, date: str) -> Place:
    """One of a bounded number of locks: two days seldom share one, and then wait for each other."""
    number = crc32(f"{rebuild.symbol} {date}".encode()) % _LOCKS
    return rebuild.features.folder / ".rebuilding" / f"{number:03d}"
