"""Recomputing: what a leakage check computes again from raw data, in tasks that any engine may perform.

1. A task is of one symbol: rows of a run from their past alone, or a stretch of a day of the feature log. Who asks
   settles which, so that what is found does not depend on where, or in which order, tasks are performed.
2. A difference is a result and no error: who asks tells the first in its own order, not the first that was found.
3. An engine is given only symbols whose raw data every process reads; what is on a tape as well is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from market.clock import SECOND_NS, utc_date
from market.errors import Conflict
from quality.parity import Divergence, compare_rows
from storage.raw.raw_data import RawData
from storage.raw.tables import TABLES
from training_sets.engines.engine import Engine, Task
from training_sets.rebuild.days import WORTH_ENGINE
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.rebuild import rebuild_rows_at, rows_in_groups, stream_rows
from training_sets.rebuild.runs import ROW_GROUP_ROWS
from training_sets.rebuild.sparse_rows import MANY, near_horizon_ns, rebuild_sparse_rows
from transforms.catalogue import set_horizon_ns, set_kinds
from transforms.engine import ROWS_A_CALL
from transforms.kernel import compile_kernel
from transforms.rows import FeatureRows

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class RowsOfPast:
    """Rows of a symbol as their past gives them. row_ns: int64 (n,), ascending; values: float64 (n, columns)."""

    symbol: str
    row_ns: Int64s
    values: Float64s


@dataclass(frozen=True, slots=True)
class PastRows:
    """The task: the rows of a run. is_whole: read all of their past, not only what is near, see ``sparse_rows``."""

    rebuild: Rebuild
    row_ns: tuple[int, ...]
    is_whole: bool

    def perform(self, is_stopping: Callable[[], bool]) -> RowsOfPast:  # noqa: ARG002  # a run is not cut
        """Raises NotFound, CorruptStore."""
        rebuild, row_ns = self.rebuild, np.array(self.row_ns, np.int64)
        again = rebuild_rows_at if self.is_whole else rebuild_sparse_rows
        kernel = compile_kernel(rebuild.feature_set, rebuild.kernel_cache)
        return RowsOfPast(rebuild.symbol, row_ns, again(rebuild.raw, rebuild.symbol, kernel, row_ns).values)

    def size(self) -> float:
        """About how many records it reads."""
        chosen = self.rebuild.feature_set
        kinds, first_ns, last_ns = set_kinds(chosen), self.row_ns[0], self.row_ns[-1]
        begin_ns = first_ns - set_horizon_ns(chosen)
        if self.is_whole:
            return _records(self.rebuild, kinds, begin_ns, last_ns)
        near_ns = near_horizon_ns(chosen)
        # What two rows look back at is read once.
        read_from = (max(at_ns - near_ns, before_ns) for before_ns, at_ns in pairwise((0, *self.row_ns)))
        near = sum(_records(self.rebuild, kinds & MANY, *span) for span in zip(read_from, self.row_ns, strict=True))
        return near + _records(self.rebuild, kinds - MANY, begin_ns, last_ns)


@dataclass(frozen=True, slots=True)
class ComparedStretch:
    """How many rows of the log in [from_ns, to_ns] were compared, and the first that differs; None where none does."""

    symbol: str
    from_ns: int
    to_ns: int
    rows: int
    first: Divergence | None


@dataclass(frozen=True, slots=True)
class LogStretch:
    """The task: rows of the feature log in [from_ns, to_ns], of one UTC day, against what raw data gives."""

    rebuild: Rebuild
    from_ns: int
    to_ns: int

    def perform(self, is_stopping: Callable[[], bool]) -> ComparedStretch:
        """Up to the first difference. Raises NotFound, CorruptStore, and Conflict where it is to stop."""
        symbol, rows = self.rebuild.symbol, 0
        for logged, rebuilt in self._pieces():
            if is_stopping():  # what was not compared whole says nothing
                raise Conflict(f"check of {symbol} {utc_date(self.from_ns)}: must run to its end, was stopped")
            found = compare_rows(logged, rebuilt)
            rows += found.compared
            if found.mismatched:
                return ComparedStretch(symbol, self.from_ns, self.to_ns, rows, found.first_divergence)
        return ComparedStretch(symbol, self.from_ns, self.to_ns, rows, None)

    def _pieces(self) -> Iterator[tuple[FeatureRows, FeatureRows]]:
        """Logged and rebuilt rows of the same time, a call of the kernel after the other: small pieces are used again.

        The log is read by the row group.
        """
        rebuild, read_ns = self.rebuild, self.from_ns
        chosen, symbol = rebuild.feature_set, rebuild.symbol
        logged: FeatureRows | None = None
        kernel = compile_kernel(chosen, rebuild.kernel_cache)
        pieces = stream_rows(rebuild.raw, symbol, kernel, from_ns=self.from_ns, to_ns=self.to_ns)
        for rebuilt in rows_in_groups(pieces, ROWS_A_CALL):
            first_ns, end_ns = int(rebuilt.row_ns[0]), int(rebuilt.row_ns[-1]) + 1
            if logged is None or end_ns > read_ns:
                read_ns = max(min(first_ns + ROW_GROUP_ROWS * SECOND_NS, self.to_ns + 1), end_ns)
                logged = None  # is let go of before the next is read
                logged, _ = rebuild.features.read(symbol, chosen, from_ns=first_ns, to_ns=read_ns)
            yield logged.only(slice(*np.searchsorted(logged.row_ns, (first_ns, end_ns)).tolist())), rebuilt

    def size(self) -> float:
        """About how many records it reads and rows it makes."""
        chosen = self.rebuild.feature_set
        read = _records(self.rebuild, set_kinds(chosen), self.from_ns - set_horizon_ns(chosen), self.to_ns)
        return read + (self.to_ns - self.from_ns) // SECOND_NS


class Recomputed(Task[T_co], Protocol[T_co]):
    """A task that says how much there is to do."""

    @property
    def rebuild(self) -> Rebuild: ...

    def size(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Recomputing:
    """Where tasks are performed.

    engine: None is this process. shared: the raw data that every process of the engine reads; what a symbol has on its
    tape as well is other raw data, of this process alone. worth_engine: records and rows from which the engine is
    asked.
    """

    engine: Engine | None
    shared: RawData
    worth_engine: int = WORTH_ENGINE

    def results(self, tasks: Sequence[Recomputed[T]], *, threads: int) -> Iterator[T]:
        """The result of each task, in any order. threads: of this process, for what no engine performs.

        Raises what ``Engine.run`` does.
        """
        given = self._given(tasks)
        here = [task for number, task in enumerate(tasks) if number not in given]
        if self.engine is not None and given:
            for rebuild in {tasks[number].rebuild.feature_set: tasks[number].rebuild for number in given}.values():
                compile_kernel(rebuild.feature_set, rebuild.kernel_cache).warm_up()  # once, not by every worker
            yield from self.engine.run([tasks[number] for number in sorted(given)])
        with ThreadPoolExecutor(threads, "leakage check") as pool:
            yield from pool.map(lambda task: task.perform(lambda: False), here)

    def _given(self, tasks: Sequence[Recomputed[T]]) -> set[int]:
        """The numbers of the tasks that the engine performs."""
        if self.engine is None:
            return set()
        given = {number for number, task in enumerate(tasks) if task.rebuild.raw is self.shared}
        is_worth = len(given) > 1 and sum(tasks[number].size() for number in given) >= self.worth_engine
        return given if is_worth else set()


def _records(rebuild: Rebuild, kinds: frozenset[int], from_ns: int, to_ns: int) -> float:
    """About how many records of some kinds there are in [from_ns, to_ns], as if each part had them evenly."""
    tables = {table for table, kind in TABLES if kind in kinds}
    count = 0.0
    for part in rebuild.raw.parts(rebuild.symbol):
        common_ns = min(to_ns, part.last_ns) - max(from_ns, part.first_ns)
        if common_ns > 0:
            of_kinds = sum(file.records for file in part.files if file.table in tables)
            count += of_kinds * common_ns / (part.last_ns - part.first_ns)
    return count
