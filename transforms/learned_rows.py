"""The rows of one key of a table as they become known: together, or alone where one is not of a later event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.held_rows import HeldRows
from transforms.known_rows import KnownRows

Moments = npt.NDArray[np.int64]
"""(n,) ns since 1970 UTC."""


class LearnedRows:
    """The rows of a place in the order in which they become known, and what of them is.

    seen: by window its column, how many rows it sees, 0 for all, and within which time, 0 for any.
    """

    def __init__(self, rows: KnownRows, seen: Sequence[tuple[str, int, int]], until_ns: int) -> None:
        rows = rows.until(until_ns)
        order: Any = slice(None)
        if rows.item is not None:
            order = np.lexsort((rows.item, rows.event_ns, rows.known_ns))
        self.event_ns, self.known_ns = rows.event_ns[order], rows.known_ns[order]
        self._item = np.zeros(len(self.event_ns), np.int64) if rows.item is None else rows.item[order]
        names = dict.fromkeys(name for name, _, _ in seen if name in rows.columns)
        self._columns = {name: rows.columns[name][order] for name in names}
        self.held = HeldRows(list(names), len(self.event_ns))
        self.restated = 0
        """How often rows were learned that are not of a later event than all before."""
        self._next = 0
        self._appended = (0, 0)
        """How many rows were held, and which is the first that was appended to them last."""
        self._bounds = list(dict.fromkeys((count, within_ns) for _, count, within_ns in seen if within_ns))
        self._until_ns = until_ns
        self._leaving: list[tuple[Moments, int, int]] = []

    def begin(self, after_ns: int) -> Moments:
        """Learn at once what is known at a time; when rows will be learned that are of no later event than all before.

        Those are learned alone.
        """
        self._next = end = int(np.searchsorted(self.known_ns, after_ns, side="right"))
        event_ns, item = self.event_ns[:end], self._item[:end]
        last: Any = slice(None)
        if bool((event_ns[1:] <= event_ns[:-1]).any()):
            order = np.lexsort((item, event_ns))  # what was said last of an event comes last
            event_ns, item = event_ns[order], item[order]
            last = order[np.append((event_ns[1:] != event_ns[:-1]) | (item[1:] != item[:-1]), True)]
        columns = {name: column[:end][last] for name, column in self._columns.items()}
        self.held.extend(self.event_ns[:end][last], columns, self._item[:end][last])
        for rows, within_ns in self._bounds:
            moments = self.event_ns + within_ns
            is_asked = (moments > after_ns) & (moments <= self._until_ns) & (moments > self.known_ns)
            self._leaving.append((np.unique(moments[is_asked]), rows, within_ns))
        return self._lone_ns()

    def _lone_ns(self) -> Moments:
        first = self._next
        event_ns, known_ns, item = self.event_ns[first:], self.known_ns[first:], self._item[first:]
        if len(event_ns) == 0:
            return known_ns
        held = self.held.event_ns[self.held.count - 1] if self.held.count else np.iinfo(np.int64).min
        before = np.maximum.accumulate(np.append(held, event_ns[:-1]))
        is_first = np.append(True, (event_ns[1:] != event_ns[:-1]) | (known_ns[1:] != known_ns[:-1]))
        of_same = np.maximum.accumulate(np.where(is_first, np.arange(len(event_ns)), 0))
        is_later = event_ns > before[of_same]
        is_later[1:] &= is_first[1:] | (item[1:] != item[:-1])
        return known_ns[~is_later]

    def append_until(self, before_ns: int | None) -> None:
        """Learn what becomes known before then, which is of later events than all that is held."""
        first, end = self._next, len(self.known_ns)
        if before_ns is not None:
            end = int(np.searchsorted(self.known_ns, before_ns))
        self._appended = (self.held.count, first)
        if end > first:
            columns = {name: column[first:end] for name, column in self._columns.items()}
            self.held.extend(self.event_ns[first:end], columns, self._item[first:end])
        self._next = end

    def learn_at(self, moment: int) -> bool:
        """Learn what becomes known at a moment; whether an answer may change by it, or by what leaves a window."""
        first, self._next = self._next, int(np.searchsorted(self.known_ns, moment, side="right"))
        is_new = False
        for at in range(first, self._next):
            row = {name: column[at] for name, column in self._columns.items()}
            is_new |= self.held.learn(int(self.event_ns[at]), row, int(self._item[at]))
        self.restated += is_new
        self._appended = (self.held.count, self._next)
        return is_new or any(len(self._lost(leaving, moment - 1, moment + 1)) for leaving in self._leaving)

    def counts(self, moments: Moments) -> Moments:
        """How many rows are known at moments since the last that was learned alone."""
        held, first = self._appended
        return held + np.searchsorted(self.known_ns[first : self._next], moments, side="right")

    def moments(self, after_ns: int, before_ns: int | None) -> Moments:
        """Those between at which a row becomes known or leaves a window, in any order."""
        known_ns = self.known_ns[self._appended[1] : self._next]
        return np.concatenate(
            [known_ns[known_ns > after_ns], *(self._lost(leaving, after_ns, before_ns) for leaving in self._leaving)]
        )

    def _lost(self, leaving: tuple[Moments, int, int], after_ns: int, before_ns: int | None) -> Moments:
        """When a window loses a row: one of last rows only when it is the newest."""
        leaving_ns, rows, within_ns = leaving
        first = int(np.searchsorted(leaving_ns, after_ns, side="right"))
        end = len(leaving_ns) if before_ns is None else int(np.searchsorted(leaving_ns, before_ns))
        lost = leaving_ns[first:end]
        if rows == 0 or len(lost) == 0:
            return lost
        return lost[self.held.event_ns[self.counts(lost) - 1] == lost - within_ns]
