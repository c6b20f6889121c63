"""Blinding: drawn rows of the files, computed again by an engine and prices that never saw what came after.

1. For each drawn row, the row or tick that was known is found again, and rebuilt from raw data, the tape included, that
   ends where it does. A bit that differs came from somewhere else than the row's past: from its future, from a fill,
   from a label, from a file. What differs is rebuilt once more, from all of its past, before it is accused.
2. A value that was filled must be that of an earlier row within the limit, rebuilt in the same way.
3. What was joined from other views is found again, row by row, among their rows up to then.
4. A fold whose label windows overlap another split has learned from it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from market.errors import InvalidRequest, NotFound
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from storage.tables.reading import Table
from training_sets.checks.drawn import Drawn
from training_sets.checks.proven import ProvenRows
from training_sets.checks.recomputing import PastRows, Recomputing
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.sparse_rows import sparse_runs
from training_sets.samples.availability import available_period
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.splits import FoldTally
from transforms.catalogue import set_horizon_ns
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureSet

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Known:
    """A drawn row and its inputs.

    row_ns: of the row or tick that was known; None when there was none. had_ns, decision_ns: since when the model had
    it, and when it acted.
    filled_from_ns: of each column whose value may be that of an earlier row: int64 (columns,), -1 for none.
    """

    drawn: Drawn
    row_ns: int | None
    had_ns: int
    decision_ns: int
    filled_from_ns: Int64s

    @property
    def rows_ns(self) -> set[int]:
        """Every row that its values are of."""
        own = set() if self.row_ns is None else {self.row_ns}
        return own | set(self.filled_from_ns[self.filled_from_ns >= 0].tolist())


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of a dataset come from.

    log: with the history lags of the request. raw: by symbol, each with all that its rows look back at. kernels_folder:
    of compiled kernels. row_grid_ns: the grid of ticks in history that was not served live. recomputing: where rows are
    rebuilt. tables: of views that stand on them. proven: what earlier checks found right, None where nothing is taken
    from them.
    """

    features: DatasetFeatures
    log: FeatureLog
    raw: Mapping[str, RawData]
    kernels_folder: Path
    row_grid_ns: int
    recomputing: Recomputing
    tables: Mapping[str, Table] = field(default_factory=dict)
    proven: ProvenRows | None = None

    @property
    def chosen(self) -> FeatureSet:
        return self.features.chosen

    def kernel(self) -> Kernel:
        """The compiled feature set."""
        return compile_kernel(self.chosen, self.kernels_folder)

    def rebuild(self, symbol: str) -> Rebuild:
        """The rebuild of a symbol's rows from all that they look back at, whatever lags are assumed of them."""
        recorded = replace(self.log, history_lags=None)
        return Rebuild(self.raw[symbol], recorded, self.kernels_folder, symbol, self.chosen)


