"""Tape order: the orders that event records stand in, restored at memory speed.

On the tape records stand by ``seq``; the engine takes them slot by slot of ``recv_ns``, within a slot by ``seq``. A
slot is the step of the finest row grid, whichever grid is in use: so no row depends on it.
Records are moved as seven words each: field by field, as numpy copies a structured array, takes ten times as long. Of
decoded columns each record is written once, where it belongs: to touch new memory costs as much as to decode it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.events import EVENT, FIRST, LAST, ORDERBOOK, Events, empty_events
from transforms.jit import for_compiled, jit_alone
from transforms.state import ORDER_NS

_WORDS: Final = EVENT.itemsize // 8
assert EVENT.itemsize % 8 == 0


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Records of one kind as columns.

    columns: arrays (n,) by field, int64 or int8 as in EVENT; at least seq and recv_ns, a field left out is 0.
    """

    kind: int
    columns: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["seq"])

    def of(self, field: str) -> npt.NDArray[Any]:
        """The column of a field, empty when it was left out."""
        column = self.columns.get(field)
        return np.empty(0, EVENT[field]) if column is None else column

    def rows(self, chosen: slice | npt.NDArray[np.intp]) -> EventColumns:
        """Some of the records."""
        return EventColumns(self.kind, {field: column[chosen] for field, column in self.columns.items()})


def joined(pieces: Sequence[Events]) -> Events:
    """The pieces one behind the other; a single piece is returned as it is, not copied."""
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate([_words(piece) for piece in pieces]).reshape(-1).view(EVENT) if pieces else empty_events()


def merged(tables: Sequence[EventColumns]) -> Events:
    """The records of several tables, each by ``seq``, as one by ``seq``; of equals the earlier table's come first.

    The first of a seq is marked FIRST and the last LAST: the tables hold whole messages. Of an order book message that
    brings several updates so is each of these.
    """
    seqs = np.concatenate([table.of("seq") for table in tables])
    ends = np.cumsum([len(table) for table in tables])
    starts = ends - [len(table) for table in tables]
    places = np.empty(len(seqs), np.int64)
    _merge(seqs, starts.copy(), ends, places)
    records = np.empty(len(seqs), EVENT)
    for table, start, end in zip(tables, starts, ends, strict=True):
        _write(
            for_compiled(_write, records),
            places[start:end],
            table.of("recv_ns"),
            table.of("event_ns"),
            table.of("seq"),
            table.of("update_id"),
            table.of("px"),
            table.of("qty"),
            table.kind,
            table.of("field"),
            table.of("flags"),
        )
    _mark_messages(for_compiled(_mark_messages, records))
    return records


def slot_by_slot(records: Events) -> Events:
    """The records by the slot of ``recv_ns``, and within a slot as they stood; not copied where they stood so."""
    if _is_slot_by_slot(for_compiled(_is_slot_by_slot, records)):
        return records
    return records.take(np.argsort(records["recv_ns"] // ORDER_NS, kind="stable"))


def earliest_ns(records: Events) -> int:
    """The least ``recv_ns`` of the records, at least one."""
    return int(_earliest_ns(for_compiled(_earliest_ns, records)))


def _words(records: Events) -> npt.NDArray[np.int64]:
    return np.ascontiguousarray(records).view(np.int64).reshape(-1, _WORDS)


@jit_alone
def _merge(seqs: Any, starts: Any, ends: Any, places: Any) -> None:
    """Write where each of ``seqs`` stands among all: always the run ``starts[i]:ends[i]`` whose next one is least."""
    placed = 0
    while placed < len(seqs):
        least = -1
        second = -1
        for run in range(len(starts)):
            if starts[run] == ends[run]:
                continue
            if least < 0 or seqs[starts[run]] < seqs[starts[least]]:
                second = least
                least = run
            elif second < 0 or seqs[starts[run]] < seqs[starts[second]]:
                second = run
        # All of the run that comes before the head of any other; on equal terms the earlier run goes first.
        at = starts[least]
        while at < ends[least]:
            if second >= 0:
                limit = seqs[starts[second]]
                if seqs[at] > limit or (seqs[at] == limit and second < least):
                    break
            places[at] = placed
            at += 1
            placed += 1
        starts[least] = at


@jit_alone
def _write(
    records: Any,
    places: Any,
    recv_ns: Any,
    event_ns: Any,
    seq: Any,
    update_id: Any,
    px: Any,
    qty: Any,
    kind: int,
    field: Any,
    flags: Any,
) -> None:
    """Write each row of the columns to its place; an empty column is 0 in every row."""
    for row in range(len(places)):
        record = records[places[row]]
        record.recv_ns = recv_ns[row]
        record.event_ns = event_ns[row] if len(event_ns) > 0 else 0
        record.seq = seq[row]
        record.update_id = update_id[row] if len(update_id) > 0 else 0
        record.px = px[row] if len(px) > 0 else 0
        record.qty = qty[row] if len(qty) > 0 else 0
        record.kind = kind
        record.field = field[row] if len(field) > 0 else 0
        record["flags"] = flags[row] if len(flags) > 0 else 0


@jit_alone
def _mark_messages(records: Any) -> None:
    for record in range(len(records)):
        if record == 0 or _parts(records[record - 1], records[record]):
            records[record]["flags"] |= FIRST
        if record + 1 == len(records) or _parts(records[record], records[record + 1]):
            records[record]["flags"] |= LAST


@jit_alone
def _parts(before: Any, after: Any) -> bool:
    """Whether two consecutive records are of two messages, or of two updates of one."""
    return before.seq != after.seq or (after.kind == ORDERBOOK and before.update_id != after.update_id)


@jit_alone
def _is_slot_by_slot(records: Any) -> bool:
    reached = records[0].recv_ns // ORDER_NS if len(records) > 0 else 0
    for record in range(1, len(records)):
        slot = records[record].recv_ns // ORDER_NS
        if slot < reached:
            return False
        reached = slot
    return True


@jit_alone
def _earliest_ns(records: Any) -> int:
    earliest_ns = records[0].recv_ns
    for record in range(1, len(records)):
        earliest_ns = min(earliest_ns, records[record].recv_ns)
    return earliest_ns
