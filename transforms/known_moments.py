"""Features of a moment: of rows of several tables, or of a stretch of time, that were known at it.

1. The moments are those at which something becomes known, and those at which a row leaves a window of time.
2. At each, in order, all rows of that known time are learned, and the features computed of what is known.
3. A moment at which something new was learned, or a window ended, makes one feature row: of that moment, created at it.

A feature is never given a row that was not known, so nothing that comes later can change an answer as of earlier. One
that sees what it saw at the moment before is not called again: most see nothing new when a day's bar comes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from transforms.held_rows import HeldRows
from transforms.known_rows import ComputedRows, KnownRows
from transforms.table_feature import EVENT_NS, TableFeature, Window

Place = tuple[str, str]
"""A table and a key of it; the key is empty where it is the answer's own."""


def moment_rows(
    rows: Mapping[Place, KnownRows], features: Sequence[TableFeature], *, until_ns: int, after_ns: int | None = None
) -> ComputedRows:
    """The feature rows of one key at the moments until ``until_ns``; with ``after_ns`` those alone that come later.

    A feature is NaN where there are fewer rows than it sees, or a table lacks one of its columns.
    """
    seen = _Seen(rows, features)
    answered = {at: each for at, each in enumerate(features) if seen.is_there(each)}
    made, found = [], []
    if after_ns is not None:
        seen.learn_until(after_ns)
    with np.errstate(all="ignore"):  # a price of 0 is no reason to end
        for moment in seen.moments(until_ns, after_ns):
            made.append(moment)
            found.append(seen.values(list(answered.values()), moment))
    times = np.array(made, np.int64)
    values = np.full((len(made), len(features)), math.nan)
    values[:, list(answered)] = np.array(found).reshape(len(made), len(answered))
    return ComputedRows(times, times, values)


