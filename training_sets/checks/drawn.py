"""Draws: rows of the files as written, drawn at random from every symbol and day for the leakage check.

How many. Of a symbol's rows a stratum holds the share w, of which a share q is a leak; at least n w rows of it are
drawn. The chance to miss a leak that is in a share p of the symbol's rows, the sum of all w q, is at most

    product of (1 - q)^(n w)  <=  product of e^(-n w q)  =  e^(-n p).

With p = LEAST_SHARE and the chance LEAST_CHANCE to see it, n = ceil(-log(1 - 0.99) / 0.05) = 93 of each symbol.

The strata are stretches of the clock, over all files: each fold and split has its share of draws. They are as long as
fits n times into what the dataset covers, of a day, two, four ... days, or a half, a quarter ... of one, counted from
1970. Where one has more than its share of rows, they are numbered file after file, each in order of time, and cut into
as many parts as there are draws, one row in each. So a stretch has the same strata whatever its neighbours: what an
earlier check proved of it is of use when days, folds or labels are others.

In place of a row that was drawn, one of its stratum and date is taken that an earlier check proved, where there is one,
but for a share of FRESH: those were drawn at random among the same rows, so the chance is the same, and what the past
gives need not be computed again.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
LEAST_DRAWN: Final = math.ceil(-math.log(1.0 - LEAST_CHANCE) / LEAST_SHARE)
"""Rows of each symbol that see a leak in LEAST_SHARE of them with LEAST_CHANCE."""
FRESH: Final = 0.02
"""Of the drawn rows, which stay as they were drawn whatever was proven before."""

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
IsProven = Callable[[str, Int64s], npt.NDArray[np.bool_]]
"""Which times of a symbol, int64 (n,), an earlier check proved, bool (n,)."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of a dataset: "train", or "fold-000/train"; how many rows were written of each symbol and stretch.

    rows: by symbol and number of the stretch of ``stratum_ns`` since 1970.
    """

    name: str
    path: Path
    rows: Mapping[tuple[str, int], int]
    output_format: OutputFormat


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row as it was read back from a file; values: float64 (columns,)."""

    file: str
    symbol: str
    time_ns: int
    values: Float64s


