"""Draws: rows of the files as written, of every fold and split, drawn at random for the leakage check.

How many. A leak that is in a share p of a symbol's rows is in p / s of all rows of s symbols. Of n rows, one drawn in
each of n strata of equal size that hold shares q_1 ... q_n of it, all miss it with the chance

    (1 - q_1) ... (1 - q_n)  <=  (1 - mean(q))^n  =  (1 - p / s)^n,

since the product of numbers with a given mean is greatest when they are equal: strata never do worse than n free draws.
With p = LEAST_SHARE and the chance LEAST_CHANCE to see it, n = ceil(log(1 - 0.99) / log(1 - 0.05 / s)): 90 rows for
one symbol, 182 for two; 0.95^90 = 0.0099.

The strata are stretches of the files laid end to end, each file in order of time: every fold and split has its share of
draws, and every part of the period. A fold or split can have a leak of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from training_sets.checks.foresight import Foresight
from training_sets.dataset.files import read_pieces
from training_sets.request.request import OutputFormat

LEAST_SHARE: Final = 0.05
LEAST_CHANCE: Final = 0.99

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


def draw_positions(total: int, count: int, seed: int) -> Int64s:
    """Numbers below ``total``, ascending: one drawn in each of ``count`` strata, all of them when there are no more."""
    edges = np.linspace(0, total, min(count, total) + 1).astype(np.int64)
    sizes = np.diff(edges)
    return edges[:-1] + np.random.default_rng(seed).integers(0, np.maximum(sizes, 1))


def draw_rows(
    files: Sequence[WrittenFile],
    columns: Sequence[str],
    *,
    count: int,
    seed: int,
    foresight: Foresight,
) -> list[Drawn]:
    """The drawn rows of all files together, each of which ``foresight`` sees whole.

    Raises InvalidRequest as it does, and CorruptStore.
    """
    positions = draw_positions(sum(file.rows for file in files), count, seed)
    drawn: list[Drawn] = []
    begin = 0
    for file in files:
        for piece in read_pieces(file.path, columns, file.output_format):
            end = begin + len(piece.times_ns)
            first, last = np.searchsorted(positions, [begin, end]).tolist()
            drawn += [
                Drawn(file.name, str(piece.symbols[at]), int(piece.times_ns[at]), piece.values[at].copy())
                for at in (positions[first:last] - begin).tolist()
            ]
            foresight.add(file.name, piece)
            begin = end
        foresight.finish(file.name)
    return drawn
