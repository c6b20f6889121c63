"""What a feature's rows look like: its line, what is not known and why, its distribution and autocorrelation.

1. Rows are laid on the seconds of the period: a second without a row is NO_ROW, and nothing is filled in.
2. The line has a bucket for so many seconds: least, greatest and mean of what is known in it, so a peak of one second
   is seen in a picture of a month; beside it, how many rows of the bucket are not known, by reason.
3. A lag pairs rows that are exactly so many seconds apart, both known; a correlation, rows where both are known.

What cannot be computed is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import SECOND_NS
from transforms.status import OK, REASON_NAMES, UNDEFINED

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

NO_ROW: Final = "NO_ROW"
LAGS_S: Final = (1, 2, 5, 10, 30, 60, 300)
QUANTILES: Final = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
BINS: Final = 40
LEAST_PAIRS: Final = 3
"""Fewer say nothing about a correlation."""


@dataclass(frozen=True, slots=True)
class FeatureStudy:
    """low, high, mean: by bucket, NaN where nothing is known. unknown: by reason, how many rows of each bucket.

    quantiles: as QUANTILES. edges, counts: a histogram from the first to the 99th percentile; below and above are
    outside of it. autocorrelation: as LAGS_S.
    """

    rows: int
    known: int
    low: Floats
    high: Floats
    mean: Floats
    unknown: Mapping[str, Counts]
    average: float
    deviation: float
    quantiles: Floats
    edges: Floats
    counts: Counts
    below: int
    above: int
    autocorrelation: Floats


def by_second(row_ns: npt.NDArray[np.int64], values: Floats, from_ns: int, seconds: int) -> Floats:
    """A column's values on the seconds of the period, NaN where there is no row; whole seconds alone have rows."""
    laid = np.full(seconds, np.nan)
    laid[(row_ns - from_ns) // SECOND_NS] = values
    return laid


def study(values: Floats, status: npt.NDArray[np.int8], has_row: npt.NDArray[np.bool_], bucket_s: int) -> FeatureStudy:
    """Of one column by second: its values, its group's status, and where there is a row at all."""
    is_known = ~np.isnan(values)
    starts = np.arange(0, len(values), bucket_s)
    known = values[is_known]
    quantiles = np.quantile(known, QUANTILES) if len(known) else np.full(len(QUANTILES), np.nan)
    first, last = quantiles[1], quantiles[-2]
    counts, edges = np.zeros(0, np.int64), np.zeros(0)
    if len(known) and first < last:
        counts, edges = np.histogram(known, BINS, (first, last))
    return FeatureStudy(
        rows=int(has_row.sum()),
        known=len(known),
        low=_in_buckets(np.fmin, values, starts),
        high=_in_buckets(np.fmax, values, starts),
        mean=_means(values, is_known, starts),
        unknown=_unknown(is_known, status, has_row, starts),
        average=float(known.mean()) if len(known) else np.nan,
        deviation=float(known.std()) if len(known) else np.nan,
        quantiles=quantiles,
        edges=edges,
        counts=counts,
        below=int((known < first).sum()) if len(counts) else 0,
        above=int((known > last).sum()) if len(counts) else 0,
        autocorrelation=np.array([correlation(values[lag:], values[:-lag]) for lag in LAGS_S]),
    )


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's, of the seconds in which both are known; NaN where too few are, or one of them does not vary."""
    both = ~(np.isnan(one) | np.isnan(other))
    a, b = one[both], other[both]
    if len(a) < LEAST_PAIRS:
        return np.nan
    a, b = a - a.mean(), b - b.mean()
    # What rounding leaves of a constant is no variation.
    least = 1e-14 * len(a)
    squares = float(a @ a), float(b @ b)
    sizes = float(np.abs(one[both]).max()) ** 2, float(np.abs(other[both]).max()) ** 2
    if any(square <= least * size for square, size in zip(squares, sizes, strict=True)):
        return np.nan
    return float(np.clip((a @ b) / np.sqrt(squares[0] * squares[1]), -1.0, 1.0))


def correlations(columns: Sequence[Floats]) -> Floats:
    """(n, n): of each pair of columns, by second."""
    found = np.full((len(columns), len(columns)), np.nan)
    for at, one in enumerate(columns):
        for to, other in enumerate(columns[: at + 1]):
            found[at, to] = found[to, at] = correlation(one, other)
    return found


def _in_buckets(ufunc: np.ufunc, values: Floats, starts: npt.NDArray[np.int64]) -> Floats:
    found: Floats = ufunc.reduceat(values, starts)
    return found


def _means(values: Floats, is_known: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64]) -> Floats:
    sums = np.add.reduceat(np.where(is_known, values, 0.0), starts)
    counts = np.add.reduceat(is_known.astype(np.int64), starts)
    means: Floats = np.divide(sums, counts, out=np.full(len(starts), np.nan), where=counts > 0)
    return means


def _unknown(
    is_known: npt.NDArray[np.bool_],
    status: npt.NDArray[np.int8],
    has_row: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.int64],
) -> dict[str, Counts]:
    """Only reasons that there are. A group that is OK does not tell why one of its features has no value: UNDEFINED."""
    reasons = np.where(status == OK, UNDEFINED, status)
    found = {NO_ROW: np.add.reduceat((~has_row).astype(np.int64), starts)}
    for reason in np.unique(reasons[has_row & ~is_known]).tolist():
        is_so = has_row & ~is_known & (reasons == reason)
        found[REASON_NAMES[reason]] = np.add.reduceat(is_so.astype(np.int64), starts)
    return {name: counts for name, counts in found.items() if counts.any()}