def check_features(rows: Sequence[Known], origin: Origin) -> dict[str, Any]:
    """Rebuild drawn rows from the past alone; how many were compared, and why others could not be.

    Raises InvalidRequest naming the first column that differs, and when there are rows of which none could be rebuilt.
    """
    chosen, raw = origin.chosen, origin.raw
    if not origin.features.own:
        return {"rows_rebuilt_from_their_past": 0, "rows_proven_before": 0, "rows_not_checked": {}}
    logged = cache(partial(available_period, origin.log, rows_of=chosen))
    recorded = cache(lambda symbol: _recorded(raw[symbol], symbol))
    horizon_ns = set_horizon_ns(chosen)
    reasons = [_why_unchecked(row, horizon_ns, recorded, logged) for row in rows]
    unchecked = Counter(reason for reason in reasons if reason is not None)
    checked = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    if unchecked and not checked:
        told = ", ".join(f"{reason} ({count} rows)" for reason, count in unchecked.items())
        raise InvalidRequest(
            f"leakage: at least one row must be rebuilt from its past, none could be: {told}; "
            "turn data_leakage_check off to build without it"
        )
    before = 0
    if checked:
        rebuilt = _proven_before(checked, origin)
        before = sum(all((row.drawn.symbol, at_ns) in rebuilt for at_ns in row.rows_ns) for row in checked)
        lacking = [row for row in checked if any((row.drawn.symbol, at_ns) not in rebuilt for at_ns in row.rows_ns)]
        rebuilt |= _rebuilt(lacking, origin, is_whole=False)
        suspects = [row for row in checked if _differing(row, rebuilt, origin.features) is not None]
        # A row that looks back at the book for longer than is read between rows; and a leak.
        rebuilt |= _rebuilt(suspects, origin, is_whole=True)
        for row in suspects:
            if (at := _differing(row, rebuilt, origin.features)) is not None:
                expected = _expected(row, rebuilt, chosen)[origin.features.own_at]
                raise InvalidRequest(_accusation(row, at, float(expected[at]), origin.features))
        _prove(checked, rebuilt, origin)
    return {
        "rows_rebuilt_from_their_past": len(checked),
        "rows_proven_before": before,
        "rows_not_checked": dict(unchecked),
    }


def check_joined(rows: Sequence[Known], features: DatasetFeatures, *, on_rows: bool) -> dict[str, Any]:
    """Find the joined values of drawn rows again among what had happened and been created by then; how many were.

    on_rows: whether a sample without a row is not acted on. Raises InvalidRequest naming the first that differs.
    """
    if features.joined is None:
        return {}
    asked = [row for row in rows if row.row_ns is not None or not on_rows]
    first, width = len(features.own), len(features.columns)
    if asked:
        symbols, at_ns = [row.drawn.symbol for row in asked], np.array([row.had_ns for row in asked], np.int64)
        for row, expected in zip(asked, features.joined.values_of_past(symbols, at_ns), strict=True):
            if (at := first_difference(expected, row.drawn.values[first:width])) is not None:
                accuse_joined(row, first + at, float(expected[at]), features)
    return {"rows_joined_again": len(asked), "views_not_proven": features.joined.undated}


def accuse_joined(row: Known, at: int, expected: float, features: DatasetFeatures) -> NoReturn:
    """Raises InvalidRequest that names the column and both values."""
    raise InvalidRequest(_accusation(row, at, expected, features))


def check_boundaries(tallies: Sequence[FoldTally], target: str) -> None:
    """No label of a split may look at a time of another. Raises InvalidRequest naming the target and the split."""
    for tally in tallies:
        for split in tally.document():
            if split["overlaps_next"]:
                fold = "" if tally.fold.number is None else f" of fold {tally.fold.number}"
                raise InvalidRequest(
                    f"leakage: {target} of {split['name']}{fold} must end before the next split begins, its last label "
                    f"ends {split['last_label_end']}; purge must be on, or data_leakage_check off"
                )


_Rebuilt = dict[tuple[str, int], Float64s]
"""Values by symbol and row time."""


def _proven_before(rows: Sequence[Known], origin: Origin) -> _Rebuilt:
    """What earlier checks rebuilt of these rows."""
    if origin.proven is None:
        return {}
    found = {}
    for row in rows:
        for at_ns in row.rows_ns:
            if (known := origin.proven.row(row.drawn.symbol, at_ns)) is not None:
                found[row.drawn.symbol, at_ns] = known[1]
    return found


def _prove(rows: Sequence[Known], rebuilt: _Rebuilt, origin: Origin) -> None:
    if origin.proven is None:
        return
    for row in rows:
        if row.row_ns is not None:
            symbol = row.drawn.symbol
            origin.proven.add_row(symbol, row.row_ns, row.had_ns, rebuilt[symbol, row.row_ns])


def _recorded(raw: RawData, symbol: str) -> tuple[int, int] | None:
    try:
        return raw.period(symbol)
    except NotFound:
        return None


