"""Ticks: the rows of a symbol at chosen times of the row grid, in one run over its raw data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from market.clock import SECOND_NS, ceil_to
from market.events import KIND_COUNT
from storage.raw.events import first_message_ns, stream_events
from storage.raw.raw_data import RawData
from training_sets.rebuild.rebuild import begin_engine, joined_rows, part_of_rows
from transforms.kernel import Kernel
from transforms.rows import FeatureRows
from transforms.state import ORDER_NS

Int64s = npt.NDArray[np.int64]


class TickRows:
    """The rows at ticks that are asked for in order of time, bit for bit those of an undisturbed live run.

    first_ns, last_ns: of the first tick that there can be a row at, after the first message, and of the last one that
    may hold a message; later ones are of silence.

    Raises NotFound when there is no raw data of the symbol, CorruptStore.
    """

    def __init__(self, raw: RawData, symbol: str, kernel: Kernel, *, from_ns: int, to_ns: int) -> None:
        """[from_ns, to_ns]: where ticks will be asked for."""
        _, last_message_ns = raw.period(symbol)
        self.first_ns = first_message_ns(raw, raw.parts(symbol)) + 1
        self.last_ns = ceil_to(last_message_ns + 1, SECOND_NS)
        begin_ns = max(from_ns, self.first_ns)
        self._engine, self._events = begin_engine(raw, symbol, kernel, begin_ns, to_ns, grid_ns=ORDER_NS)
        self._fed_until_ns = 0
        self._last: FeatureRows | None = None

    def at(self, row_ns: Int64s) -> FeatureRows:
        """int64 (n,), n >= 1, ascending multiples of ORDER_NS from ``first_ns`` on, none before one asked for."""
        last = self._last
        pieces = [] if last is None or last.row_ns[0] != row_ns[0] else [last]
        given = len(pieces)
        end_ns = int(row_ns[-1])
        while self._fed_until_ns < end_ns and (piece := next(self._events, None)) is not None:
            records, self._fed_until_ns = piece
            self._engine.feed(records)
            closes_ns = min(self._fed_until_ns, end_ns)
            due = int(np.searchsorted(row_ns, closes_ns, side="right"))
            pieces.append(self._engine.rows_at(row_ns[given:due], closes_ns))
            given = due
        if given < len(row_ns):
            pieces.append(self._engine.rows_at(row_ns[given:], end_ns))
        rows = joined_rows(pieces)
        self._last = part_of_rows(rows, len(rows) - 1, len(rows))
        return rows


def newest_given(raw: RawData, symbol: str, until_ns: Int64s, *, grid_ns: int) -> Int64s:
    """The newest tick of a grid up to each moment at which a worker that keeps up gives a row to readers.

    It gives one at every whole second, and at a tick between seconds when a message came since the last.

    until_ns: int64 (n,), n >= 1, ascending. Raises CorruptStore.
    """
    ticks_ns = until_ns // grid_ns * grid_ns
    # Of the messages before each tick the last one; of all before the first tick only those of its second count.
    last_ns = np.full(len(ticks_ns) + 1, -SECOND_NS)
    from_ns, to_ns = int(ticks_ns[0]) // SECOND_NS * SECOND_NS, int(ticks_ns[-1])
    for records, _ in stream_events(
        raw, symbol, kinds=range(KIND_COUNT), from_ns=from_ns, to_ns=to_ns, fields=("seq", "recv_ns")
    ):
        recv_ns = records["recv_ns"]
        np.maximum.at(last_ns, np.searchsorted(ticks_ns, recv_ns, side="right"), recv_ns)
    before_ns = np.maximum.accumulate(last_ns[:-1])
    given_ns: Int64s = np.maximum(before_ns // grid_ns * grid_ns + grid_ns, ticks_ns // SECOND_NS * SECOND_NS)
    return given_ns
