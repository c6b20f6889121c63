"""Features of a moment: of rows of several tables, or of a stretch of time, that were known at it.

1. The moments are those at which something becomes known, and those at which a row leaves a window of time.
2. At each, in order, all rows of that known time are learned, and the features computed of what is known.
3. A moment at which something new was learned, or a window ended, makes one feature row: of that moment, created at it.

A feature is never given a row that was not known, so nothing that comes later can change an answer as of earlier. One
that sees what it saw at the moment before is not called again: most see nothing new when a day's bar comes.

While every row is of a later event than all before it, what was known at a moment is the first rows of what is known at
the end. So the moments until the next row that is not are answered together; the moment of such a row, alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.every_window import values_of_stretches
from transforms.held_rows import HeldRows
from transforms.known_rows import ComputedRows, KnownRows
from transforms.table_feature import EVENT_NS, TableFeature, Window

Place = tuple[str, str]
"""A table and a key of it; the key is empty where it is the answer's own."""
_Moments = npt.NDArray[np.int64]


def moment_rows(
    rows: Mapping[Place, KnownRows], features: Sequence[TableFeature], *, until_ns: int, after_ns: int | None = None
) -> ComputedRows:
    """The feature rows of one key at the moments until ``until_ns``; with ``after_ns`` those alone that come later.

    A feature is NaN where there are fewer rows than it sees, or a table lacks one of its columns.
    """
    windows = list(dict.fromkeys(window for each in features for window in each.sees.values()))
    places = {
        place: _LearnedRows(of, [each for each in windows if (each.table, each.key) == place], until_ns)
        for place, of in rows.items()
    }
    sights: dict[tuple[Place, int, int], _Sight] = {}
    answered = []
    for at, each in enumerate(features):
        if all(_is_there(places, window) for window in each.sees.values()):
            seen = [
                (sights.setdefault(key := _bounded(window), _Sight(places[key[0]], window)), window.column)
                for window in each.sees.values()
            ]
            answered.append((at, _Answers(each, seen)))
    made: list[_Moments] = [np.empty(0, np.int64)]
    found: list[Any] = [np.empty((0, len(features)))]
    with np.errstate(all="ignore"):  # a price of 0 is no reason to end
        for moments in _learned_together(list(places.values()), after_ns):
            for sight in sights.values():
                sight.look(moments)
            values = np.full((len(moments), len(features)), math.nan)
            for at, answers in answered:
                values[:, at] = answers.values(len(moments))
            made.append(moments)
            found.append(values)
    times = np.concatenate(made)
    return ComputedRows(times, times, np.concatenate(found))


def _is_there(places: Mapping[Place, _LearnedRows], window: Window) -> bool:
    place = places.get((window.table, window.key))
    return place is not None and (window.column == EVENT_NS or window.column in place.held.series)


def _bounded(window: Window) -> tuple[Place, int, int]:
    """A place, how many rows of it are seen, 0 for all, and within which time, 0 for any."""
    return (window.table, window.key), window.rows, window.within_ns


def _learned_together(places: Sequence[_LearnedRows], after_ns: int | None) -> Iterator[_Moments]:
    """Moments after ``after_ns`` at which an answer may change, ascending, each lot when what it needs is learned."""
    start_ns = np.iinfo(np.int64).min if after_ns is None else after_ns
    lone = {moment for each in places for moment in each.begin(start_ns).tolist()}
    for before_ns in [*sorted(lone), None]:
        for each in places:
            each.append_until(before_ns)
        moments = np.unique(
            np.concatenate([np.empty(0, np.int64), *(each.moments(start_ns, before_ns) for each in places)])
        )
        if len(moments):
            yield moments
        if before_ns is None:
            return
        is_new = [each.learn_at(before_ns) for each in places]
        if any(is_new):
            yield np.array([before_ns])
        start_ns = before_ns


class _LearnedRows:
    """The rows of a place in the order in which they become known, and what of them is."""

    def __init__(self, rows: KnownRows, windows: Sequence[Window], until_ns: int) -> None:
        rows = rows.until(until_ns)
        order: Any = slice(None)
        if rows.item is not None:
            order = np.lexsort((rows.item, rows.event_ns, rows.known_ns))
        self.event_ns, self.known_ns = rows.event_ns[order], rows.known_ns[order]
        self._item = np.zeros(len(self.event_ns), np.int64) if rows.item is None else rows.item[order]
        names = dict.fromkeys(each.column for each in windows if each.column in rows.columns)
        self._columns = {name: rows.columns[name][order] for name in names}
        self.held = HeldRows(list(names), len(self.event_ns))
        self.restated = 0
        """How often rows were learned that are not of a later event than all before."""
        self._next = 0
        self._appended = (0, 0)
        """How many rows were held, and which is the first that was appended to them last."""
        self._bounds = list(dict.fromkeys((each.rows, each.within_ns) for each in windows if each.within))
        self._until_ns = until_ns
        self._leaving: list[tuple[_Moments, int, int]] = []

    def begin(self, after_ns: int) -> _Moments:
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

    def _lone_ns(self) -> _Moments:
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

    def counts(self, moments: _Moments) -> _Moments:
        """How many rows are known at moments since the last that was learned alone."""
        held, first = self._appended
        return held + np.searchsorted(self.known_ns[first : self._next], moments, side="right")

    def moments(self, after_ns: int, before_ns: int | None) -> _Moments:
        """Those between at which a row becomes known or leaves a window, in any order."""
        known_ns = self.known_ns[self._appended[1] : self._next]
        return np.concatenate(
            [known_ns[known_ns > after_ns], *(self._lost(leaving, after_ns, before_ns) for leaving in self._leaving)]
        )

    def _lost(self, leaving: tuple[_Moments, int, int], after_ns: int, before_ns: int | None) -> _Moments:
        """When a window loses a row: one of last rows only when it is the newest."""
        leaving_ns, rows, within_ns = leaving
        first = int(np.searchsorted(leaving_ns, after_ns, side="right"))
        end = len(leaving_ns) if before_ns is None else int(np.searchsorted(leaving_ns, before_ns))
        lost = leaving_ns[first:end]
        if rows == 0 or len(lost) == 0:
            return lost
        return lost[self.held.event_ns[self.counts(lost) - 1] == lost - within_ns]


