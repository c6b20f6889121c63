"""The engine: one symbol's records in, feature rows at the ticks of a grid out.

No clock. ``feed`` takes records in tape order, cut anywhere; ``advance`` closes what a watermark has passed, and gives
the rows that are served; ``rows_at`` gives rows at chosen ticks, for those who compute them again. Records of a tile
that is not closed wait, so the rows depend on neither the cuts nor the moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.book_sequence import replacing
from market.clock import SECOND_NS, floor_to
from market.errors import CorruptStore, InvalidRequest
from market.events import EVENT, Events, empty_events
from market.instruments import Instrument
from transforms.held import HeldPast, held_past
from transforms.jit import for_compiled
from transforms.kernel import Kernel
from transforms.known_book import KnownBook, known_book, put_book
from transforms.order_book import BROKEN
from transforms.rows import FeatureRows, joined_rows
from transforms.silences import SETTLE_NS, Period, calls, seconds_due
from transforms.state import GRIDS_NS, NOT_STARTED, STATE, new_state
from transforms.tape_order import earliest_ns, joined, slot_by_slot

ROWS_A_CALL: Final = 3600
Room = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.int8]]
"""Values, reasons and statuses, as the kernel writes them."""
FIELDS: Final = tuple(name for name in EVENT.names or () if name != "event_ns")
"""The fields of a record that a kernel reads, and ``seq``, its place: a row does not depend on when things happened."""
_NO_ROWS: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class BookCounters:
    """What the order book met since the engine began, up to what is closed."""

    gaps: int
    duplicates: int
    crossed: int
    overflows: int


class Engine:
    """Rows of one symbol for one compiled feature set.

    start_ns: when the history begins if it is known, ns; otherwise it begins with the first record.
    grid_ns: the row grid, one of GRIDS_NS; a row at a tick of two grids is the same in both.
    """

    def __init__(
        self, kernel: Kernel, instrument: Instrument, *, start_ns: int | None = None, grid_ns: int = SECOND_NS
    ) -> None:
        assert grid_ns in GRIDS_NS, grid_ns
        self.kernel = kernel
        self.instrument = instrument
        self.grid_ns = grid_ns
        self._state = new_state(
            price_scale=10.0**instrument.price_exponent,
            quantity_scale=10.0**instrument.quantity_exponent,
            tile_ns=grid_ns,
        )
        self._look_into_state()
        # Records of tiles that have not ended: in order, and those that arrived since.
        self._waiting = empty_events()
        self._arrived: list[Events] = []
        if start_ns is not None:
            kernel.begin(self._for_kernel(self._state), start_ns)

    @property
    def identity(self) -> str:
        """What a state must share to be gone on from; the kernel's module is named by its source and its steps'."""
        module = self.kernel.run.__module__
        return f"{module} {self.instrument.price_exponent} {self.instrument.quantity_exponent} {self.grid_ns}"

    @property
    def closed_ns(self) -> int | None:
        """The tick up to which everything is closed, so that no record may be older; None before the first record.

        At first the whole second that the history begins in.
        """
        next_end_ns = int(self._next_end_ns[0])
        return None if next_end_ns == NOT_STARTED else next_end_ns - self.grid_ns

    @property
    def next_row_ns(self) -> int | None:
        """Time of the next row at a whole second; None before the first record."""
        closed_ns = self.closed_ns
        return None if closed_ns is None else floor_to(closed_ns, SECOND_NS) + SECOND_NS

    @property
    def is_book_broken(self) -> bool:
        """Whether the order book had lost its sequence at ``closed_ns``, and nothing that waits brings it back."""
        if int(self._state["book"]["validity"][0]) != BROKEN:
            return False
        return not any(replacing(records).any() for records in (self._waiting, *self._arrived))

    @property
    def book_counters(self) -> BookCounters:
        return BookCounters(*(int(count[0]) for count in self._book_counts))

    @property
    def book_validity(self) -> int:
        """NO_SNAPSHOT, VALID or BROKEN of ``transforms.order_book``, after the records that were applied."""
        return int(self._state["book"]["validity"][0])

    def known_book(self) -> KnownBook | None:
        """The order book at ``closed_ns``; None where it is not known."""
        closed_ns = self.closed_ns
        return None if closed_ns is None else known_book(self._state, closed_ns)

    def begin_with(self, book: KnownBook) -> None:
        """Take the book of another engine's past; this one must have begun where it was, and have no record yet."""
        assert self.closed_ns == book.closed_ns, (self.closed_ns, book.closed_ns)
        put_book(self._state, book)

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

    @property
    def held(self) -> HeldPast:
        """What is held of the past up to ``closed_ns``; from any thread, roughly while the engine runs."""
        waiting = self._waiting.nbytes + sum(each.nbytes for each in list(self._arrived))
        return held_past(self._state, self.closed_ns, waiting)

    def pin(self, instrument: Instrument) -> None:
        """Take the scale of the numbers to come; none may have come before."""
        self.instrument = instrument
        self._state["scale"]["px"] = 10.0**instrument.price_exponent
        self._state["scale"]["qty"] = 10.0**instrument.quantity_exponent

    def feed(self, records: Events, *, from_ns: int | None = None) -> None:
        """Take records in tape order; they wait until the tile that they fall in ends.

        They are not copied: the array must not be changed afterwards. from_ns: the earliest ``recv_ns``, if known.

        Raises CorruptStore when a record is older than what is closed: ingest raises such a stamp.
        """
        if len(records) == 0:
            return
        closed_ns = self.closed_ns
        if closed_ns is None:
            self.kernel.begin(self._for_kernel(self._state), int(records["recv_ns"][0]))
            closed_ns = self.closed_ns
            assert closed_ns is not None, "it has begun"
        first_ns = earliest_ns(records) if from_ns is None else from_ns
        if first_ns < closed_ns:
            raise CorruptStore(
                f"{self.instrument.symbol} recv_ns: must not be before {closed_ns}, up to which rows are closed, "
                f"was {first_ns}"
            )
        self._arrived.append(records)

    def advance(self, watermark_ns: int, *, without: Sequence[Period] = ()) -> FeatureRows:
        """Close everything up to ``watermark_ns``; none is returned before the first record.

        Returns every row at a whole second, in order, and, where the newest tick of the grid lies between seconds, its
        row. Ticks that are passed over have no row, nor do seconds in one of the periods ``without``; that changes none
        that comes later.
        """
        tick_ns, closed_ns = floor_to(watermark_ns, self.grid_ns), self.closed_ns
        if without or closed_ns is None or tick_ns != closed_ns + self.grid_ns:
            return _whole(self.advance_in_pieces(watermark_ns, without=without))
        # The next tick, as it is live: there is nothing to cut nor to pass over.
        has_row = tick_ns % SECOND_NS == 0 or tick_ns > self._begin_ns
        row_ns = np.array([tick_ns], np.int64) if has_row else _NO_ROWS
        self._put_in_order()
        return self._rows(row_ns, self._run(row_ns, tick_ns))

    def advance_in_pieces(self, watermark_ns: int, *, without: Sequence[Period] = ()) -> Iterator[FeatureRows]:
        """What ``advance`` returns, in pieces of at most ROWS_A_CALL rows, one at least; all are to be taken."""
        newest_ns = floor_to(watermark_ns, self.grid_ns)
        closed_ns = self.closed_ns
        if closed_ns is None or newest_ns <= closed_ns:
            yield self._rows(_NO_ROWS, self._room(1))
            return
        due_ns = seconds_due(closed_ns, newest_ns, without)
        if newest_ns % SECOND_NS and newest_ns > self._begin_ns:
            due_ns = np.append(due_ns, newest_ns)
        yield from self._close(due_ns, newest_ns)

    def rows_at(self, row_ns: npt.NDArray[np.int64], watermark_ns: int) -> FeatureRows:
        """Close everything up to ``watermark_ns``, and return the rows at the chosen ticks alone.

        row_ns: int64 (n,), ticks of the grid, ascending, after the first record and what is closed, up to the
            watermark.

        Raises InvalidRequest for times that are not so.
        """
        newest_ns = floor_to(watermark_ns, self.grid_ns)
        closed_ns = self.closed_ns
        if len(row_ns) > 0:
            after_ns = None if closed_ns is None else max(closed_ns, self._begin_ns)
            if after_ns is None or row_ns[0] <= after_ns or row_ns[-1] > newest_ns or (np.diff(row_ns) <= 0).any():
                raise InvalidRequest(
                    f"{self.instrument.symbol} rows: must be asked for in order, after {after_ns} and up to "
                    f"{watermark_ns}, was {row_ns[0]} to {row_ns[-1]}"
                )
            off_grid = row_ns[row_ns % self.grid_ns != 0]
            if len(off_grid) > 0:
                raise InvalidRequest(
                    f"{self.instrument.symbol} rows: must be at multiples of {self.grid_ns} ns, was {off_grid[0]}"
                )
        if closed_ns is None or newest_ns <= closed_ns:
            return self._rows(_NO_ROWS, self._room(1))
        return _whole(self._close(np.ascontiguousarray(row_ns, np.int64), newest_ns))

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
        state = np.frombuffer(checkpoint, STATE, count=1).copy()
        if state["tile_ns"][0] != self.grid_ns:
            raise CorruptStore(f"checkpoint: must be of a row grid of {self.grid_ns} ns, was {state['tile_ns'][0]}")
        self._state = state
        self._look_into_state()
        self._waiting = np.frombuffer(checkpoint, EVENT, offset=STATE.itemsize).copy()
        self._arrived = []

    def _look_into_state(self) -> None:
        """Keep views of what is asked with each message or row: to reach it through the state takes a microsecond."""
        book = self._state["book"]
        self._next_end_ns = self._state["next_end_ns"]
        self._book_counts = tuple(book[name] for name in ("gaps", "duplicates", "crossed", "overflows"))

    @property
    def _begin_ns(self) -> int:
        return int(self._state["begin_ns"][0])

    def _put_in_order(self) -> None:
        """Sort what arrived behind what waits, slot by slot; once a tile, not once a record."""
        if not self._arrived:
            return
        pieces = [self._waiting, *self._arrived] if len(self._waiting) else self._arrived
        self._waiting = slot_by_slot(joined(pieces))
        self._arrived = []

    def _close(self, due_ns: npt.NDArray[np.int64], until_ns: int) -> Iterator[FeatureRows]:
        """End every tile up to ``until_ns`` and compute the rows that are due, a call of the kernel a piece."""
        self._put_in_order()
        for chosen_ns, closes_ns in calls(due_ns, until_ns, ROWS_A_CALL):
            self._pass_over(int(chosen_ns[0]) if len(chosen_ns) else closes_ns)
            yield self._rows(chosen_ns, self._run(chosen_ns, closes_ns))

    def _pass_over(self, next_ns: int) -> None:
        """Leave out the tiles after the last record that neither the row at ``next_ns`` nor a later one sees."""
        settle_ns = floor_to(next_ns, SECOND_NS) - SETTLE_NS
        if self.closed_ns is None or settle_ns <= self.closed_ns:
            return
        earlier_ns = self._waiting["recv_ns"][self._waiting["recv_ns"] < settle_ns]
        if len(earlier_ns) > 0:
            self._run(_NO_ROWS, floor_to(int(earlier_ns.max()), self.grid_ns) + self.grid_ns)
        self._state["next_end_ns"] = settle_ns + self.grid_ns

    def _run(self, due_ns: npt.NDArray[np.int64], until_ns: int) -> Room:
        """Let the kernel end the tiles up to ``until_ns``; the rows that are due, and one of no meaning."""
        room = self._room(len(due_ns) + 1)
        state, waiting = self._for_kernel(self._state), self._for_kernel(self._waiting)
        applied = self.kernel.run(state, waiting, until_ns, due_ns, *room)
        self._waiting = self._waiting[int(applied) :]
        return room

    def _room(self, rows: int) -> Room:
        columns = len(self.kernel.feature_set.columns)
        groups = len(self.kernel.feature_set.groups)
        return (
            np.empty((rows, columns), np.float64),
            np.empty((rows, columns), np.int8),
            np.empty((rows, groups), np.int8),
        )

    def _rows(self, row_ns: npt.NDArray[np.int64], room: Room) -> FeatureRows:
        """Without the last of the room, of no meaning."""
        values, reasons, status = room
        return FeatureRows(
            self.instrument.symbol, self.kernel.feature_set, row_ns, values[:-1], status[:-1], reasons[:-1]
        )

    def _for_kernel(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return for_compiled(self.kernel.run, array)


def _whole(pieces: Iterator[FeatureRows]) -> FeatureRows:
    held = list(pieces)
    return held[0] if len(held) == 1 else joined_rows(held, reasons=True)
