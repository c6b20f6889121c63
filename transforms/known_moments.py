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

from transforms.every_window import FEWEST, values_of_stretches
from transforms.known_rows import ComputedRows, KnownRows
from transforms.learned_rows import LearnedRows, Moments
from transforms.table_feature import EVENT_NS, TableFeature, Window

Place = tuple[str, str]
"""A table and a key of it; the key is empty where it is the answer's own."""


def moment_rows(
    rows: Mapping[Place, KnownRows], features: Sequence[TableFeature], *, until_ns: int, after_ns: int | None = None
) -> ComputedRows:
    """The feature rows of one key at the moments until ``until_ns``; with ``after_ns`` those alone that come later.

    A feature is NaN where there are fewer rows than it sees, or a table lacks one of its columns.
    """
    windows = list(dict.fromkeys(window for each in features for window in each.sees.values()))
    bounds = {each: ((each.table, each.key), each.rows, each.within_ns) for each in windows}
    places = {
        place: LearnedRows(
            of, [(each.column, *bounds[each][1:]) for each in windows if bounds[each][0] == place], until_ns
        )
        for place, of in rows.items()
    }
    sights: dict[tuple[Place, int, int], _Sight] = {}
    answered = []
    for at, each in enumerate(features):
        if all(_is_there(places, window) for window in each.sees.values()):
            seen = [
                (
                    sights.get(key := bounds[window]) or sights.setdefault(key, _Sight(places[key[0]], *key[1:])),
                    window.column,
                )
                for window in each.sees.values()
            ]
            answered.append((at, _Answers(each, seen)))
    made: list[Moments] = [np.empty(0, np.int64)]
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


def _is_there(places: Mapping[Place, LearnedRows], window: Window) -> bool:
    place = places.get((window.table, window.key))
    return place is not None and (window.column == EVENT_NS or window.column in place.held.series)


def _learned_together(places: Sequence[LearnedRows], after_ns: int | None) -> Iterator[Moments]:
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


class _Sight:
    """Rows of a place that parameters see, each a column of them."""

    def __init__(self, place: LearnedRows, rows: int, within_ns: int) -> None:
        self.place = place
        self.rows, self._within_ns = rows, within_ns
        self.firsts = self.ends = np.empty(0, np.int64)
        self.is_changed = np.empty(0, np.bool_)
        """Of each moment whether other rows are seen than at the one before."""
        self._last: tuple[int, int, int] | None = None

    def look(self, moments: Moments) -> None:
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
        is_changed = self._sights[0].is_changed
        for sight in self._sights[1:]:
            is_changed = is_changed | sight.is_changed
        asked = np.flatnonzero(is_changed)
        if len(asked) == 0:
            return np.full(count, self._last)
        answers = [self._last, *(self._together(asked) if len(asked) >= FEWEST else self._one_by_one(asked))]
        self._last = float(answers[-1])
        return np.array(answers)[np.cumsum(is_changed)]

    def _together(self, asked: Moments) -> Any:
        columns = [sight.column(name) for sight, name in self._seen]
        is_full = np.logical_and.reduce([sight.firsts[asked] >= 0 for sight in self._sights])
        places = asked[is_full]
        for (sight, _), column in zip(self._seen, columns, strict=True):
            if sight.rows and len(places) and column.dtype == np.float64:
                places = places[~_holds_unknown(column, sight.firsts[places], sight.ends[places])]
        if len(places) == 0:
            return np.full(len(asked), math.nan)
        firsts = {id(sight): sight.firsts[places] for sight in self._sights}
        values = values_of_stretches(
            self._feature.function,
            columns,
            [firsts[id(sight)] for sight, _ in self._seen],
            [sight.ends[places] for sight, _ in self._seen],
            [sight.rows for sight, _ in self._seen],
            self._feature.parameters,
        )
        if values is None:
            return self._one_by_one(asked)
        answers = np.full(len(asked), math.nan)
        answers[np.searchsorted(asked, places)] = values
        return answers

    def _one_by_one(self, asked: Moments) -> list[float]:
        columns = [(sight, sight.column(name)) for sight, name in self._seen]
        return [self._at(columns, at) for at in asked.tolist()]

    def _at(self, columns: Sequence[tuple[_Sight, Any]], at: int) -> float:
        seen = []
        for sight, column in columns:
            first = sight.firsts[at]
            if first < 0:
                return math.nan
            rows = column[first : sight.ends[at]]
            if sight.rows and np.isnan(rows).any():
                return math.nan
            seen.append(rows)
        return self._feature.of(seen)


def _holds_unknown(column: Any, firsts: Moments, ends: Moments) -> Any:
    """(n,) whether NaN is among the rows from each first until its end."""
    begin, end = int(firsts.min()), int(ends.max())
    unknown = np.append(0, np.cumsum(np.isnan(column[begin:end])))
    return unknown[ends - begin] != unknown[firsts - begin]
