"""Draws: rows of the files as written, of every fold and split, drawn at random for the leakage check.

How many. A leak that is in a share p of a symbol's rows is in p / s of all rows of s symbols. Of n rows, one drawn in
each of n strata of equal size that hold shares q_1 ... q_n of it, all miss it with the chance

    (1 - q_1) ... (1 - q_n)  <=  (1 - mean(q))^n  =  (1 - p / s)^n,

since the product of numbers with a given mean is greatest when they are equal: strata never do worse than n free draws.
With p = LEAST_SHARE and the chance LEAST_CHANCE to see it, n = ceil(log(1 - 0.99) / log(1 - 0.05 / s)): 90 rows for
one symbol, 182 for two; 0.95^90 = 0.0099.

The strata are stretches of the files laid end to end, each file in order of time: every fold and split has its share of
draws, and every part of the period. A fold or split can have a leak of its own.

In place of a row that was drawn, one of its stratum, symbol and date is taken that an earlier check proved, where there
is one, but for a share of FRESH: those were drawn at random among the same rows, so the chance is the same, and what
the past gives need not be computed again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS
from training_sets.checks.foresight import Foresight
from training_sets.dataset.files import FilePiece, read_pieces
from training_sets.request.request import OutputFormat

LEAST_SHARE: Final = 0.05
LEAST_CHANCE: Final = 0.99
FRESH: Final = 0.02
"""Of the drawn rows, which stay as they were drawn whatever was proven before."""

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of a dataset: "train", or "fold-000/train"; ``rows`` is how many were written."""

    name: str
    path: Path
    rows: int
    output_format: OutputFormat


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row as it was read back from a file; values: float64 (columns,)."""

    file: str
    symbol: str
    time_ns: int
    values: Float64s


def rows_to_draw(symbols: int) -> int:
    """How many rows see a leak in LEAST_SHARE of the rows of any of so many symbols with LEAST_CHANCE."""
    return math.ceil(math.log(1.0 - LEAST_CHANCE) / math.log1p(-LEAST_SHARE / symbols))


def strata(total: int, count: int) -> Int64s:
    """The edges of ``count`` strata of equal size, of single rows when there are no more: int64 (strata + 1,)."""
    return np.linspace(0, total, min(count, total) + 1).astype(np.int64)


def draw_positions(total: int, count: int, seed: int) -> Int64s:
    """Numbers below ``total``, ascending: one drawn in each of ``count`` strata, all of them when there are no more."""
    edges = strata(total, count)
    sizes = np.diff(edges)
    return edges[:-1] + np.random.default_rng(seed).integers(0, np.maximum(sizes, 1))


def draw_rows(
    files: Sequence[WrittenFile],
    columns: Sequence[str],
    *,
    count: int,
    seed: int,
    foresight: Foresight,
    is_proven: Callable[[str, Int64s], npt.NDArray[np.bool_]] | None = None,
) -> list[Drawn]:
    """The drawn rows of all files together, each of which ``foresight`` sees whole.

    is_proven: which times of a symbol an earlier check proved; None is none.

    Raises InvalidRequest as ``foresight`` does, and CorruptStore.
    """
    total = sum(file.rows for file in files)
    positions, edges = draw_positions(total, count, seed), strata(total, count)
    drawn: list[Drawn] = []
    proven = ProvenDraw(edges, seed)
    begin = 0
    for file in files:
        for piece in read_pieces(file.path, columns, file.output_format):
            end = begin + len(piece.times_ns)
            first, last = np.searchsorted(positions, [begin, end]).tolist()
            drawn += [
                Drawn(file.name, str(piece.symbols[at]), int(piece.times_ns[at]), piece.values[at].copy())
                for at in (positions[first:last] - begin).tolist()
            ]
            if is_proven is not None:
                proven.add(file.name, piece, begin, is_proven)
            foresight.add(file.name, piece)
            begin = end
        foresight.finish(file.name)
    return [proven.instead_of(row, at) for at, row in enumerate(drawn)]


class ProvenDraw:
    """One proven row of each stratum, symbol and date that have any, each as likely as the others."""

    def __init__(self, edges: Int64s, seed: int) -> None:
        self._edges = edges
        self._generator = np.random.default_rng([seed, 1])
        self._seen: Counter[tuple[int, str, int]] = Counter()
        self._drawn: dict[tuple[int, str, int], Drawn] = {}

    def add(
        self, file: str, piece: FilePiece, begin: int, is_proven: Callable[[str, Int64s], npt.NDArray[np.bool_]]
    ) -> None:
        for symbol in dict.fromkeys(piece.symbols.tolist()):
            of_symbol = np.flatnonzero(piece.symbols == symbol)
            for at in of_symbol[is_proven(str(symbol), piece.times_ns[of_symbol])].tolist():
                stratum = int(np.searchsorted(self._edges, begin + at, side="right")) - 1
                row = Drawn(file, str(symbol), int(piece.times_ns[at]), piece.values[at].copy())
                cell = _cell(stratum, row)
                self._seen[cell] += 1
                if self._generator.random() * self._seen[cell] < 1.0:
                    self._drawn[cell] = row

    def instead_of(self, row: Drawn, stratum: int) -> Drawn:
        """A proven row like the one that was drawn, or that one."""
        return row if self._generator.random() < FRESH else self._drawn.get(_cell(stratum, row), row)


def _cell(stratum: int, row: Drawn) -> tuple[int, str, int]:
    """Within which rows stand for each other: what was proven of one symbol or date says nothing of another."""
    return stratum, row.symbol, row.time_ns // DAY_NS
