"""Sources: which row or tick each drawn row was made from, found again by the rules of the request.

Rows that filled a value are among them: of the served rows up to the sample that a model could have read, or of the
ticks given at the sample times before, the newest that knows it and is not older than the limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, format_iso
from market.errors import InvalidRequest, NotFound
from training_sets.checks.blinding import Known, Origin
from training_sets.checks.drawn import Drawn
from training_sets.request.request import LONGEST_LAG_NS, DatasetRequest
from training_sets.samples.asked import SymbolTicks
from training_sets.samples.known import NO_ROW, arrivals
from training_sets.samples.samples import sample_times

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the rows of a request come from."""

    request: DatasetRequest
    origin: Origin

    def of(self, rows: Sequence[Drawn]) -> list[Known]:
        """What each row was made from. Raises InvalidRequest for one that nothing gives, NotFound, CorruptStore."""
        found = self._on_rows(rows) if self.request.sample_kind == "on_row" else self._at_times(rows)
        return list(found)

    def _on_rows(self, rows: Sequence[Drawn]) -> Iterator[Known]:
        arrived = self._arrivals(rows)
        for row in rows:
            row_ns, had_ns = arrived[row.symbol, row.time_ns]
            filled_from_ns = np.full(len(self.origin.chosen.columns), -1)
            if self.request.missing == "forward_fill":
                filled_from_ns = self._served_before(row, had_ns)
            yield self._known(row, row_ns, had_ns, filled_from_ns)

    def _arrivals(self, rows: Sequence[Drawn]) -> dict[tuple[str, int], tuple[int, int]]:
        """By symbol and time, which row there was and when the model had it; a day of the log is read once."""
        by_day: dict[tuple[str, int], set[int]] = {}
        found = {}
        for row in rows:
            known = None if self.origin.proven is None else self.origin.proven.row(row.symbol, row.time_ns)
            if known is not None:
                found[row.symbol, row.time_ns] = (row.time_ns, known[0])
            else:
                by_day.setdefault((row.symbol, row.time_ns // DAY_NS), set()).add(row.time_ns)
        for (symbol, _), wanted in by_day.items():
            times_ns = np.array(sorted(wanted), np.int64)
            row_ns, had_ns = arrivals(self.origin.log, self.origin.chosen, symbol, times_ns)
            for time_ns, at_ns, since_ns in zip(times_ns.tolist(), row_ns.tolist(), had_ns.tolist(), strict=True):
                found[symbol, time_ns] = (at_ns, since_ns)
        return found

    def _served_before(self, row: Drawn, had_ns: int) -> Int64s:
        from_ns = row.time_ns - self.request.fill_limit_ns
        newest_ns = np.full(len(self.origin.chosen.columns), -1)
        try:
            served, available_ns = self.origin.log.read(
                row.symbol, self.origin.chosen, from_ns=from_ns, to_ns=row.time_ns + 1
            )
        except NotFound:
            return newest_ns
        has_come = available_ns <= np.minimum(had_ns, served.row_ns + LONGEST_LAG_NS)
        for at in np.flatnonzero(has_come).tolist():
            newest_ns[~np.isnan(served.values[at])] = served.row_ns[at]
        return newest_ns

    def _at_times(self, rows: Sequence[Drawn]) -> Iterator[Known]:
        if not self.origin.features.own:  # there is no tick that a value could be of
            for row in rows:
                yield self._known(row, NO_ROW, row.time_ns, np.full(len(self.origin.chosen.columns), -1))
            return
        kernel, times = self.origin.kernel(), sample_times(self.request)
        for row in rows:
            limit_ns = self.request.fill_limit_ns
            asked_ns = times.between(times.number_from(row.time_ns - limit_ns), times.number_from(row.time_ns + 1))
            origin = self.origin
            ticks = SymbolTicks(
                kernel,
                row.symbol,
                origin.log,
                origin.raw[row.symbol],
                grid_ns=origin.row_grid_ns,
                to_ns=row.time_ns,
            )
            filled_from_ns = np.full(len(self.origin.chosen.columns), -1)
            if self.request.missing == "forward_fill":
                given_ns = ticks.answers(asked_ns).row_ns
                for tick_ns, values in zip(given_ns.tolist(), ticks.values(given_ns), strict=True):
                    filled_from_ns[~np.isnan(values)] = tick_ns
            [row_ns] = ticks.answers(np.array([row.time_ns], np.int64)).row_ns
            yield self._known(row, int(row_ns), row.time_ns, filled_from_ns)

    def _known(self, row: Drawn, row_ns: int, had_ns: int, filled_from_ns: Int64s) -> Known:
        # Whoever asks at a time has what other views know then, whether or not there is a tick.
        may_be_none = self.request.sample_kind == "at_time" and self.origin.features.joined is not None
        if row_ns < 0 and (filled_from_ns < 0).all() and not may_be_none:
            raise InvalidRequest(
                f"leakage: {row.symbol} at {format_iso(row.time_ns)} in {row.file} must be a row that a model could "
                "have, was none"
            )
        filled_from_ns[filled_from_ns == row_ns] = -1
        decision_ns = had_ns + self.request.read_delay_ns
        return Known(row, row_ns if row_ns >= 0 else None, had_ns, decision_ns, filled_from_ns)
