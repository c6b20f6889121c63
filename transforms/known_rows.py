"""Features over the rows of one key, replayed in the order in which they became known.

1. Rows are ordered by known time, then event time, then as they came.
2. All rows of one known time are learned: a row of a new event time joins, one of an event time that is held restates
   it. One that says what is known already changes nothing.
3. When something changed, the features of the newest event that is known are computed of the last known rows, and make
   one feature row: of that event, created at that known time.

A feature is never given a row that was not known, so nothing that comes later can change an answer as of earlier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.table_feature import TableFeature

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Rows of one key as they came, in any order.

    event_ns, known_ns: (n,) what time each row is of and from when on it could be read; known is never before event.
    columns: (n,) float64 by name; NaN is not known.
    """

    event_ns: Int64Array
    known_ns: Int64Array
    columns: Mapping[str, Float64Array]

    def until(self, now_ns: int) -> KnownRows:
        """Those known at ``now_ns``, in the order in which they are learned."""
        order = np.lexsort((self.event_ns, self.known_ns))
        order = order[self.known_ns[order] <= now_ns]
        return KnownRows(
            self.event_ns[order], self.known_ns[order], {name: held[order] for name, held in self.columns.items()}
        )


@dataclass(frozen=True, slots=True)
class ComputedRows:
    """Feature rows of one key, ascending by creation, each another one.

    event_ns, created_ns: (m,). values: (m, features) float64; NaN is not known.
    """

    event_ns: Int64Array
    created_ns: Int64Array
    values: Float64Array


class _Held:
    """What is known of one key, ascending by event."""

    def __init__(self, names: Sequence[str], capacity: int) -> None:
        self.event_ns = np.empty(capacity, np.int64)
        self.series: dict[str, Any] = {name: np.empty(capacity) for name in names}
        self.count = 0

    def learn(self, event_ns: int, row: Mapping[str, float]) -> bool:
        """Take in a row; whether it says anything new."""
        at = self.count
        if at and event_ns <= self.event_ns[at - 1]:
            at = int(np.searchsorted(self.event_ns[: self.count], event_ns))
        if at < self.count and self.event_ns[at] == event_ns:
            same = all(
                held[at] == row[name] or (np.isnan(held[at]) and np.isnan(row[name]))
                for name, held in self.series.items()
            )
            if same:
                return False
        else:
            for held in (self.event_ns, *self.series.values()):
                held[at + 1 : self.count + 1] = held[at : self.count]
            self.event_ns[at] = event_ns
            self.count += 1
        for name, held in self.series.items():
            held[at] = row[name]
        return True

    def known(self) -> dict[str, Any]:
        """All rows, by column, which a feature cannot write into."""
        views = {name: held[: self.count] for name, held in self.series.items()}
        for view in views.values():
            view.flags.writeable = False
        return views


def computed_rows(rows: KnownRows, features: Sequence[TableFeature], *, after_ns: int | None = None) -> ComputedRows:
    """The feature rows of one key; with ``after_ns`` those alone that were created later.

    A feature is NaN where there are fewer rows than it sees, or one of its columns is in no row.
    """
    names = list(dict.fromkeys(name for each in features for name in each.columns if name in rows.columns))
    is_given = [all(name in rows.columns for name in each.columns) for each in features]
    order = np.lexsort((rows.event_ns, rows.known_ns))
    known_ns = rows.known_ns[order]
    held = _Held(names, len(order))
    events, created, values = [], [], []
    is_changed = False
    for place, at in enumerate(order.tolist()):
        is_changed |= held.learn(int(rows.event_ns[at]), {name: rows.columns[name][at] for name in names})
        is_last = place + 1 == len(order) or known_ns[place + 1] != known_ns[place]
        if not is_last or not is_changed:
            continue
        is_changed = False
        if after_ns is not None and known_ns[place] <= after_ns:
            continue
        known = held.known()
        events.append(int(held.event_ns[held.count - 1]))
        created.append(int(known_ns[place]))
        with np.errstate(all="ignore"):  # a price of 0 is no reason to end
            values.append(
                [
                    each.value(known) if given and each.rows <= held.count else np.nan
                    for each, given in zip(features, is_given, strict=True)
                ]
            )
    return ComputedRows(
        np.array(events, np.int64), np.array(created, np.int64), np.array(values, np.float64).reshape(-1, len(features))
    )