class _Seen:
    """What is known of each place, moment after moment."""

    def __init__(self, rows: Mapping[Place, KnownRows], features: Sequence[TableFeature]) -> None:
        windows = list(dict.fromkeys(window for each in features for window in each.sees.values()))
        self._rows: dict[Place, KnownRows] = {}
        self._held: dict[Place, HeldRows] = {}
        self._bounds: dict[Place, set[tuple[int, int]]] = {}
        """Of each place the durations that bound windows, and of how many rows those are."""
        self._sights = [_Sight(place, *bounds) for place, bounds in dict.fromkeys(map(_bounded, windows))]
        numbers = {sight.bounds: at for at, sight in enumerate(self._sights)}
        self._seen: list[tuple[int, int]] = []
        self._asked = {
            each.name: [(numbers[_bounded(window)], window.column) for window in each.sees.values()]
            for each in features
        }
        self._numbers = {name: frozenset(number for number, _ in asked) for name, asked in self._asked.items()}
        self._answers: dict[str, float] = {}
        by_place: dict[Place, list[Window]] = {}
        for window in windows:
            place = (window.table, window.key)
            if place in rows:
                by_place.setdefault(place, []).append(window)
        for place, of_place in by_place.items():
            self._bounds[place] = {(each.within_ns, each.rows) for each in of_place if each.within}
            names = dict.fromkeys(each.column for each in of_place if each.column in rows[place].columns)
            self._rows[place] = rows[place]
            self._held[place] = HeldRows(list(names), len(rows[place].event_ns))

    def is_there(self, feature: TableFeature) -> bool:
        """Whether every table that a feature sees is there, with the columns that it sees."""
        return all(
            (held := self._held.get((window.table, window.key))) is not None
            and (window.column == EVENT_NS or window.column in held.series)
            for window in feature.sees.values()
        )

    def learn_until(self, now_ns: int) -> None:
        """Learn what was known at ``now_ns``."""
        for place, rows in self._rows.items():
            known = np.flatnonzero(rows.known_ns <= now_ns)
            known = known[np.argsort(rows.known_ns[known], kind="stable")]
            event_ns = rows.event_ns[known]
            if rows.item is None and bool((event_ns[1:] > event_ns[:-1]).all()):
                held = self._held[place]
                held.extend(event_ns, {name: rows.columns[name][known] for name in held.series})
                continue
            for at in known.tolist():
                self._learn(place, at)

    def moments(self, until_ns: int, after_ns: int | None) -> Iterator[int]:
        """The moments after ``after_ns`` at which an answer may change, ascending.

        What is known at each was learned when it is given; what was known at ``after_ns`` has been.
        """
        steps = sorted(step for place in self._rows for step in self._steps(place, until_ns, after_ns))
        is_new = False
        for at, (moment, ends, place, row) in enumerate(steps):
            is_new |= self._is_seen(place, row, moment) if ends else self._learn(place, row)
            if is_new and (at + 1 == len(steps) or steps[at + 1][0] != moment):
                is_new = False
                yield moment

    def values(self, features: Sequence[TableFeature], moment: int) -> list[float]:
        """The features' values on what is known at a moment; NaN where a window is not full."""
        seen = [
            (-1, -1) if (held := self._held.get(sight.place)) is None else sight.seen(held, moment)
            for sight in self._sights
        ]
        before: Sequence[tuple[int, int] | None] = self._seen or [None] * len(seen)
        self._seen = seen
        changed = {number for number, (new, old) in enumerate(zip(seen, before, strict=True)) if new != old}
        for each in features:
            if not changed.isdisjoint(self._numbers[each.name]):
                self._answers[each.name] = self._value(each)
        return [self._answers[each.name] for each in features]

    def _value(self, feature: TableFeature) -> float:
        series = []
        for number, name in self._asked[feature.name]:
            sight, (_, first) = self._sights[number], self._seen[number]
            found = None if first < 0 else sight.of(self._held[sight.place], name, self._seen[number])
            if found is None:
                return math.nan
            series.append(found)
        return feature.of(series)

    def _steps(self, place: Place, until_ns: int, after_ns: int | None) -> list[tuple[int, bool, Place, int]]:
        """When each row is learned, and when it leaves a window: moment, whether it leaves, place, row."""
        rows = self._rows[place]
        steps = []
        for within_ns in {0, *(within_ns for within_ns, _ in self._bounds[place])}:
            moments = rows.event_ns + within_ns if within_ns else rows.known_ns
            is_asked = moments <= until_ns
            if within_ns:
                is_asked &= moments > rows.known_ns
            if after_ns is not None:
                is_asked &= moments > after_ns
            places = np.flatnonzero(is_asked)
            steps += [
                (moment, within_ns > 0, place, at)
                for moment, at in zip(moments[places].tolist(), places.tolist(), strict=True)
            ]
        return steps

    def _learn(self, place: Place, at: int) -> bool:
        rows, held = self._rows[place], self._held[place]
        item = 0 if rows.item is None else int(rows.item[at])
        return held.learn(int(rows.event_ns[at]), {name: rows.columns[name][at] for name in held.series}, item)

    def _is_seen(self, place: Place, at: int, moment: int) -> bool:
        """Whether a window loses the row: one of last rows only when it is the newest."""
        event_ns, held = int(self._rows[place].event_ns[at]), self._held[place]
        is_newest = bool(held.event_ns[held.count - 1] == event_ns)
        return any(
            event_ns + within_ns == moment and (rows == 0 or is_newest) for within_ns, rows in self._bounds[place]
        )


_Bounded = tuple[Place, tuple[int, int]]
"""A place, how many rows of it are seen, 0 for all, and within which time, 0 for any."""


def _bounded(window: Window) -> _Bounded:
    return (window.table, window.key), (window.rows, window.within_ns)


class _Sight:
    """Rows of a place that parameters see, each a column of them."""

    def __init__(self, place: Place, rows: int, within_ns: int) -> None:
        self.place = place
        self.bounds: _Bounded = (place, (rows, within_ns))
        self._rows, self._within_ns = rows, within_ns
        self._columns: dict[str, tuple[tuple[int, int], Any]] = {}

    def seen(self, held: HeldRows, moment: int) -> tuple[int, int]:
        """The state of the rows, and the first that is seen at the moment; -1 where they are too few or too old.

        The same of both is the same sight.
        """
        if self._rows == 0:
            first = 0
            if self._within_ns:
                first = int(np.searchsorted(held.event_ns[: held.count], moment - self._within_ns, side="right"))
            return held.version, first
        is_old = held.count < self._rows or (
            self._within_ns > 0 and held.event_ns[held.count - 1] <= moment - self._within_ns
        )
        return held.version, -1 if is_old else held.count - self._rows

    def of(self, held: HeldRows, name: str, seen: tuple[int, int]) -> Any:
        """float64, or int64 where it is event times; None where one of last rows is not known."""
        before = self._columns.get(name)
        if before is not None and before[0] == seen:
            return before[1]
        column = held.event_ns if name == EVENT_NS else held.series[name]
        column = column[seen[1] : held.count]
        column.flags.writeable = False
        found = None if self._rows and np.isnan(column).any() else column
        self._columns[name] = seen, found
        return found
