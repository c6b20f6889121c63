"""The profile of a table: what each column holds, counted exactly over any number of pieces, and a bounded sample."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

SAMPLE_ROWS: Final = 20_000
"""Correlations, quantiles and charts come from at most this many rows, evenly spaced."""
CLASSES: Final = (-1.0, 0.0, 1.0)


class TableProfile:
    """Counts by column; all arrays are (columns,).

    low, high: the declared closed range of every value that is not NaN; -inf and inf where none is declared. classes:
    columns whose values of each of CLASSES are counted; None is all of them.
    """

    def __init__(
        self, columns: Sequence[str], low: Float64s, high: Float64s, *, classes: Collection[str] | None = None
    ) -> None:
        self.columns = tuple(columns)
        self.rows = 0
        self.missing, self.infinite, self.outside = np.zeros((3, len(self.columns)), np.int64)
        self.least = np.full(len(self.columns), np.inf)
        self.greatest = np.full(len(self.columns), -np.inf)
        self.of_class = np.zeros((len(self.columns), len(CLASSES)), np.int64)
        self._of_classes = [at for at, name in enumerate(self.columns) if classes is None or name in classes]
        self._low, self._high = low, high
        self._stride = 1
        self._sampled: list[tuple[Int64s, Int64s, Int64s, Float64s]] = []
        self._correlations: tuple[int, Float64s] | None = None

    def add(self, times_ns: Int64s, values: Float64s, symbol: Int64s | None = None) -> None:
        """Take rows: times int64 (n,), values float64 (n, columns), symbol int64 (n,), a number; None is one symbol."""
        self.missing += _count(np.isnan(values))
        least = np.fmin.reduce(values, axis=0, initial=np.inf)
        greatest = np.fmax.reduce(values, axis=0, initial=-np.inf)
        if (least == -np.inf).any() or (greatest == np.inf).any():
            is_infinite = np.isinf(values)
            self.infinite += _count(is_infinite)
            known = np.where(is_infinite, np.nan, values)
            least = np.fmin.reduce(known, axis=0, initial=np.inf)
            greatest = np.fmax.reduce(known, axis=0, initial=-np.inf)
        self.least, self.greatest = np.fmin(self.least, least), np.fmax(self.greatest, greatest)
        # What lies between is counted where there may be some: a pass over a piece takes as long as to write it.
        for at in np.flatnonzero((least < self._low) | (greatest > self._high)).tolist():
            column = values[:, at]
            is_outside = (column < self._low[at]) | (column > self._high[at])
            self.outside[at] += np.count_nonzero(is_outside & ~np.isinf(column))
        for at in self._of_classes:
            self.of_class[at] += [np.count_nonzero(values[:, at] == label) for label in CLASSES]
        number = np.arange(self.rows, self.rows + len(values))
        self.rows += len(values)
        self._keep(number, times_ns, np.zeros(len(values), np.int64) if symbol is None else symbol, values)
        while sum(len(kept) for kept, *_ in self._sampled) > SAMPLE_ROWS:
            self._stride *= 2
            pieces, self._sampled = self._sampled, []
            for piece in pieces:
                self._keep(*piece)

    def _keep(self, number: Int64s, times_ns: Int64s, symbol: Int64s, values: Float64s) -> None:
        """Keep the rows whose number is a multiple of the stride, so that the cuts do not matter."""
        rows = np.flatnonzero(number % self._stride == 0)
        self._sampled.append((number[rows], times_ns[rows], symbol[rows], values[rows]))

    @property
    def sample(self) -> tuple[Int64s, Float64s]:
        """Times, int64 (m,), and values, float64 (m, columns), of the sampled rows, in the order they came."""
        empty = (np.empty(0, np.int64), np.empty((0, len(self.columns))))
        times = [empty[0], *(times_ns for _, times_ns, _, _ in self._sampled)]
        return np.concatenate(times), np.concatenate([empty[1], *(values for *_, values in self._sampled)])

    @property
    def sample_symbol(self) -> Int64s:
        """The number of the symbol of each sampled row, int64 (m,)."""
        return np.concatenate([np.empty(0, np.int64), *(symbol for _, _, symbol, _ in self._sampled)])

    @property
    def correlations(self) -> Float64s:
        """Those of each pair of columns in the sampled rows, see ``correlations``; computed once for these rows."""
        if self._correlations is None or self._correlations[0] != self.rows:
            self._correlations = self.rows, correlations(self.sample[1], self.sample_symbol)
        return self._correlations[1]


def _count(is_so: npt.NDArray[np.bool_]) -> Int64s:
    """How many are, by column; twice as fast as ``sum`` of booleans."""
    counts: Int64s = np.add.reduce(is_so.view(np.uint8), axis=0, dtype=np.uint32).astype(np.int64)
    return counts


def correlations(values: Float64s, symbol: Int64s) -> Float64s:
    """Pearson's correlation of each pair of columns over the rows where both are known; float64 (columns, columns).

    symbol: int64 (n,), the symbol of each row. Of several it is the mean of the symbols', each by its rows: that one
    costs 65,000 and another 2,000 would make a price like everything else that differs between them.

    NaN: fewer than 30 such rows, or a column that is constant there, of every symbol.
    """
    total, weight = np.zeros((2, values.shape[1], values.shape[1]))
    for one in np.unique(symbol):
        found, count = _pearson(values[symbol == one])
        is_known = ~np.isnan(found)
        total += np.where(is_known, found * count, 0.0)
        weight += np.where(is_known, count, 0.0)
    combined: Float64s = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    return combined


def _pearson(values: Float64s) -> tuple[Float64s, Float64s]:
    """The correlation of each pair in one symbol, and in how many rows both are known; float64 (columns, columns)."""
    found, count = np.full((values.shape[1],) * 2, np.nan), np.zeros((values.shape[1],) * 2)
    finite = np.isfinite(values)
    known = np.flatnonzero(finite.any(axis=0))
    if len(known) > 0:
        pairs = np.ix_(known, known)
        found[pairs], count[pairs] = _pearson_of_known(values[:, known], finite[:, known])
    return found, count


def _pearson_of_known(values: Float64s, finite: npt.NDArray[np.bool_]) -> tuple[Float64s, Float64s]:
    """``_pearson`` of columns that each have a value; finite: bool (rows, columns), which are."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Centred and scaled first: the sums of squares below would cancel at prices.
        all_ones = finite.astype(np.float64)
        centre = _column_means(np.where(finite, values, 0.0), all_ones)
        shifted = np.where(finite, values - centre, 0.0)
        spread = np.sqrt(_column_means(shifted * shifted, all_ones))
        scaled = shifted / np.where(spread > 0, spread, np.nan)
        scaled = np.where(finite, scaled, 0.0)
        # Most columns are known in the same rows: a column of ones each for those that differ in it.
        _, first, of = np.unique(np.packbits(finite, axis=0), axis=1, return_index=True, return_inverse=True)
        ones = all_ones[:, first]
        count = (ones.T @ ones)[np.ix_(of, of)]
        of_one = (scaled.T @ ones)[:, of] / count
        squares = ((scaled * scaled).T @ ones)[:, of] / count
        variance = squares - of_one * of_one
        covariance = scaled.T @ scaled / count - of_one * of_one.T
        found = covariance / np.sqrt(variance * variance.T)
    is_known = (count >= 30) & (variance > 1e-12) & (variance.T > 1e-12)
    return np.where(is_known, np.clip(found, -1.0, 1.0), np.nan), count


def outlier_shares(values: Float64s, symbol: Int64s) -> Float64s:
    """The share of known values further than ten interquartile ranges from their symbol's quartiles; (columns,).

    symbol: int64 (n,), the symbol of each row.
    """
    far, of = np.zeros((2, values.shape[1]))
    for one in np.unique(symbol):
        for at, column in enumerate(values[symbol == one].T):
            known, _ = near_one(column[np.isfinite(column)])
            of[at] += len(known)
            if len(known) > 0:
                first, third = np.quantile(known, [0.25, 0.75])
                reach = 10.0 * (third - first)
                # Half of the values are one: no distance says what is far from it.
                if reach > 0:
                    far[at] += np.count_nonzero((known < first - reach) | (known > third + reach))
    return far / np.maximum(of, 1.0)


def near_one(values: Float64s) -> tuple[Float64s, int]:
    """Finite values divided by a power of two, so that all are below 1, and that power: no difference overflows."""
    _, power = math.frexp(float(np.abs(values).max(initial=0.0)))
    return np.ldexp(values, -power), power


def _column_means(values: Float64s, ones: Float64s) -> Float64s:
    means: Float64s = values.sum(axis=0) / ones.sum(axis=0)
    return means
