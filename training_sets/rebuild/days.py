"""Rebuilding days: each UTC day of a symbol is computed once for its inputs, in any number of processes.

1. A day's inputs, by group: the raw files that its rows are computed from, their period, the scale and the start. A day
   whose groups all stand in the feature log with these inputs is skipped.
2. A day is computed for the groups that are missing, whichever registry version asked for the others.
3. Days that follow each other are computed in one run, whose rows are those of a run for each: the horizon before its
   first day, a day and more for candles and tickers, is gone through once and not for every day.
4. A day's files are written aside, a row group at a time, and renamed together: a rebuild that is interrupted or killed
   has whole days or none, and the next one continues from there. An interrupt ends it after the days that its processes
   have begun.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Final
from zlib import crc32

from market.clock import DAY_NS, SECOND_NS, floor_to, utc_date
from market.errors import Conflict, InvalidRequest
from storage.durable_files import exclusive
from storage.features.rebuilt_days import rebuilt_columns, write_rebuilt_day
from storage.places import Place
from storage.raw.manifest import RawPart
from training_sets.rebuild.due_days import Rebuild, due_inputs, still_due
from training_sets.rebuild.rebuild import rows_by_day, rows_in_groups, stream_rows
from training_sets.rebuild.revision import DayRevision
from transforms.catalogue import FEATURES, GROUPS, feature_set
from transforms.kernel import Kernel, compile_kernel

MOST_DAYS_A_RUN: Final = 7
"""Progress is reported at least weekly, others wait a week at most, and the horizon costs a seventh."""

_Due = tuple[int, dict[str, str]]
"""Begin of a day that is to be computed, ns, and the hash of the inputs of each group that it lacks."""
_is_stopping: Event | None = None
"""In a process of the pool: whether to begin no further day."""

WORTH_PROCESSES: Final = 10_000_000
"""Records and rows from which two processes are done sooner than this one. Each takes two seconds to begin, in which
this one goes through five million of a few columns."""
_LOCKS: Final = 256
ROW_GROUP_ROWS: Final = 6 * 3600
"""Of a rebuilt day: 30 MB of the whole catalogue. A row group an hour would take twice the bytes on the disk."""


@dataclass(frozen=True, slots=True)
class RebuiltDay:
    """One day: rows computed, 0 when nothing was missing, and the groups they were computed for."""

    date: str
    rows: int
    groups: tuple[str, ...]


def rebuild_days(
    rebuild: Rebuild,
    *,
    from_ns: int | None = None,
    to_ns: int | None = None,
    workers: int = 1,
    worth_processes: int = 0,
) -> Iterator[RebuiltDay]:
    """Rebuild every UTC day that ``[from_ns, to_ns]`` touches into the feature log; yields each as it is done.

    None is the end of the raw data. worth_processes: records and rows from which workers are begun; fewer are gone
    through here. The result is the same, bit for bit, whatever the number of workers.

    Raises NotFound when there is no raw data of the symbol, InvalidRequest when the period is outside of it.
    """
    first_ns, last_ns = rebuild.raw.period(rebuild.symbol)
    last_row_ns = floor_to(last_ns, SECOND_NS)
    begin_ns = max(first_ns if from_ns is None else from_ns, first_ns)
    end_ns = min(last_row_ns if to_ns is None else to_ns, last_row_ns)
    if end_ns < begin_ns:
        raise InvalidRequest(
            f"rebuild of {rebuild.symbol}: must reach into the raw data from {first_ns} to {last_ns}, "
            f"was {from_ns} to {to_ns}"
        )
    parts = rebuild.raw.parts(rebuild.symbol)
    days = range(floor_to(begin_ns, DAY_NS), end_ns + 1, DAY_NS)
    due = []
    for day_ns in days:
        inputs = due_inputs(rebuild, parts, day_ns, first_ns, last_row_ns)
        if inputs:
            due.append((day_ns, inputs))
        else:
            yield RebuiltDay(utc_date(day_ns), 0, ())
    if workers == 1 or len(due) <= 1 or _size(parts, [day_ns for day_ns, _ in due]) < worth_processes:
        for run in _runs(due, MOST_DAYS_A_RUN):
            yield from _rebuild_run(rebuild, run)
        return
    # spawn: a forked child would share the locks of this process's threads in whatever state they are.
    context = get_context("spawn")
    is_stopping = context.Event()
    runs = _runs(due, min(MOST_DAYS_A_RUN, -(-len(due) // workers)))
    for kernel in {_kernel(rebuild, run) for run in runs}:
        kernel.warm_up()  # compiled once here, not by every worker
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(is_stopping,)) as pool:
        try:
            for done in as_completed([pool.submit(_rebuild_run_here, rebuild, run) for run in runs]):
                yield from done.result()
        finally:
            is_stopping.set()
            pool.shutdown(cancel_futures=True)


def count_days(rebuild: Rebuild, *, from_ns: int | None, to_ns: int | None) -> int:
    """How many days ``rebuild_days`` will yield. Raises NotFound."""
    first_ns, last_ns = rebuild.raw.period(rebuild.symbol)
    begin_ns = max(first_ns if from_ns is None else from_ns, first_ns)
    end_ns = min(last_ns if to_ns is None else to_ns, last_ns)
    return max(0, end_ns // DAY_NS - begin_ns // DAY_NS + 1)


def _size(parts: Sequence[RawPart], days: Sequence[int]) -> int:
    """About how many records a rebuild of these days reads and how many rows it makes."""
    begin_ns, end_ns = days[0], days[-1] + DAY_NS
    read = [part for part in parts if part.first_ns < end_ns and part.last_ns >= begin_ns]
    return sum(file.records for part in read for file in part.files) + len(days) * (DAY_NS // SECOND_NS)


def _runs(due: Sequence[_Due], most_days: int) -> list[list[_Due]]:
    """Days that follow each other and lack the same groups, at most so many together."""
    runs: list[list[_Due]] = []
    for day_ns, inputs in due:
        last = runs[-1] if runs else []
        if last and last[-1][0] + DAY_NS == day_ns and last[-1][1].keys() == inputs.keys() and len(last) < most_days:
            last.append((day_ns, inputs))
        else:
            runs.append([(day_ns, inputs)])
    return runs


def _rebuild_run(rebuild: Rebuild, run: Sequence[_Due]) -> Iterator[RebuiltDay]:
    """Compute and write the days of a run, each as soon as it is whole; no other process computes them meanwhile."""
    with ExitStack() as stack:
        for lock in sorted({_lock_of(rebuild, utc_date(day_ns)) for day_ns, _ in run}):
            stack.enter_context(exclusive(lock, gives_up=None if _is_stopping is None else _is_stopping.is_set))
        due: list[_Due] = []
        for day_ns, inputs in run:
            # Another build may have computed it while this one waited.
            lacking = still_due(rebuild, utc_date(day_ns), inputs)
            if lacking:
                due.append((day_ns, lacking))
            else:
                yield RebuiltDay(utc_date(day_ns), 0, ())
        for following in _runs(due, len(due)):
            yield from _compute_run(rebuild, following)


def _compute_run(rebuild: Rebuild, run: Sequence[_Due]) -> Iterator[RebuiltDay]:
    kernel = _kernel(rebuild, run)
    _, last_ns = rebuild.raw.period(rebuild.symbol)
    to_ns = min(run[-1][0] + DAY_NS - SECOND_NS, last_ns)
    inputs = dict(run)
    pieces = stream_rows(rebuild.raw, rebuild.symbol, kernel, from_ns=run[0][0], to_ns=to_ns)
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
        yield RebuiltDay(date, count, tuple(inputs[day_ns]))


def _lock_of(rebuild: Rebuild, date: str) -> Place:
    """One of a bounded number of locks: two days seldom share one, and then wait for each other."""
    number = crc32(f"{rebuild.symbol} {date}".encode()) % _LOCKS
    return rebuild.features.folder / ".rebuilding" / f"{number:03d}"


def _begin_worker(is_stopping: Event) -> None:
    """Ctrl-C on a terminal reaches every process; the one that waits for the days decides, and says so by an event."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    global _is_stopping  # noqa: PLW0603  # what a pool hands its processes can be kept nowhere else
    _is_stopping = is_stopping


