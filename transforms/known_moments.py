"""Features of a moment: of rows of several tables, or of a stretch of time, that were known at it.

1. The moments are those at which something becomes known, and those at which a row leaves a window of time.
2. At each, in order, all rows of that known time are learned, and the features computed of what is known.
3. A moment at which something new was learned, or a window ended, makes one feature row: of that moment, created at it.

A feature is never given a row that was not known, so nothing that comes later can change an answer as of earlier.
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
            found.append([seen.value(each, moment) for each in answered.values()])
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

    def value(self, feature: TableFeature, moment: int) -> float:
        """The feature's value on what is known at a moment; NaN where a window is not full."""
        series = []
        for window in feature.sees.values():
            held = self._held.get((window.table, window.key))
            found = None if held is None else _window(held, window, moment)
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


def _window(held: HeldRows, window: Window, moment: int) -> Any:  # float64, or int64 where it is event times
    """What a parameter sees at a moment; None where it sees too little."""
    events = held.event_ns[: held.count]
    if window.column == EVENT_NS:
        column = events.view()
    elif window.column in held.series:
        column = held.series[window.column][: held.count]
    else:
        return None
    column.flags.writeable = False
    oldest_ns = moment - window.within_ns
    if window.rows == 0:
        return column[np.searchsorted(events, oldest_ns, side="right") :] if window.within else column
    if held.count < window.rows or (window.within and events[-1] <= oldest_ns):
        return None
    column = column[-window.rows :]
    return None if np.isnan(column).any() else column
