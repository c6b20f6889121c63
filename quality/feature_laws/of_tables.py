"""Features of tables as a subject of the laws: the replay itself, on rows of tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from quality.feature_laws.subject import Column, Rows
from transforms.known_rows import ComputedRows, KnownRows
from transforms.table_group import TableGroup, Tables

_FOREVER_NS = np.iinfo(np.int64).max


class TableFeatures:
    """The features of a group over tables."""

    def __init__(self, group: TableGroup) -> None:
        self._group = group
        self.columns = [Column(each.name, each.low, each.high) for each in group.columns]
        self._longest_ns = max(window.within_ns for each in group.features for window in each.sees.values())

    def times(self, stream: Tables) -> npt.NDArray[np.int64]:
        """When each row became known."""
        return np.sort(np.concatenate([np.empty(0, np.int64), *(rows.known_ns for _, _, rows in _all(stream))]))

    def rows(self, stream: Tables) -> Rows:
        return self._joined([self._group.computed(stream, until_ns=self._end(stream))])

    def in_pieces(self, stream: Tables, cuts_ns: Sequence[int], *, restarts: bool) -> Rows:  # noqa: ARG002
        """Each piece continues from a log that ends at the cut before it, and knows nothing else."""
        pieces = []
        after_ns: int | None = None
        for until_ns in [*cuts_ns, self._end(stream)]:
            known = _until(stream, until_ns)
            keys = ["", *{key for of_table in known.values() for key in of_table}]
            after = None if after_ns is None else dict.fromkeys(keys, after_ns)
            pieces.append(self._group.computed(known, until_ns=until_ns, after_ns=after))
            after_ns = until_ns
        return self._joined(pieces)

    def from_start(self, stream: Tables, start_ns: int) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """A table whose history was cut off: a row must agree once as many rows are known as its features see."""
        cut = _kept(stream, lambda rows: rows.event_ns >= start_ns)
        rows = self._joined([self._group.computed(cut, until_ns=self._end(stream))])
        agrees = np.zeros(rows.values.shape, np.bool_)
        if not self._group.is_of_rows:
            return rows, agrees
        of_table = cut[self._group.tables[0]]
        for at, (known_ns, key) in enumerate(zip(rows.known_ns.tolist(), rows.keys, strict=True)):
            held = of_table[key]
            count = len(np.unique(held.event_ns[held.known_ns <= known_ns]))
            for column, each in enumerate(self._group.features):
                agrees[at, column] = count >= each.rows
        return rows, agrees

    def with_another_future(self, stream: Tables, at_ns: int, random: np.random.Generator) -> Tables:
        if random.integers(2):
            return _until(stream, at_ns)
        factor = float(random.choice([0.5, 3.0]))
        changed: dict[str, dict[str, KnownRows]] = {}
        for table, key, rows in _all(stream):
            is_later = rows.known_ns > at_ns
            columns = {name: np.where(is_later, held * factor, held) for name, held in rows.columns.items()}
            changed.setdefault(table, {})[key] = KnownRows(rows.event_ns, rows.known_ns, columns, rows.item)
        return changed

    def elsewhere(self, stream: Tables) -> Rows | None:  # noqa: ARG002  # a table's features are computed in one way
        return None

    def without(self, stream: Tables, first: int, end: int) -> Tables:
        times = self.times(stream)
        low, high = times[first], times[end] if end < len(times) else _FOREVER_NS
        return _kept(stream, lambda rows: (rows.known_ns < low) | (rows.known_ns >= high))

    def _joined(self, pieces: Sequence[Mapping[str, ComputedRows]]) -> Rows:
        found = [
            (int(known_ns), key, computed.values[at])
            for piece in pieces
            for key, computed in piece.items()
            for at, known_ns in enumerate(computed.created_ns)
        ]
        found.sort(key=lambda row: row[:2])
        values = np.array([row[2] for row in found]).reshape(-1, len(self.columns))
        return Rows(np.array([row[0] for row in found], np.int64), tuple(row[1] for row in found), values)

    def _end(self, stream: Tables) -> int:
        """When the last row has left every window: until then time alone makes rows, after a cut too."""
        times = self.times(stream)
        return int(times[-1]) + 1 + self._longest_ns if len(times) else 0


def _all(stream: Tables) -> list[tuple[str, str, KnownRows]]:
    return [(table, key, rows) for table, of_table in stream.items() for key, rows in of_table.items()]


def _until(stream: Tables, at_ns: int) -> Tables:
    return _kept(stream, lambda rows: rows.known_ns <= at_ns)


def _kept(stream: Tables, chosen: Callable[[KnownRows], npt.NDArray[np.bool_]]) -> Tables:
    kept: dict[str, dict[str, KnownRows]] = {table: {} for table in stream}
    for table, key, rows in _all(stream):
        is_kept = chosen(rows)
        if is_kept.any():
            kept[table][key] = KnownRows(
                rows.event_ns[is_kept],
                rows.known_ns[is_kept],
                {name: held[is_kept] for name, held in rows.columns.items()},
                None if rows.item is None else rows.item[is_kept],
            )
    return kept
