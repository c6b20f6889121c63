"""The engine: one symbol's records in, one feature row a second out.

Two drivers and no clock. ``feed`` takes records in tape order, cut anywhere; ``advance`` closes the rows up to a
watermark. Records of a second whose row is not closed wait, so the rows depend on neither the cuts nor the moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import SECOND_NS
from market.errors import CorruptStore
from market.events import EVENT, Events, empty_events
from market.instruments import Instrument
from transforms.jit import is_compiled
from transforms.plan import Kernel
from transforms.rows import FeatureRows
from transforms.state import NOT_STARTED, STATE, new_state

ROWS_A_CALL: Final = 3600
_BEFORE_EVERYTHING: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class BookCounters:
    """What the order book met since the engine began."""

    gaps: int
    duplicates: int
    crossed: int
    overflows: int


class Engine:
    """Rows of one symbol for one compiled feature set.

    start_ns: when the history begins if it is known, ns; otherwise it begins with the first record.
    """

    def __init__(self, kernel: Kernel, instrument: Instrument, *, start_ns: int | None = None) -> None:
        self.kernel = kernel
        self.instrument = instrument
        self._state = new_state(
            price_scale=10.0**instrument.price_exponent, quantity_scale=10.0**instrument.quantity_exponent
        )
        # Records of the seconds to come: in order, and those that arrived since.
        self._waiting = empty_events()
        self._arrived: list[Events] = []
        if start_ns is not None:
            kernel.begin(self._for_kernel(self._state), start_ns)

    @property
    def next_row_ns(self) -> int | None:
        """Time of the row that will close next; None before the first record."""
        next_row_ns = int(self._state["next_row_ns"][0])
        return None if next_row_ns == NOT_STARTED else next_row_ns

    @property
    def book_counters(self) -> BookCounters:
        book = self._state["book"][0]
        return BookCounters(int(book["gaps"]), int(book["duplicates"]), int(book["crossed"]), int(book["overflows"]))

    def feed(self, records: Events) -> None:
        """Take records in tape order; those of the open second are applied, later ones wait for their row.

        Raises CorruptStore when a record is older than the last closed row: ingest raises such a stamp.
        """
        if len(records) == 0:
            return
        if self.next_row_ns is None:
            self.kernel.begin(self._for_kernel(self._state), int(records["recv_ns"][0]))
        assert self.next_row_ns is not None
        closed_ns = self.next_row_ns - SECOND_NS
        earliest_ns = int(records["recv_ns"].min())
        if earliest_ns < closed_ns:
            raise CorruptStore(
                f"{self.instrument.symbol} recv_ns: must not be before the last closed row {closed_ns}, "
                f"was {earliest_ns}"
            )
        is_later = records["recv_ns"] >= self.next_row_ns
        if is_later.any():
            self._arrived.append(records[is_later])
            records = records[~is_later]
        self._run(records, _BEFORE_EVERYTHING, self._room(0))

    def advance(self, watermark_ns: int) -> FeatureRows:
        """Close every row with time <= ``watermark_ns`` and return them; none before the first record."""
        if self.next_row_ns is None or self.next_row_ns > watermark_ns:
            return self._rows([])
        self._put_in_order()
        pieces = []
        while True:
            due = (watermark_ns - self.next_row_ns) // SECOND_NS + 1
            room = self._room(min(due, ROWS_A_CALL))
            applied, written = self._run(self._waiting, watermark_ns, room)
            self._waiting = self._waiting[applied:]
            pieces.append(tuple(column[:written] for column in room))
            if self.next_row_ns > watermark_ns:
                return self._rows(pieces)

    def peek(self) -> FeatureRows:
        """The provisional row: what the next row would be if nothing more arrived. Changes nothing.

        Records must have been fed in whole messages.
        """
        if self.next_row_ns is None:
            return self._rows([])
        room = self._room(1)
        self.kernel.look(self._for_kernel(self._state.copy()), *room)
        return self._rows([room])

    def checkpoint(self) -> bytes:
        """The whole state as bytes, records that wait included."""
        self._put_in_order()
        return self._state.tobytes() + self._waiting.tobytes()

    def restore(self, checkpoint: bytes) -> None:
        """Go on from ``checkpoint``, of an engine with the same instrument and the same feature set.

        Raises CorruptStore when the bytes are not a checkpoint of this layout.
        """
        if len(checkpoint) < STATE.itemsize or (len(checkpoint) - STATE.itemsize) % EVENT.itemsize:
            raise CorruptStore(
                f"checkpoint: must be {STATE.itemsize} bytes and whole records of {EVENT.itemsize}, "
                f"was {len(checkpoint)} bytes"
            )
        self._state = np.frombuffer(checkpoint, STATE, count=1).copy()
        self._waiting = np.frombuffer(checkpoint, EVENT, offset=STATE.itemsize).copy()
        self._arrived = []

    def _put_in_order(self) -> None:
        """Sort what arrived for later seconds behind what waits, second by second; once a row, not once a record."""
        if not self._arrived:
            return
        waiting = np.concatenate([self._waiting, *self._arrived])
        seconds = waiting["recv_ns"] // SECOND_NS
        if np.any(seconds[1:] < seconds[:-1]):
            waiting = waiting[np.argsort(seconds, kind="stable")]
        self._waiting = waiting
        self._arrived = []

    def _run(self, records: Events, watermark_ns: int, room: tuple[npt.NDArray[np.generic], ...]) -> tuple[int, int]:
        """Apply records and close rows; returns how many of each."""
        applied, written = self.kernel.run(
            self._for_kernel(self._state), self._for_kernel(records), watermark_ns, *room
        )
        return int(applied), int(written)

    def _room(self, rows: int) -> tuple[npt.NDArray[np.generic], ...]:
        columns = len(self.kernel.feature_set.columns)
        groups = len(self.kernel.feature_set.groups)
        return (
            np.empty(rows, np.int64),
            np.empty((rows, columns), np.float64),
            np.empty((rows, columns), np.int8),
            np.empty((rows, groups), np.int8),
        )

    def _rows(self, pieces: list[tuple[npt.NDArray[np.generic], ...]]) -> FeatureRows:
        whole = pieces or [self._room(0)]
        row_ns, values, reasons, status = (np.concatenate(column) for column in zip(*whole, strict=True))
        return FeatureRows(self.instrument.symbol, self.kernel.feature_set, row_ns, values, status, reasons)

    def _for_kernel(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array as the kernel takes it: without the JIT, records must answer to attribute names."""
        return array if is_compiled(self.kernel.run) else array.view(np.recarray)
