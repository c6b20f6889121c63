"""Features over the rows of one key, replayed in the order in which they became known.

1. Rows are ordered by known time, then event time, then as they came.
2. All rows of one known time are learned: a row of a new event time joins, one of an event time that is held restates
   it. One that says what is known already changes nothing.
3. When something changed, the features of the newest event that is known are computed of the last known rows, and make
   one feature row: of that event, created at that known time.

A feature is never given a row that was not known, so nothing that comes later can change an answer as of earlier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transforms.held_rows import HeldRows
from transforms.table_feature import TableFeature

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class KnownRows:
    """Rows of one key as they came, in any order; whoever has them changes none of them.

    event_ns, known_ns: (n,) what time each row is of and from when on it could be read; known is never before event.
    columns: (n,) float64 by name; NaN is not known.
    item: (n,) what tells apart rows of one event time, as of news; None where there is one row a time.
    """

    event_ns: Int64Array
    known_ns: Int64Array
    columns: Mapping[str, Float64Array]
    item: Int64Array | None = None

    def until(self, now_ns: int) -> KnownRows:
        """Those known at ``now_ns``, in the order in which they are learned."""
        later = np.diff(self.known_ns)
        if np.all((later > 0) | ((later == 0) & (np.diff(self.event_ns) >= 0))) and np.all(
            self.known_ns[-1:] <= now_ns
        ):
            return self
        order = np.lexsort((self.event_ns, self.known_ns))
        order = order[self.known_ns[order] <= now_ns]
        return KnownRows(
            self.event_ns[order],
            self.known_ns[order],
            {name: held[order] for name, held in self.columns.items()},
            None if self.item is None else self.item[order],
        )


@dataclass(frozen=True, slots=True)
class ComputedRows:
    """Feature rows of one key, ascending by creation, each another one.

    event_ns, created_ns: (m,). values: (m, features) float64; NaN is not known.
    """

    event_ns: Int64Array
    created_ns: Int64Array
    values: Float64Array


def computed_rows(
    rows: KnownRows, features: Sequence[TableFeature], *, after_ns: int | None = None, with_last: bool = False
) -> ComputedRows:
    """The feature rows of one key; with ``after_ns`` those alone that were created later.

    with_last: the newest row that was created until ``after_ns`` too. A feature is NaN where there are fewer rows than
    it sees, or one of its columns is in no row.
    """
    names = list(dict.fromkeys(name for each in features for name in each.columns if name in rows.columns))
    if after_ns is not None:
        rows = _seen_after(rows, after_ns, max((each.rows for each in features), default=0))
    asked = _Asked(HeldRows(names, len(rows.event_ns)), features, after_ns, with_last=with_last)
    order = np.lexsort((rows.event_ns, rows.known_ns))
    event_ns, known_ns = rows.event_ns[order], rows.known_ns[order]
    columns = {name: rows.columns[name][order] for name in names}
    is_last = np.append(known_ns[1:] != known_ns[:-1], True)[: len(order)]  # of its known time
    is_changed = False
    for first, end in _runs(event_ns):
        if asked.is_appended(int(event_ns[first])):
            asked.held.extend(event_ns[first:end], {name: column[first:end] for name, column in columns.items()})
            ends = np.flatnonzero(is_last[first:end])
            asked.add(asked.held.count - (end - first) + ends + 1, event_ns[first + ends], known_ns[first + ends])
            is_changed = not is_last[end - 1]
            continue
        asked.answer()  # what was asked is of what was known before this row
        is_changed |= asked.held.learn(int(event_ns[first]), {name: column[first] for name, column in columns.items()})
        if is_last[first] and is_changed:
            count = asked.held.count
            asked.add(np.array([count]), asked.held.event_ns[count - 1 : count], known_ns[first : first + 1])
            is_changed = False
    return asked.computed()


def _seen_after(rows: KnownRows, after_ns: int, most: int) -> KnownRows:
    """Those that can be seen by an answer of later, of which each sees ``most`` rows; all where one was restated."""
    known_ns, event_ns = rows.known_ns, rows.event_ns
    if bool((event_ns[1:] <= event_ns[:-1]).any() or (known_ns[1:] < known_ns[:-1]).any()):
        return rows
    seen = slice(max(0, int(np.searchsorted(known_ns, after_ns, side="right")) - most), None)
    return KnownRows(event_ns[seen], known_ns[seen], {name: held[seen] for name, held in rows.columns.items()})


def _runs(event_ns: Int64Array) -> Iterator[tuple[int, int]]:
    """First and end of each run of rows that are newer than all before; a row that is not is a run of its own."""
    if len(event_ns) == 0:
        return
    is_newer = np.append(True, event_ns[1:] > np.maximum.accumulate(event_ns)[:-1])
    is_first = ~is_newer
    is_first[0] = True
    is_first[1:] |= ~is_newer[:-1]
    firsts = np.flatnonzero(is_first)
    yield from zip(firsts.tolist(), [*firsts[1:].tolist(), len(event_ns)], strict=True)


class _Asked:
    """The feature rows asked for, each of the first so many rows that are held, and their values once answered."""

    def __init__(
        self, held: HeldRows, features: Sequence[TableFeature], after_ns: int | None, *, with_last: bool
    ) -> None:
        self.held = held
        self._features = features
        self._after_ns = after_ns
        self._with_last = with_last
        self._asked: list[tuple[Int64Array, Int64Array, Int64Array]] = []
        self._answered: list[ComputedRows] = []

    def is_appended(self, event_ns: int) -> bool:
        """Whether a row of this event is newer than all that is held."""
        return self.held.count == 0 or event_ns > self.held.event_ns[self.held.count - 1]

    def add(self, counts: Int64Array, event_ns: Int64Array, created_ns: Int64Array) -> None:
        """Ask for rows, each of the first ``counts`` held; rows that are appended later change none of them."""
        self._asked.append((counts, event_ns.copy(), created_ns))

    def answer(self) -> None:
        """Compute what was asked of what is held."""
        if not self._asked:
            return
        counts, event_ns, created_ns = (np.concatenate(parts) for parts in zip(*self._asked, strict=True))
        self._asked.clear()
        first = 0
        if self._after_ns is not None:
            first = int(np.searchsorted(created_ns, self._after_ns, side="right"))
            if self._with_last and first > 0:
                first -= 1
                self._answered.clear()
        known = self.held.known()
        values = np.empty((len(counts) - first, len(self._features)))
        for at, each in enumerate(self._features):
            values[:, at] = each.values(known, counts[first:])
        self._answered.append(ComputedRows(event_ns[first:], created_ns[first:], values))

    def computed(self) -> ComputedRows:
        """All rows asked for."""
        self.answer()
        none = ComputedRows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, len(self._features))))
        parts = [none, *self._answered]
        return ComputedRows(
            np.concatenate([each.event_ns for each in parts]),
            np.concatenate([each.created_ns for each in parts]),
            np.concatenate([each.values for each in parts]),
        )