def _rebuilt(rows: Sequence[Known], origin: Origin, *, is_whole: bool) -> _Rebuilt:
    tasks = [
        PastRows(origin.rebuild(symbol), tuple(run.tolist()), is_whole)
        for symbol, wanted in _wanted(rows).items()
        for run in sparse_runs(origin.chosen, np.array(wanted, np.int64))
    ]
    rebuilt: _Rebuilt = {}
    # Reading and the kernel leave the interpreter to others: threads take all cores.
    for found in origin.recomputing.results(tasks, threads=os.cpu_count() or 1):
        for at_ns, of_row in zip(found.row_ns.tolist(), found.values, strict=True):
            rebuilt[found.symbol, at_ns] = of_row
    return rebuilt


def _wanted(rows: Sequence[Known]) -> dict[str, list[int]]:
    """The row times of each symbol, ascending."""
    wanted: dict[str, set[int]] = {}
    for row in rows:
        wanted.setdefault(row.drawn.symbol, set()).update(row.rows_ns)
    return {symbol: sorted(times) for symbol, times in wanted.items()}


def _expected(row: Known, rebuilt: _Rebuilt, chosen: FeatureSet) -> Float64s:
    """What its past gives: its own values, and for those that are unknown the ones it was filled with."""
    symbol = row.drawn.symbol
    expected = np.full(len(chosen.columns), np.nan)
    if row.row_ns is not None:
        expected = rebuilt[symbol, row.row_ns].copy()
    for at in np.flatnonzero(np.isnan(expected) & (row.filled_from_ns >= 0)).tolist():
        expected[at] = rebuilt[symbol, int(row.filled_from_ns[at])][at]
    return expected


def _differing(row: Known, rebuilt: _Rebuilt, features: DatasetFeatures) -> int | None:
    """The first column of the registry version whose bits differ, None when there is none."""
    expected = _expected(row, rebuilt, features.chosen)[features.own_at]
    return first_difference(expected, row.drawn.values[: len(expected)])


def first_difference(expected: Float64s, written: Float64s) -> int | None:
    """Where two rows differ first by their bits, None where they do not."""
    differs = np.flatnonzero(_canonical(expected).view(np.int64) != _canonical(written).view(np.int64))
    return int(differs[0]) if len(differs) > 0 else None


def _accusation(row: Known, at: int, expected: float, features: DatasetFeatures) -> str:
    drawn, column = row.drawn, features.columns[at]
    return (
        f"leakage: {column} of {drawn.symbol} at {format_iso(drawn.time_ns)} in {drawn.file} must be what its past "
        f"gives, {expected!r}, was {float(drawn.values[at])!r}"
    )


def _why_unchecked(
    row: Known,
    horizon_ns: int,
    recorded: Callable[[str], tuple[int, int] | None],
    logged: Callable[[str], tuple[int, int] | None],
) -> str | None:
    """Why raw data cannot give the rows that were known; None when it can, and when there was none.

    horizon_ns: how far back they look. recorded: the period of a symbol's raw data, None without any. logged: the first
    and the last row time of a symbol in the feature log, None without one.
    """
    if not row.rows_ns:
        return None
    symbol, first_row_ns, last_row_ns = row.drawn.symbol, min(row.rows_ns), max(row.rows_ns)
    if (period_of_raw := recorded(symbol)) is None:
        return f"{symbol}: no raw data"
    first_ns, last_ns = period_of_raw
    if last_row_ns > last_ns:
        return f"{symbol}: raw data ends before the row"
    if first_row_ns <= first_ns:
        return f"{symbol}: raw data begins after the row"
    if first_ns > first_row_ns - horizon_ns:
        period = logged(symbol)
        if period is not None and period[0] < first_ns:
            return f"{symbol}: raw data begins within the row's horizon"
    return None


def _canonical(values: Float64s) -> Float64s:
    """NaN with one bit pattern; a store may give back another."""
    return np.where(np.isnan(values), np.nan, values)
