"""A piece of samples: rows with features, inputs and labels, as tables of the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BARRIERS: Final = ("lower", "end", "upper")
"""What a triple-barrier label of -1, 0 and +1 has met."""
META_BARRIERS: Final = ("stop", "end", "profit")
"""What the trade that a meta-label judges has met."""

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MetBarriers:
    """met: float64 (n,), -1, 0 or +1. touched_ns: int64 (n,). names: of the barriers -1, 0 and +1."""

    met: Float64s
    touched_ns: Int64s
    names: tuple[str, str, str]

    def only(self, rows: npt.NDArray[np.bool_]) -> MetBarriers:
        return MetBarriers(self.met[rows], self.touched_ns[rows], self.names)


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows in order of time, then of the request's symbols.

    times_ns: int64 (n,). decisions_ns: int64 (n,), when the model acts on each. symbol: int64 (n,), index into the
    request's symbols. features: float64 (n, columns), labels: float64 (n, targets). barriers: by the number of each
    triple-barrier target, which was met and when. inputs: float64 (n, inputs), what a model takes in addition to the
    features. Features lie column by column, as every split writes them.
    """

    times_ns: Int64s
    decisions_ns: Int64s
    symbol: Int64s
    features: Float64s
    labels: Float64s
    barriers: Mapping[int, MetBarriers]
    inputs: Float64s

    def __len__(self) -> int:
        return len(self.times_ns)

    def rows_of_stretches(self, rows: Int64s, length_ns: int) -> dict[tuple[int, int], int]:
        """How many of some rows there are by number of the symbol and of the stretch of that length since 1970."""
        symbols = int(self.symbol.max()) + 1
        found, counts = np.unique(self.times_ns[rows] // length_ns * symbols + self.symbol[rows], return_counts=True)
        return {
            (each % symbols, each // symbols): count
            for each, count in zip(found.tolist(), counts.tolist(), strict=True)
        }

    def table(
        self,
        rows: Int64s,
        symbols: tuple[str, ...],
        schema: pa.Schema,
        fold: int | None,
        paths: Sequence[tuple[int, int, int]] | None = None,
    ) -> pa.Table:
        """Some rows, one at least, as a table of the schema. Unknown stays NaN, as it was served.

        paths: (start, end, path) of the times that are of one; None for a schema without paths.
        """
        # The rows of a period follow each other: nothing is copied of columns that lie in one piece.
        whole = slice(int(rows[0]), int(rows[-1]) + 1) if rows[-1] - rows[0] + 1 == len(rows) else rows
        columns: list[Any] = [
            _texts(symbols, self.symbol[rows]),
            pa.array(self.times_ns[rows]).cast(pa.timestamp("ns", "UTC")),
            *(pa.array(column[whole]) for held in (self.features, self.labels) for column in held.T),
        ]
        for each in self.barriers.values():
            met = each.met[rows].astype(np.int64) + 1
            columns.append(pa.array(each.touched_ns[rows]).cast(pa.timestamp("ns", "UTC")))
            columns.append(_texts(each.names, met))
        columns += [pa.array(np.ascontiguousarray(column)) for column in self.inputs[rows].T]
        if fold is not None:
            columns.append(pa.repeat(pa.scalar(fold, pa.int32()), len(rows)))
        if paths is not None:
            number = np.full(len(rows), -1, np.int32)
            for start_ns, end_ns, path in paths:
                number[(self.times_ns[rows] >= start_ns) & (self.times_ns[rows] < end_ns)] = path
            columns.append(pa.array(number, mask=number < 0))
        return pa.table(columns, schema=schema)


def _texts(names: Sequence[str], numbers: Int64s) -> pa.Array[Any]:
    """The name of each number; not made of Python's texts, one by one."""
    return pa.DictionaryArray.from_arrays(numbers, pa.array(names, pa.string())).cast(pa.string())