class _Sight:
    """Rows of a place that parameters see, each a column of them."""

    def __init__(self, place: _LearnedRows, window: Window) -> None:
        self.place = place
        self.rows, self._within_ns = window.rows, window.within_ns
        self.firsts = self.ends = np.empty(0, np.int64)
        self.is_changed = np.empty(0, np.bool_)
        """Of each moment whether other rows are seen than at the one before."""
        self._last: tuple[int, int, int] | None = None

    def look(self, moments: _Moments) -> None:
        """Rows from ``firsts`` to ``ends`` are seen at the moments; first is -1 where they are too few or too old."""
        held, self.ends = self.place.held, self.place.counts(moments)
        self.firsts = np.zeros(len(moments), np.int64)
        if self._within_ns:
            found = np.searchsorted(held.event_ns[: held.count], moments - self._within_ns, side="right")
            self.firsts = np.minimum(found, self.ends)
        if self.rows:
            is_lacking = (self.ends < self.rows) | (self.firsts == self.ends)
            self.firsts = np.where(is_lacking, -1, self.ends - self.rows)
        self.is_changed = np.empty(len(moments), np.bool_)
        self.is_changed[0] = self._last != (self.place.restated, int(self.firsts[0]), int(self.ends[0]))
        self.is_changed[1:] = (self.firsts[1:] != self.firsts[:-1]) | (self.ends[1:] != self.ends[:-1])
        self._last = (self.place.restated, int(self.firsts[-1]), int(self.ends[-1]))

    def column(self, name: str) -> Any:
        """float64, or int64 where it is event times; nobody can write into it."""
        held = self.place.held
        column = (held.event_ns if name == EVENT_NS else held.series[name])[: held.count]
        column.flags.writeable = False
        return column


class _Answers:
    """A feature, and what it answered last. seen: what each parameter sees, and of which column."""

    def __init__(self, feature: TableFeature, seen: Sequence[tuple[_Sight, str]]) -> None:
        self._feature = feature
        self._seen = seen
        self._sights = list({id(sight): sight for sight, _ in seen}.values())
        self._last = math.nan

    def values(self, count: int) -> Any:
        """(count,) its values at the moments that its sights looked at."""
        is_changed = np.logical_or.reduce([sight.is_changed for sight in self._sights])
        asked = np.flatnonzero(is_changed)
        if len(asked) == 0:
            return np.full(count, self._last)
        answers = np.full(1 + len(asked), math.nan)
        answers[0] = self._last
        places = asked[np.logical_and.reduce([sight.firsts[asked] >= 0 for sight in self._sights])]
        columns = [sight.column(name) for sight, name in self._seen]
        for (sight, _), column in zip(self._seen, columns, strict=True):
            if sight.rows and len(places) and column.dtype == np.float64:
                places = places[~_holds_unknown(column, sight.firsts[places], sight.ends[places])]
        if len(places):
            firsts = {id(sight): sight.firsts[places] for sight in self._sights}
            ends = {id(sight): sight.ends[places] for sight in self._sights}
            answers[1 + np.searchsorted(asked, places)] = self._of(
                columns, [firsts[id(sight)] for sight, _ in self._seen], [ends[id(sight)] for sight, _ in self._seen]
            )
        self._last = float(answers[-1])
        return answers[np.cumsum(is_changed)]

    def _of(self, columns: Sequence[Any], firsts: Sequence[_Moments], ends: Sequence[_Moments]) -> Any:
        lengths = [sight.rows for sight, _ in self._seen]
        feature = self._feature
        values = values_of_stretches(feature.function, columns, firsts, ends, lengths, feature.parameters)
        if values is not None:
            return values
        return [
            feature.of([column[first:end] for column, first, end in zip(columns, begins, until, strict=True)])
            for begins, until in zip(np.transpose(firsts).tolist(), np.transpose(ends).tolist(), strict=True)
        ]


def _holds_unknown(column: Any, firsts: _Moments, ends: _Moments) -> Any:
    """(n,) whether NaN is among the rows from each first until its end."""
    begin, end = int(firsts.min()), int(ends.max())
    unknown = np.append(0, np.cumsum(np.isnan(column[begin:end])))
    return unknown[ends - begin] != unknown[firsts - begin]
