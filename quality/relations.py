"""Relations of columns to labels: information coefficients with confidence, mutual information, and what is redundant.

Each symbol separately, then their mean by rows: what differs between symbols is no relation. Labels that overlap tell
one market move often: confidence counts one row in ``overlap``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from quality.profile import correlations

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

LEAST_ROWS: Final = 30
NORMAL_95: Final = 1.959963984540054
FIELLER: Final = 1.06
"""How much more a rank correlation varies than Pearson's, after Fisher's transformation."""
BINS: Final = 8
REDUNDANT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Relation:
    """One column and label. rows: where both are known. ic, rank_ic: Pearson's and Spearman's correlation.

    The intervals hold the true ones with a chance of 95 %. mutual_information: in nats, less what chance gives.
    None: too few rows, or a constant.
    """

    rows: int
    ic: float | None
    ic_interval: tuple[float, float] | None
    rank_ic: float | None
    rank_ic_interval: tuple[float, float] | None
    mutual_information: float | None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "rows": self.rows,
            "ic": self.ic,
            "ic_interval": self.ic_interval,
            "rank_ic": self.rank_ic,
            "rank_ic_interval": self.rank_ic_interval,
            "mutual_information": self.mutual_information,
        }


def relations(
    columns: Float64s, labels: Float64s, symbol: Int64s, *, overlaps: Sequence[float]
) -> list[list[Relation]]:
    """The relation of each column to each label, by label.

    columns: float64 (n, columns). labels: float64 (n, labels). symbol: int64 (n,), of each row. overlaps: of each
    label, 1 or more, how many of them lie over each other. NaN is not known; an infinite value neither.
    """
    found: list[list[list[_Found]]] = [[[] for _ in range(columns.shape[1])] for _ in range(labels.shape[1])]
    for one in np.unique(symbol):
        own = symbol == one
        of_symbol = _Columns(columns[own])
        for at in range(labels.shape[1]):
            for column, each in enumerate(of_symbol.with_label(labels[own, at])):
                found[at][column].append(each)
    return [
        [_combined(of_column, overlap) for of_column in of_label]
        for of_label, overlap in zip(found, overlaps, strict=True)
    ]


def autocorrelation(label: Float64s, symbol: Int64s, lag: int) -> float | None:
    """Pearson's correlation of labels ``lag`` rows of one symbol apart, over all symbols by rows; None without enough.

    label: float64 (n,), symbol: int64 (n,), rows in order of time.
    """
    found = []
    for one in np.unique(symbol):
        own = label[symbol == one]
        if len(own) > lag:
            found.append((_pearson(own[:-lag], own[lag:]), len(own) - lag))
    return _mean(found)


def redundant_clusters(names: Sequence[str], values: Float64s, symbol: Int64s) -> list[list[str]]:
    """Columns of which each is like another of its cluster, by a |correlation| from REDUNDANT on; the largest first."""
    alike = np.nan_to_num(np.abs(correlations(values, symbol))) >= REDUNDANT
    cluster = np.arange(len(names))
    for one, other in zip(*np.nonzero(np.triu(alike, 1)), strict=True):
        cluster[cluster == cluster[other]] = cluster[one]
    members = [
        [names[at] for at in np.flatnonzero(cluster == each).tolist()] for each in dict.fromkeys(cluster.tolist())
    ]
    return sorted((each for each in members if len(each) > 1), key=len, reverse=True)


_Found = tuple[int, float | None, float | None, float | None]
"""Of one symbol, column and label: rows, IC, rank IC and mutual information."""


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Columns less their means and by their greatest deviation, NaN of a constant, and the sums of their squares."""

    values: Float64s
    squares: Float64s

    @classmethod
    def of(cls, columns: Float64s) -> _Scaled:
        scaled = _scaled(columns)
        return cls(scaled, (scaled * scaled).sum(axis=0))


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Columns of one symbol in rows where all are known: themselves, their ranks and their bins, (rows, columns)."""

    values: _Scaled
    ranks: _Scaled
    bins: Int64s

    @classmethod
    def of(cls, columns: Float64s) -> _Ranked:
        ranks = np.asarray(pd.DataFrame(columns).rank(), np.float64)
        return cls(_Scaled.of(columns), _Scaled.of(ranks), _binned(ranks))


class _Columns:
    """The columns of one symbol, ranked once for all labels that are known in the same rows."""

    def __init__(self, columns: Float64s) -> None:
        self._columns = columns
        self._ranked: dict[tuple[bytes, tuple[int, ...]], _Ranked] = {}

    def with_label(self, label: Float64s) -> list[_Found]:
        """Of each column. Columns known in the same rows go together: ranks are those among these rows."""
        is_known = np.isfinite(self._columns) & np.isfinite(label)[:, np.newaxis]
        together: dict[bytes, list[int]] = {}
        for at, known in enumerate(np.packbits(is_known, axis=0).T):
            together.setdefault(known.tobytes(), []).append(at)
        found: list[_Found] = [(0, None, None, None)] * self._columns.shape[1]
        for key, chosen in together.items():
            rows = np.flatnonzero(is_known[:, chosen[0]])
            if len(rows) < LEAST_ROWS:
                for at in chosen:
                    found[at] = (len(rows), None, None, None)
                continue
            held = (key, tuple(chosen))
            if held not in self._ranked:
                self._ranked[held] = _Ranked.of(self._columns[np.ix_(rows, np.array(chosen))])
            ranked, other = self._ranked[held], label[rows]
            other_ranks = mean_ranks(other)
            other_bins = _label_bins(other, other_ranks)
            ics, rank_ics = _pearsons(ranked.values, other), _pearsons(ranked.ranks, other_ranks)
            information = _mutual_information(ranked.bins, other_bins)
            for number, at in enumerate(chosen):
                found[at] = (len(rows), ics[number], rank_ics[number], information[number])
        return found


def _scaled(columns: Float64s) -> Float64s:
    """Each less its mean and by its greatest deviation, along the first axis; NaN of a constant."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        centred: Float64s = columns - columns.mean(axis=0)
        least, most = centred.min(axis=0), centred.max(axis=0)
        # A constant's mean may round to something else.
        centred /= np.where(least < most, np.maximum(most, -least), np.nan)
    return centred


