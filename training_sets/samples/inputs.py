"""Inputs: what a model takes in addition to features, as known when the model acted.

1. The side of a primary model is what the request says.
2. A fractional difference is the sum of weights times the served rows, the newest first, an interval apart. A row that
   could not be read when the sample's own row could makes it unknown, as does an unknown value or, of logarithms, one
   that is not positive.
3. A rank is that of a feature among the symbols that belong to the universe at the sample's time, have a row of that
   time, and whose row could be read by the moment at which the model acts: after ``read_delay``. Equal values share the
   mean of their ranks; of one symbol there is none.

Nothing is filled in: an input is of what was served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest, NotFound
from storage.features.log import FeatureLog
from training_sets.request.derived import CrossSectionalRank, Derived, FractionalDifference
from training_sets.request.request import DatasetRequest
from training_sets.request.sampling import SignalSampling
from training_sets.samples.known import Known
from transforms.elementary import log_ratio
from transforms.jit import jit
from transforms.rows import FeatureGroup, FeatureSet

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class ModelInputs:
    """The inputs of a request, in the order of its ``input_names``. log: where earlier rows are read.

    Raises InvalidRequest as ``check_sources``.
    """

    def __init__(self, request: DatasetRequest, chosen: FeatureSet, log: FeatureLog) -> None:
        self._request = request
        self._chosen = chosen
        self._log = log
        self._derived: tuple[Derived, ...] = request.derived or ()
        check_sources(request, chosen)

    def of(
        self, times_ns: Int64s, known: Known, decisions_ns: Int64s, *, wanted: Sequence[str] | None = None
    ) -> Float64s:
        """float64 (times x symbols, inputs). decisions_ns: int64 (times x symbols,), when the model acts.

        wanted: symbols; what looks at earlier rows is NaN of the others. None is all.
        """
        wanted = self._request.symbols if wanted is None else wanted
        found = []
        if isinstance(self._request.sampling, SignalSampling):
            found.append(sides_at(self._request.sampling, times_ns))
        for each in self._derived:
            match each:
                case FractionalDifference():
                    found.append(self._differences(each, times_ns, known, wanted))
                case CrossSectionalRank():
                    found.append(self._ranks(each, times_ns, known, decisions_ns))
                case _:
                    assert_never(each)
        return np.stack(found, axis=1) if found else np.empty((len(known.row_ns), 0))

    def _differences(
        self, derived: FractionalDifference, times_ns: Int64s, known: Known, wanted: Sequence[str]
    ) -> Float64s:
        count = len(self._request.symbols)
        found = np.full(len(known.row_ns), np.nan)
        for at, symbol in enumerate(self._request.symbols):
            if symbol not in wanted:
                continue
            own = slice(at, None, count)
            found[own] = self._of_symbol(derived, symbol, times_ns, np.where(known.has_row, known.had_ns, -1)[own])
        return found

    def _of_symbol(self, derived: FractionalDifference, symbol: str, times_ns: Int64s, had_ns: Int64s) -> Float64s:
        """had_ns: -1 where there is no row."""
        weights, step_ns = derived.weights(), self._request.sample_interval_ns
        first_ns = int(times_ns[0]) - (len(weights) - 1) * step_ns
        offset_ns = int(times_ns[0]) % step_ns
        begin_ns = first_ns - (first_ns - offset_ns) % step_ns
        cells = (int(times_ns[-1]) - begin_ns) // step_ns + 1
        values, available_ns = np.full(cells, np.nan), np.zeros(cells, np.int64)
        try:
            rows, created_ns = self._log.read(
                symbol, only_column(self._chosen, derived.column), from_ns=begin_ns, to_ns=int(times_ns[-1]) + 1
            )
        except NotFound:
            return np.full(len(times_ns), np.nan)
        is_on_grid = (rows.row_ns - begin_ns) % step_ns == 0
        cell = ((rows.row_ns - begin_ns) // step_ns)[is_on_grid]
        values[cell] = rows.values[is_on_grid, 0]
        available_ns[cell] = created_ns[is_on_grid]
        if derived.of == "log":
            values = _logarithms(values)
        at = (times_ns - begin_ns) // step_ns
        total, is_unread = np.zeros(len(times_ns)), had_ns < 0
        for age, weight in enumerate(weights):
            total += weight * values[at - age]
            is_unread |= available_ns[at - age] > had_ns
        return np.where(is_unread, np.nan, total)

    def _ranks(self, derived: CrossSectionalRank, times_ns: Int64s, known: Known, decisions_ns: Int64s) -> Float64s:
        by_time = (len(times_ns), len(self._request.symbols))
        values = known.features[:, self._chosen.columns.index(derived.column)].reshape(by_time)
        had_ns, acts_ns = known.had_ns.reshape(by_time), decisions_ns.reshape(by_time)
        is_there = known.has_row.reshape(by_time) & ~np.isnan(values)
        is_there &= _members(derived, self._request.symbols, times_ns)
        found = np.full(by_time, np.nan)
        for at in range(by_time[1]):
            is_read = is_there & (had_ns <= acts_ns[:, at : at + 1])
            own = values[:, at : at + 1]
            others = is_read.sum(axis=1) - 1
            less = (is_read & (values < own)).sum(axis=1)
            equal = (is_read & (values == own)).sum(axis=1) - 1
            is_ranked = is_read[:, at] & (others > 0)
            found[is_ranked, at] = ((less + equal / 2.0) / np.maximum(others, 1))[is_ranked]
        return found.reshape(-1)


def check_sources(request: DatasetRequest, chosen: FeatureSet) -> None:
    """Raises InvalidRequest for a derived column of what is no feature of the set."""
    for each in request.derived or ():
        if each.column not in chosen.columns:
            raise InvalidRequest(
                f"derived.{each.column}: must be a feature of registry {chosen.version}, was none of its "
                f"{len(chosen.columns)}"
            )


def sides_at(signals: SignalSampling, times_ns: Int64s) -> Float64s:
    """What a primary model said, +1 or -1: float64 (n,). times_ns: int64 (n,), rows of signals, in any order."""
    found: Float64s = np.array(signals.sides, np.float64)[np.searchsorted(np.array(signals.rows_ns), times_ns)]
    return found


def only_column(chosen: FeatureSet, column: str) -> FeatureSet:
    """One column of a set, as the log has it."""
    group = chosen.groups[chosen.group_of[column]]
    return FeatureSet(
        chosen.version, (column,), (FeatureGroup(group.name, group.fingerprint, (column,), (0,)),), chosen.fingerprint
    )


@jit
def _logarithms(values: Float64s) -> Float64s:
    """NaN of what is not positive. numpy's own depend on the processor in their last bit."""
    found = np.full(len(values), np.nan)
    for at in range(len(values)):
        if 0.0 < values[at] < np.inf:
            found[at] = log_ratio(values[at], 1.0)
    return found


def _members(derived: CrossSectionalRank, symbols: Sequence[str], times_ns: Int64s) -> Bools:
    """Who belongs to the universe when, bool (times, symbols)."""
    if not derived.universe:
        return np.ones((len(times_ns), len(symbols)), np.bool_)
    found = np.zeros((len(times_ns), len(symbols)), np.bool_)
    for member in derived.universe:
        found[:, symbols.index(member.symbol)] |= (times_ns >= member.start_ns) & (times_ns < member.end_ns)
    return found