def stratum_ns(spans: Sequence[tuple[int, int]]) -> int:
    """How long a stretch of the clock is, of disjoint [start, end) that a dataset covers, ns."""
    total_ns = sum(end_ns - start_ns for start_ns, end_ns in spans)
    length_ns = DAY_NS
    while length_ns * LEAST_DRAWN > total_ns and length_ns % 2 == 0:
        length_ns //= 2
    while 2 * length_ns * LEAST_DRAWN <= total_ns:
        length_ns *= 2
    return length_ns


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows of a symbol in a stretch, and in how many parts they are cut; number: of the first part."""

    rows: int
    parts: int
    number: int

    def part_of(self, row: int) -> int:
        return self.number + row * self.parts // self.rows

    def drawn(self, generator: np.random.Generator) -> Int64s:
        """The numbers of rows, ascending, one drawn in each part."""
        edges = -(-np.arange(self.parts + 1) * self.rows // self.parts)
        return edges[:-1] + generator.integers(0, np.diff(edges))


class Strata:
    """The strata of some files' rows. Rows of a symbol and stretch are numbered in the order of the files."""

    def __init__(self, files: Sequence[WrittenFile]) -> None:
        rows: Counter[tuple[str, int]] = Counter()
        of_symbol: Counter[str] = Counter()
        for file in files:
            rows.update(file.rows)
        for (symbol, _), count in rows.items():
            of_symbol[symbol] += count
        self.stretches: dict[tuple[str, int], _Stretch] = {}
        number = 0
        for (symbol, at), count in sorted(rows.items()):
            parts = min(count, -(-LEAST_DRAWN * count // of_symbol[symbol]))
            self.stretches[symbol, at] = _Stretch(count, parts, number)
            number += parts


class Draw:
    """Takes the rows of all files, one piece after the other; ``rows`` are those that were drawn.

    length_ns: of a stretch, by which the files tell their rows.
    """

    def __init__(
        self, files: Sequence[WrittenFile], length_ns: int, seed: int, is_proven: IsProven | None = None
    ) -> None:
        generator = np.random.default_rng(seed)
        self._length_ns = length_ns
        self._stretches = Strata(files).stretches
        self._wanted = {key: each.drawn(generator) for key, each in self._stretches.items()}
        self._passed: Counter[tuple[str, int]] = Counter()
        self._drawn: dict[int, Drawn] = {}
        self._is_proven = is_proven
        self._generator = np.random.default_rng([seed, 1])
        self._seen: Counter[tuple[int, int]] = Counter()
        self._proven: dict[tuple[int, int], Drawn] = {}

    def add(self, file: str, piece: FilePiece) -> None:
        for number, symbol in enumerate(piece.symbols):
            of_symbol = np.flatnonzero(piece.symbol == number)
            if len(of_symbol) == 0:
                continue
            times_ns = piece.times_ns[of_symbol]
            is_proven = np.zeros(len(times_ns), np.bool_)
            if self._is_proven is not None:
                is_proven = self._is_proven(symbol, times_ns)
            of = times_ns // self._length_ns
            edges = [0, *(np.flatnonzero(np.diff(of)) + 1).tolist(), len(of)]
            for begin, end in itertools.pairwise(edges):
                rows = _Rows(file, symbol, piece, of_symbol[begin:end])
                self._add(rows, (symbol, int(of[begin])), is_proven[begin:end])

    def _add(self, rows: _Rows, key: tuple[str, int], is_proven: npt.NDArray[np.bool_]) -> None:
        stretch, wanted, passed = self._stretches[key], self._wanted[key], self._passed[key]
        first, last = np.searchsorted(wanted, [passed, passed + len(is_proven)]).tolist()
        for part in range(first, last):
            self._drawn[stretch.number + part] = rows.at(int(wanted[part]) - passed)
        proven = np.flatnonzero(is_proven)
        chosen: dict[tuple[int, int], int] = {}
        for at, time_ns in zip(proven.tolist(), rows.times_ns(proven), strict=True):
            # A proof says nothing of another date.
            cell = stretch.part_of(passed + at), time_ns // DAY_NS
            self._seen[cell] += 1
            if self._generator.random() * self._seen[cell] < 1.0:
                chosen[cell] = at
        self._proven |= {cell: rows.at(at) for cell, at in chosen.items()}
        self._passed[key] += len(is_proven)

    def rows(self) -> list[Drawn]:
        """A row of each stratum: one that was proven, as likely as the others of its stratum and date, or drawn."""
        return [
            row if self._generator.random() < FRESH else self._proven.get((number, row.time_ns // DAY_NS), row)
            for number, row in sorted(self._drawn.items())
        ]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a piece, by their numbers in it."""

    file: str
    symbol: str
    piece: FilePiece
    of_piece: Int64s

    def times_ns(self, numbers: Int64s) -> list[int]:
        times: list[int] = self.piece.times_ns[self.of_piece[numbers]].tolist()
        return times

    def at(self, number: int) -> Drawn:
        at = int(self.of_piece[number])
        return Drawn(self.file, self.symbol, int(self.piece.times_ns[at]), self.piece.row(at))


def draw_rows(
    files: Sequence[WrittenFile],
    columns: Sequence[str],
    *,
    length_ns: int,
    seed: int,
    foresight: Foresight,
    is_proven: IsProven | None = None,
) -> list[Drawn]:
    """The drawn rows of all files together, each of which ``foresight`` sees whole.

    length_ns: of a stretch, by which the files tell their rows. is_proven: None is that nothing was.

    Raises InvalidRequest as ``foresight`` does, and CorruptStore.
    """
    draw = Draw(files, length_ns, seed, is_proven)
    for file in files:
        for piece in read_pieces(file.path, columns, file.output_format):
            draw.add(file.name, piece)
            foresight.add(file.name, piece)
        foresight.finish(file.name)
    return draw.rows()