def _end_with_parent() -> None:
    """A process of a pool whose owner was killed waits for work without end: the kernel ends it too."""
    set_parent_death_signal = 1
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(set_parent_death_signal, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def _rebuild_run_here(rebuild: Rebuild, run: Sequence[_Due]) -> list[RebuiltDay]:
    """A run in a process of the pool, given up before its first day or after one when the pool stops."""
    assert _is_stopping is not None, "the process was begun by _begin_worker"
    done = []
    try:
        for day in _rebuild_run(rebuild, run):
            done.append(day)
            if _is_stopping.is_set():
                break
    except Conflict:
        if not _is_stopping.is_set():
            raise
    return done


def _kernel(rebuild: Rebuild, run: Sequence[_Due]) -> Kernel:
    """The kernel of the groups that a run lacks; of the whole set when normalised columns are among them.

    Columns that other versions have of such a group are computed with it: a day of a group is one file, whose rows
    answer every version.
    """
    inputs = run[0][1]
    chosen = rebuild.feature_set
    names = [name for name in chosen.columns if name in FEATURES]
    normalisations = chosen.normalisations
    if not any(name not in GROUPS for name in inputs):
        names = [name for name in names if FEATURES[name].group in inputs]
        normalisations = ()
    others: set[str] = set()
    for group in chosen.groups:
        if group.name in inputs and group.name in GROUPS:
            for day_ns, made_of in run:
                date = utc_date(day_ns)
                others |= rebuilt_columns(rebuild.features, group, rebuild.symbol, date, made_of[group.name])
    extra = sorted(others.difference(names) & FEATURES.keys())
    if not extra and len(names) == len([name for name in chosen.columns if name in FEATURES]):
        return compile_kernel(chosen, rebuild.kernel_cache)
    return compile_kernel(feature_set(chosen.version, [*names, *extra], normalisations), rebuild.kernel_cache)