def _pearsons(one: _Scaled, label: Float64s) -> list[float | None]:
    """Of each column with the label, all of them finite; None of a constant."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        other = _scaled(label)
        found = (other @ one.values) / np.sqrt(one.squares * (other @ other))
    return [float(np.clip(each, -1.0, 1.0)) if math.isfinite(each) else None for each in found.tolist()]


def _combined(found: Sequence[_Found], overlap: float) -> Relation:
    rows = sum(each[0] for each in found)
    ic, rank_ic, information = (_mean([(each[at], each[0]) for each in found]) for at in (1, 2, 3))
    count = rows / max(overlap, 1.0)
    return Relation(rows, ic, _interval(ic, count, 1.0), rank_ic, _interval(rank_ic, count, FIELLER), information)


def _interval(correlation: float | None, count: float, variance: float) -> tuple[float, float] | None:
    """Fisher's, of so many independent rows."""
    if correlation is None or count <= 4.0 or abs(correlation) >= 1.0:
        return None
    centre, reach = math.atanh(correlation), NORMAL_95 * math.sqrt(variance / (count - 3.0))
    return math.tanh(centre - reach), math.tanh(centre + reach)


def _mean(found: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, rows) for value, rows in found if value is not None]
    total = sum(rows for _, rows in known)
    return sum(value * rows for value, rows in known) / total if total else None


def _pearson(one: Float64s, other: Float64s) -> float | None:
    is_known = np.isfinite(one) & np.isfinite(other)
    if np.count_nonzero(is_known) < LEAST_ROWS:
        return None
    return _pearsons(_Scaled.of(one[is_known, np.newaxis]), other[is_known])[0]


def mean_ranks(values: Float64s) -> Float64s:
    """Of values, float64 (n,), each from 1; equal values share their mean rank, NaN has none."""
    return np.asarray(pd.Series(values).rank(), np.float64)


def _mutual_information(columns: Int64s, label: Int64s) -> list[float]:
    """Of each column of bins with a label's, less (rows - 1)(columns - 1) / 2n (Miller, 1955); not below 0.

    columns: int64 (n, columns), from 0 to BINS - 1. label: int64 (n,), from 0.
    """
    number, width = columns.shape[1], int(label.max()) + 1
    cells = (np.arange(number) * BINS + columns) * width + label[:, np.newaxis]
    counts = np.bincount(cells.ravel(), minlength=number * BINS * width).reshape(number, BINS, width)
    of_bin, of_label = counts.sum(axis=2), counts.sum(axis=1)
    shares = counts / len(label)
    expected = (of_bin[:, :, np.newaxis] / len(label)) * (of_label[:, np.newaxis] / len(label))
    is_there = counts > 0
    told = shares * np.log(np.divide(shares, expected, out=np.ones_like(shares), where=is_there))
    freedom = (np.count_nonzero(of_bin, axis=1) - 1) * (np.count_nonzero(of_label, axis=1) - 1)
    found: Float64s = np.maximum(told.sum(axis=(1, 2)) - freedom / (2.0 * len(label)), 0.0)
    return [float(each) for each in found]


def _label_bins(label: Float64s, ranks: Float64s) -> Int64s:
    """Eighths, or single values if there are few: classes."""
    values = np.unique(label)
    return np.searchsorted(values, label) if len(values) <= BINS else _binned(ranks)


def _binned(ranks: Float64s) -> Int64s:
    """Eighths of the ranks, along the first axis; equal values share one."""
    found: Int64s = np.minimum((ranks - 0.5) * BINS / len(ranks), BINS - 1).astype(np.int64)
    return found
