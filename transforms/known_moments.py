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
    made, values = [], []
    for moment in seen.moments(until_ns):
        if after_ns is None or moment > after_ns:
            made.append(moment)
            with np.errstate(all="ignore"):  # a price of 0 is no reason to end
                values.append([seen.value(each, moment) for each in features])
    times = np.array(made, np.int64)
    return ComputedRows(times, times, np.array(values, np.float64).reshape(-1, len(features)))


class _Seen:
    """What is known of each place, moment after moment."""

    def __init__(self, rows: Mapping[Place, KnownRows], features: Sequence[TableFeature]) -> None:
        windows = list(dict.fromkeys(window for each in features for window in each.sees.values()))
        self._rows: dict[Place, KnownRows] = {}
        self._held: dict[Place, HeldRows] = {}
        self._windows: dict[Place, list[Window]] = {}
        for window in windows:
            place = (window.table, window.key)
            if place in rows:
                self._windows.setdefault(place, []).append(window)
        for place, of_place in self._windows.items():
            names = dict.fromkeys(each.column for each in of_place if each.column in rows[place].columns)
            self._rows[place] = rows[place]
            self._held[place] = HeldRows(list(names), len(rows[place].event_ns))

    def moments(self, until_ns: int) -> Iterator[int]:
        """The moments at which an answer may change, ascending; what is known at each was learned when it is given."""
        steps = sorted(step for place in self._rows for step in self._steps(place) if step[0] <= until_ns)
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

    def _steps(self, place: Place) -> list[tuple[int, bool, Place, int]]:
        """When each row is learned, and when it leaves a window: moment, whether it leaves, place, row."""
        rows = self._rows[place]
        steps = [(int(known), False, place, at) for at, known in enumerate(rows.known_ns)]
        for within_ns in {each.within_ns for each in self._windows[place] if each.within}:
            steps += [
                (int(event) + within_ns, True, place, at)
                for at, event in enumerate(rows.event_ns)
                if event + within_ns > rows.known_ns[at]
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
            each.within and event_ns + each.within_ns == moment and (each.rows == 0 or is_newest)
            for each in self._windows[place]
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
