"""Ticks: the rows of a symbol at chosen times of the row grid, computed from its raw data in order of time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import MINUTE_NS, SECOND_NS, ceil_to
from market.events import KIND_COUNT, Events
from storage.raw.events import first_message_ns, stream_events
from storage.raw.raw_data import RawData
from training_sets.rebuild.rebuild import begin_engine, start_before
from transforms.catalogue import set_horizon_ns, set_kinds
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, joined_rows
from transforms.state import ORDER_NS

_LONGEST_UNREAD_NS: Final = 10 * MINUTE_NS
"""To leave out a shorter while costs more than to read it."""

Int64s = npt.NDArray[np.int64]


class TickRows:
    """The rows at ticks that are asked for in order of time, bit for bit those of an undisturbed live run.

    first_ns, last_ns: of the first tick that there can be a row at, after the first message, and of the last one that
    may hold a message; later ones are of silence. runs: over how many spans of the raw data they were computed.

    Raises NotFound when there is no raw data of the symbol, CorruptStore.
    """

    def __init__(self, raw: RawData, symbol: str, kernel: Kernel, *, to_ns: int) -> None:
        """to_ns: no tick after it will be asked for."""
        self._first_message_ns, last_message_ns = raw.period(symbol)
        self._parts = raw.parts(symbol)
        self.first_ns = first_message_ns(raw, self._parts) + 1
        self.last_ns = ceil_to(last_message_ns + 1, SECOND_NS)
        self.runs = 0
        self._raw = raw
        self._symbol = symbol
        self._kernel = kernel
        self._to_ns = to_ns
        self._horizon_ns = set_horizon_ns(kernel.feature_set)
        self._run: tuple[Engine, Iterator[tuple[Events, int]]] | None = None
        self._fed_until_ns = 0
        self._last: FeatureRows | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return self._kernel.feature_set.columns

    def at(self, row_ns: Int64s) -> FeatureRows:
        """int64 (n,), n >= 1, ascending multiples of ORDER_NS from ``first_ns`` on, none before one asked for."""
        last = self._last
        rows_of_runs = [] if last is None or last.row_ns[0] != row_ns[0] else [last]
        wanted = row_ns[len(rows_of_runs) :]
        # What lies further back than the horizon is in no row: where nothing is requested for so long, a new run
        # begins.
        for run_ns in np.split(wanted, np.flatnonzero(np.diff(wanted) > self._horizon_ns) + 1):
            if len(run_ns) > 0:
                self._begin_near(int(run_ns[0]))
                rows_of_runs += self._run_to(run_ns)
        rows = joined_rows(rows_of_runs)
        self._last = rows.only(slice(-1, None), reasons=False)
        return rows

    def _begin_near(self, row_ns: int) -> None:
        """Have a run that continues to the row, from as late as the row's bits allow."""
        if self._run is not None:
            latest_ns = row_ns - self._horizon_ns
            kinds = set_kinds(self._kernel.feature_set)
            if latest_ns <= self._fed_until_ns or self._fed_until_ns >= start_before(
                self._raw, self._parts, kinds, latest_ns, self._first_message_ns
            ):
                return
        self._run = begin_engine(self._raw, self._symbol, self._kernel, row_ns, self._to_ns, grid_ns=ORDER_NS)
        self._fed_until_ns = 0
        self.runs += 1

    def _run_to(self, row_ns: Int64s) -> list[FeatureRows]:
        """The rows of the run that is there, one piece at least."""
        assert self._run is not None
        engine, events = self._run
        pieces = []
        given, end_ns = 0, int(row_ns[-1])
        while self._fed_until_ns < end_ns and (piece := next(events, None)) is not None:
            records, self._fed_until_ns = piece
            engine.feed(records)
            closes_ns = min(self._fed_until_ns, end_ns)
            due = int(np.searchsorted(row_ns, closes_ns, side="right"))
            pieces.append(engine.rows_at(row_ns[given:due], closes_ns))
            given = due
        if given < len(row_ns):
            pieces.append(engine.rows_at(row_ns[given:], end_ns))
        return pieces


def newest_given(raw: RawData, symbol: str, until_ns: Int64s, *, grid_ns: int) -> Int64s:
    """The newest tick of a grid up to each moment at which a worker that keeps up gives a row to readers.

    It gives one at every whole second, and at a tick between seconds when a message came since the last.

    until_ns: int64 (n,), ascending. Raises CorruptStore.
    """
    ticks_ns = until_ns // grid_ns * grid_ns
    last_ns = [
        _last_messages(raw, symbol, run_ns)
        for run_ns in np.split(ticks_ns, np.flatnonzero(np.diff(ticks_ns) > _LONGEST_UNREAD_NS) + 1)
        if len(run_ns) > 0
    ]
    before_ns = np.concatenate([np.empty(0, np.int64), *last_ns])
    given_ns: Int64s = np.maximum(before_ns // grid_ns * grid_ns + grid_ns, ticks_ns // SECOND_NS * SECOND_NS)
    return given_ns


def _last_messages(raw: RawData, symbol: str, ticks_ns: Int64s) -> Int64s:
    """When the last message before each tick came, of those of the second that the first tick is in, or later."""
    last_ns = np.full(len(ticks_ns) + 1, -SECOND_NS)
    from_ns, to_ns = int(ticks_ns[0]) // SECOND_NS * SECOND_NS, int(ticks_ns[-1])
    for records, _ in stream_events(
        raw, symbol, kinds=range(KIND_COUNT), from_ns=from_ns, to_ns=to_ns, fields=("seq", "recv_ns")
    ):
        recv_ns = records["recv_ns"]
        np.maximum.at(last_ns, np.searchsorted(ticks_ns, recv_ns, side="right"), recv_ns)
    before_ns: Int64s = np.maximum.accumulate(last_ns[:-1])
    return before_ns
