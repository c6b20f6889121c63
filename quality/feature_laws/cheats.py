"""Cheats of ten kinds, planted in a group that keeps the laws: a law that lets one through proves little.

Each is what a careless author writes, put around one column's honest values, so it cheats on the same stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import MINUTE_NS
from quality.feature_laws.subject import Column, Rows, Stream, Subject

Values = npt.NDArray[np.float64]
Change = Callable[[Rows, Values], Values]
"""From rows of one key and the honest values of a column to those of the cheat."""


class Kept:
    """What a cheat keeps where nothing may be kept."""

    def __init__(self) -> None:
        self.rows = 0
        self.last = 1.0


def look_ahead(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
    return np.append(values[1:], values[-1:])


def centred(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
    around = np.concatenate([values[:1], values, values[-1:]])
    return np.asarray((around[:-2] + around[1:-1] + around[2:]) / 3.0)


def back_filled(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
    found = values.copy()
    for at in range(len(found) - 2, -1, -1):
        if np.isnan(found[at]):
            found[at] = found[at + 1]
    return found


def of_the_whole_sample(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
    known = values[~np.isnan(values)]
    return (values - np.mean(known)) / (np.std(known) or 1.0) if len(known) else values


def open_candle(rows: Rows, values: Values) -> Values:
    """The close of a candle that has not ended: of a minute, or of five rows where they are further apart."""
    step = np.diff(rows.known_ns)
    is_dense = len(step) > 0 and np.median(step) < MINUTE_NS
    candle = rows.known_ns // MINUTE_NS if is_dense else np.arange(len(values)) // 5
    last = np.append(np.flatnonzero(np.diff(candle)), len(values) - 1)
    return np.asarray(values[last[np.searchsorted(last, np.arange(len(values)))]])


def wall_clock(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
    return values + time.perf_counter_ns() % 1_000_003


def unordered_sum(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
    """Parts of each value added in an order that chance decides, as that of a set of texts."""
    order = np.random.default_rng().permutation(9)
    parts = np.array([1e9, 0.1, -1e9, 0.7, 1e-3, 3e8, 0.3, -3e8, 1e7 / 3])[order]
    total = np.zeros(len(values))
    for part in parts:
        total = total + part
    return values + total


def longer_than_declared(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
    """A mean of everything since the beginning, whatever the horizon says."""
    known = np.nan_to_num(values)
    return values + np.cumsum(known + 1.0)


def counting(kept: Kept) -> Change:
    """A count of all rows since the process began, which no checkpoint has."""

    def change(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
        kept.rows += len(values)
        return values + np.arange(kept.rows - len(values), kept.rows)

    return change


def hidden_global(kept: Kept) -> Change:
    """Scaled by what another call left behind."""

    def change(rows: Rows, values: Values) -> Values:  # noqa: ARG001  # a change
        found = values + kept.last
        known = values[~np.isnan(values)]
        kept.last += 1.0 + (float(known[-1]) if len(known) else 0.0)
        return found

    return change


CHEATS: Final[Mapping[str, Callable[[], Change]]] = {
    "one-row look-ahead": lambda: look_ahead,
    "centred window": lambda: centred,
    "back-fill": lambda: back_filled,
    "full-sample z-score": lambda: of_the_whole_sample,
    "open candle": lambda: open_candle,
    "wall clock": lambda: wall_clock,
    "state that survives a restart": lambda: counting(Kept()),
    "unordered sum": lambda: unordered_sum,
    "horizon declared too short": lambda: longer_than_declared,
    "hidden global": lambda: hidden_global(Kept()),
}


class Cheating:
    """A subject with a cheat in one of its columns; its values are judged as the honest ones are."""

    def __init__(self, honest: Subject, column: int, change: Change) -> None:
        self._honest = honest
        self._column = column
        self._change = change
        own = honest.columns[column]
        # A cheat of another scale must be seen for what it does, not for its range.
        self.columns: Sequence[Column] = [Column(own.name, -np.inf, np.inf, own.horizon_ns)]

    def times(self, stream: Stream) -> npt.NDArray[np.int64]:
        return self._honest.times(stream)

    def rows(self, stream: Stream) -> Rows:
        return self._cheat(self._honest.rows(stream))

    def in_pieces(self, stream: Stream, cuts_ns: Sequence[int], *, restarts: bool) -> Rows:
        """The cheat in each piece alone, as it would be computed."""
        rows = self._honest.in_pieces(stream, cuts_ns, restarts=restarts)
        bounds = [*cuts_ns, np.iinfo(np.int64).max]
        pieces = []
        before = np.iinfo(np.int64).min
        for bound in bounds:
            pieces.append(self._cheat(rows.where((rows.known_ns > before) & (rows.known_ns <= bound))))
            before = bound
        return Rows(
            np.concatenate([piece.known_ns for piece in pieces]),
            tuple(key for piece in pieces for key in piece.keys),
            np.concatenate([piece.values for piece in pieces]),
        )

    def from_start(self, stream: Stream, start_ns: int) -> tuple[Rows, npt.NDArray[np.bool_]]:
        rows, agrees = self._honest.from_start(stream, start_ns)
        return self._cheat(rows), agrees[:, [self._column]]

    def with_another_future(self, stream: Stream, at_ns: int, random: np.random.Generator) -> Stream:
        return self._honest.with_another_future(stream, at_ns, random)

    def elsewhere(self, stream: Stream) -> Rows | None:  # noqa: ARG002  # another process knows no cheat of this one
        return None

    def without(self, stream: Stream, first: int, end: int) -> Stream:
        return self._honest.without(stream, first, end)

    def _cheat(self, rows: Rows) -> Rows:
        values = rows.values[:, [self._column]].copy()
        keys = np.array(rows.keys)
        for key in dict.fromkeys(rows.keys):
            is_of = keys == key
            of_key: Any = rows.where(is_of)
            with np.errstate(all="ignore"):
                values[is_of, 0] = self._change(of_key, values[is_of, 0])
        return Rows(rows.known_ns, rows.keys, values)
