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
from transforms.jit import for_compiled
from transforms.kernel import Kernel
from transforms.rows import FeatureRows
from transforms.state import NOT_STARTED, STATE, new_state
from transforms.tape_order import due_before, joined, second_by_second

ROWS_A_CALL: Final = 3600
Room = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.int8]]
"""Row times, values, reasons and statuses, as the kernel writes them."""
FIELDS: Final = tuple(name for name in EVENT.names or () if name != "event_ns")
"""The fields of a record that a kernel reads, and ``seq``, its place: a row does not depend on when things happened."""
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
        self._no_room = self._room(0)
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

    @property
    def book_validity(self) -> int:
        """NO_SNAPSHOT, VALID or BROKEN of ``transforms.order_book``, after the records that were applied."""
        return int(self._state["book"]["validity"][0])

    @property
    def ticker_fields(self) -> list[tuple[int, int]]:
        """Value and receive time of each field of the merged ticker, as far as records were applied."""
        ticker = self._state["ticker"][0]
        return list(zip(ticker["value"].tolist(), ticker["recv_ns"].tolist(), strict=True))

    @property
    def waiting(self) -> Events:
        """The records that wait for their second, in the order in which they will be applied."""
        self._put_in_order()
        return self._waiting

    def pin(self, instrument: Instrument) -> None:
        """Take the scale of the numbers to come; none may have come before."""
        self.instrument = instrument
        self._state["scale"]["px"] = 10.0**instrument.price_exponent
        self._state["scale"]["qty"] = 10.0**instrument.quantity_exponent

    def feed(self, records: Events) -> None:
        """Take records in tape order; those of the open second are applied, later ones wait for their row.

        Those that wait are not copied: the array must not be changed afterwards.

        Raises CorruptStore when a record is older than the last closed row: ingest raises such a stamp.
        """
        if len(records) == 0:
            return
        next_row_ns = self.next_row_ns
        if next_row_ns is None:
            self.kernel.begin(self._for_kernel(self._state), int(records["recv_ns"][0]))
            next_row_ns = int(self._state["next_row_ns"][0])
        closed_ns = next_row_ns - SECOND_NS
        due, later, earliest_ns = due_before(records, next_row_ns)
        if earliest_ns < closed_ns:
            raise CorruptStore(
                f"{self.instrument.symbol} recv_ns: must not be before the last closed row {closed_ns}, "
                f"was {earliest_ns}"
            )
        if len(later):
            self._arrived.append(later)
        if len(due):
            self._run(due, _BEFORE_EVERYTHING, self._no_room)

    def advance(self, watermark_ns: int) -> FeatureRows:
        """Close every row with time <= ``watermark_ns`` and return them; none before the first record."""
        next_row_ns = self.next_row_ns
        if next_row_ns is None or next_row_ns > watermark_ns:
            return self._rows([self._no_room])
        self._put_in_order()
        pieces: list[Room] = []
        while next_row_ns <= watermark_ns:
            due = (watermark_ns - next_row_ns) // SECOND_NS + 1
            room = self._room(min(due, ROWS_A_CALL))
            # Room for all the rows that are due, or for a part of them: in either case it is filled.
            applied, written = self._run(self._waiting, watermark_ns, room)
            self._waiting = self._waiting[applied:]
            pieces.append(room)
            next_row_ns += written * SECOND_NS
        return self._rows(pieces)

    def peek(self) -> FeatureRows:
        """The provisional row: what the next row would be if nothing more arrived. Changes nothing.

        Records must have been fed in whole messages.
        """
        if self.next_row_ns is None:
            return self._rows([self._no_room])
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
        pieces = [self._waiting, *self._arrived] if len(self._waiting) else self._arrived
        self._waiting = second_by_second(joined(pieces))
        self._arrived = []

    def _run(self, records: Events, watermark_ns: int, room: Room) -> tuple[int, int]:
        """Apply records and close rows; returns how many of each."""
        applied, written = self.kernel.run(
            self._for_kernel(self._state), self._for_kernel(records), watermark_ns, *room
        )
        return int(applied), int(written)

    def _room(self, rows: int) -> Room:
        columns = len(self.kernel.feature_set.columns)
        groups = len(self.kernel.feature_set.groups)
        return (
            np.empty(rows, np.int64),
            np.empty((rows, columns), np.float64),
            np.empty((rows, columns), np.int8),
            np.empty((rows, groups), np.int8),
        )

    def _rows(self, pieces: list[Room]) -> FeatureRows:
        if len(pieces) == 1:
            ((row_ns, values, reasons, status),) = pieces
        else:
            row_ns, values, reasons, status = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return FeatureRows(self.instrument.symbol, self.kernel.feature_set, row_ns, values, status, reasons)

    def _for_kernel(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return for_compiled(self.kernel.run, array)
