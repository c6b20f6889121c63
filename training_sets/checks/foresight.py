"""Foresight: what columns know of labels and of next values, over all rows of the files as written.

1. Rows of a file and symbol are cut into blocks that hold 20 horizons of the longest label, 500 rows at least: a leak
   in a small part of a dataset is a leak in most of a block. A block is a stretch of the clock, a day by powers of two,
   so that the same rows are the same blocks in every fold and in later datasets; one with too few rows goes with the
   next, the last with the one before. Fewer rows are not judged, and said to be so.
2. Of each block and column: its correlation with each label and with the next return of the mid price; how many values
   are a label or the next return, to a billionth; how many are the next mid price, where that is another one.
3. Prices move by whole ticks, as the spread does: a copy has the sign of what it copies, rises and falls alike, three
   times as often as the other sign.
4. A correlation is impossible from MOST_KNOWN on, by value and by rank: over 20 horizons what trends alone stays far
   below, and one outlier moves no rank. Copies are more than chance from LEAST_COPIES of a block on; next prices must
   also be met three times as often as the prices before, which a price that goes to and fro meets as often.
5. What a block gives follows from its bytes: those that this process found clean are not judged again.

It sees what repeats what comes; the rows that are rebuilt (``blinding``) see every other leak.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from market.clock import DAY_NS, format_iso
from market.errors import InvalidRequest
from training_sets.dataset.files import FilePiece

LEAST_ROWS: Final = 500
HORIZONS: Final = 20
MOST_KNOWN: Final = 0.9
LEAST_COPIES: Final = 0.05
NEAR: Final = 1e-9
LEAST_SPREAD: Final = 1e-12
"""Of squared deviations, as a share of the squares that they are left of: below, they are what rounding leaves."""
LEAST_CHANGES: Final = 20
"""A label that takes one value for the most of a block is like many columns."""
MOST_REMEMBERED: Final = 100_000
"""Blocks that were found clean: those of ten years of a minute's rows in five folds, 10 MB."""
NEXT_RETURN: Final = "the next return of mid_price"
PRICE: Final = "mid_price"

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_clean: OrderedDict[bytes, None] = OrderedDict()
"""By all that its judgement follows from, but the code, which a process has only one of."""


@dataclass(slots=True)
class _Rows:
    """Those of a file and symbol that no block was made of yet."""

    times_ns: list[Int64s] = field(default_factory=list)
    columns: list[Sequence[Float64s]] = field(default_factory=list)
    count: int = 0

    def columns_of(self, begin: int, end: int) -> Sequence[Float64s]:
        """Those of some rows; copied only where these came in two pieces."""
        edges = np.cumsum([0, *(len(times_ns) for times_ns in self.times_ns)]).tolist()
        parts = [
            [column[max(begin - first, 0) : end - first] for column in of_piece]
            for of_piece, (first, last) in zip(self.columns, itertools.pairwise(edges), strict=True)
            if first < end and last > begin
        ]
        return parts[0] if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows that are judged together, of a symbol and file. features: those with a value, told: their numbers."""

    of: str
    times_ns: Int64s
    features: Float64s
    told: Int64s


class Foresight:
    """Takes the rows of one file after the other; ``finish`` each.

    columns: of the values, the features first, then the labels; is_class: of each label.
    """

    def __init__(
        self, features: Sequence[str], labels: Mapping[str, bool], *, longest_reach_ns: int, interval_ns: int
    ) -> None:
        self._features = tuple(features)
        self._labels = labels
        self._interval_ns = interval_ns
        self._price = self._features.index(PRICE) if PRICE in self._features else None
        self.block_rows = max(LEAST_ROWS, HORIZONS * -(-longest_reach_ns // interval_ns))
        self._stretch_ns = _stretch_ns(self.block_rows * interval_ns)
        self._judged_by = repr((self._features, dict(labels), interval_ns, self.block_rows)).encode()
        self._held: dict[str, _Rows] = {}
        self._judged = self._not_judged = 0

    def add(self, file: str, piece: FilePiece) -> None:
        """Take consecutive rows of a file. Raises InvalidRequest naming the first column that knows too much."""
        for number, symbol in enumerate(piece.symbols):
            of_symbol = piece.symbol == number
            is_whole = bool(of_symbol.all())
            held = self._held.setdefault(symbol, _Rows())
            held.times_ns.append(piece.times_ns if is_whole else piece.times_ns[of_symbol])
            held.columns.append(piece.columns if is_whole else [column[of_symbol] for column in piece.columns])
            held.count += len(held.times_ns[-1])
            if held.count >= 2 * self.block_rows:
                self._judge_blocks(file, symbol, is_last=False)

    def finish(self, file: str) -> None:
        """Judge what is left of a file. Raises as ``add``."""
        for symbol in list(self._held):
            self._judge_blocks(file, symbol, is_last=True)
        self._held = {}

    def document(self) -> dict[str, Any]:
        """What the manifest states."""
        return {"block_rows": self.block_rows, "rows_judged": self._judged, "rows_too_few_to_judge": self._not_judged}

    def _judge_blocks(self, file: str, symbol: str, *, is_last: bool) -> None:
        held = self._held[symbol]
        times_ns = np.concatenate(held.times_ns)
        begin = 0
        for end in self._ends(times_ns, is_last=is_last):
            self._judge_once(f"{symbol} in {file}", times_ns[begin:end], held.columns_of(begin, end))
            begin = end
        if is_last:
            self._not_judged += held.count - begin
        self._held[symbol] = _Rows([times_ns[begin:]], [held.columns_of(begin, held.count)], held.count - begin)

    def _ends(self, times_ns: Int64s, *, is_last: bool) -> list[int]:
        """Where blocks end among rows that begin one; without the last, which may grow, unless no rows follow."""
        ends = [0]
        for end in [*(np.flatnonzero(np.diff(times_ns // self._stretch_ns)) + 1).tolist(), len(times_ns)]:
            if end - ends[-1] >= self.block_rows:
                ends.append(end)
        if is_last and len(ends) > 1:
            ends[-1] = len(times_ns)
        return ends[1:] if is_last else ends[1:-1]

    def _judge_once(self, of: str, times_ns: Int64s, columns: Sequence[Float64s]) -> None:
        self._judged += len(times_ns)
        digest = hashlib.sha256(self._judged_by)
        # Python's hash of bytes, 64 bits of each column, is three times as fast as SHA-256.
        digest.update(np.array([hash(column.tobytes()) for column in (times_ns, *columns)], np.int64).tobytes())
        key = digest.digest()
        if key not in _clean:
            self._judge(of, times_ns, np.stack(columns).T)
            _clean[key] = None
            if len(_clean) > MOST_REMEMBERED:
                _clean.popitem(last=False)

    def _judge(self, of: str, times_ns: Int64s, values: Float64s) -> None:
        count = len(self._features)
        features, known = values[:, :count], dict(zip(self._labels, values[:, count:].T, strict=True))
        if self._price is not None:
            price = features[:, self._price]
            after = self._neighbours(times_ns, price)[1]
            with np.errstate(divide="ignore", invalid="ignore"):
                # Whatever else a file may hold for a price, a return of nothing is not finite and told nobody.
                known[NEXT_RETURN] = after / price - 1.0
        # A column that is unknown in the whole block knows nothing.
        told = np.flatnonzero(~np.isnan(features).all(axis=0))
        block = _Block(of, times_ns, features[:, told], told)
        if self._price is not None:
            self._judge_prices(block, features[:, self._price])
        sizes = np.abs(block.features)
        correlations = np.abs(_correlations(block.features, np.stack(list(known.values()), axis=1)))
        for (name, target), by_value in zip(known.items(), correlations.T, strict=True):
            if not self._labels.get(name, False):
                self._judge_copies(block, sizes, name, target)
            if np.count_nonzero(np.diff(target[np.isfinite(target)])) >= LEAST_CHANGES:
                self._judge_correlation(block, name, (target, by_value))

    def _neighbours(self, times_ns: Int64s, price: Float64s) -> tuple[Float64s, Float64s]:
        """The prices an interval before and after each row, NaN where that is no row."""
        follows = np.diff(times_ns) == self._interval_ns
        before, after = np.full((2, len(price)), np.nan)
        before[1:][follows] = price[:-1][follows]
        after[:-1][follows] = price[1:][follows]
        return before, after

    def _judge_prices(self, block: _Block, price: Float64s) -> None:
        before, after = self._neighbours(block.times_ns, price)
        is_next = (block.features == after[:, None]) & (after != price)[:, None]
        ahead = is_next.sum(axis=0)
        if not (ahead >= LEAST_COPIES * len(price)).any():
            return
        behind = ((block.features == before[:, None]) & (before != price)[:, None]).sum(axis=0)
        is_leak = (ahead >= LEAST_COPIES * len(price)) & (ahead >= 3 * behind)
        self._accuse(block, is_leak, ahead / len(price), "be the next mid_price no more often than chance")

    def _judge_copies(self, block: _Block, sizes: Float64s, name: str, target: Float64s) -> None:
        """sizes: of the values without their signs. Only columns that are often near the label are examined further."""
        is_told = np.isfinite(target) & (target != 0.0)
        if not is_told.any():
            return
        least = max(LEAST_COPIES * len(target), LEAST_CHANGES)
        wanted = target[is_told, None]
        reach = NEAR * np.abs(wanted)
        is_near = np.abs(sizes[is_told] - np.abs(wanted)) <= reach
        often = np.flatnonzero(is_near.sum(axis=0) >= least)
        if len(often) == 0:
            return
        told = block.features[np.ix_(is_told, often)]
        signs = []
        for is_copy in (np.abs(told - wanted) <= reach, np.abs(told + wanted) <= reach):
            rises = (is_copy & (wanted > 0.0)).sum(axis=0)
            signs.append((is_copy.sum(axis=0), np.minimum(rises, is_copy.sum(axis=0) - rises)))
        is_leak, shares = np.zeros(len(block.told), np.bool_), np.zeros(len(block.told))
        for (copies, of_rarer_sign), (others, _) in (signs, signs[::-1]):
            is_leak[often] |= (copies >= least) & (copies >= 3 * others) & (of_rarer_sign >= copies / 10.0)
        shares[often] = np.maximum(signs[0][0], signs[1][0]) / len(target)
        self._accuse(block, is_leak, shares, f"be {name} no more often than chance")

    def _judge_correlation(self, block: _Block, name: str, told: tuple[Float64s, Float64s]) -> None:
        target, by_value = told
        shares = np.zeros(len(by_value))
        for at in np.flatnonzero(by_value >= MOST_KNOWN).tolist():
            is_known = np.isfinite(block.features[:, at]) & np.isfinite(target)
            ranks = pd.DataFrame({"one": block.features[is_known, at], "other": target[is_known]}).rank()
            by_rank = np.abs(_correlations(ranks[["one"]].to_numpy(), ranks[["other"]].to_numpy()))[0, 0]
            shares[at] = min(by_value[at], by_rank) if by_rank >= MOST_KNOWN else 0.0
        self._accuse(block, shares > 0.0, shares, f"have a correlation below {MOST_KNOWN} with {name}")

    def _accuse(self, block: _Block, is_leak: npt.NDArray[np.bool_], seen: Float64s, rule: str) -> None:
        if is_leak.any():
            at = int(np.argmax(is_leak))
            raise InvalidRequest(
                f"leakage: {self._features[int(block.told[at])]} of {block.of} from "
                f"{format_iso(int(block.times_ns[0]))} to {format_iso(int(block.times_ns[-1]))} must {rule}, was "
                f"{float(seen[at]):.3g}"
            )


def _stretch_ns(least_ns: int) -> int:
    """A day by a power of two, the shortest that is no shorter."""
    length_ns = DAY_NS
    while length_ns < least_ns:
        length_ns *= 2
    while length_ns % 2 == 0 and length_ns // 2 >= least_ns:
        length_ns //= 2
    return length_ns


def _correlations(columns: Float64s, targets: Float64s) -> Float64s:
    """Pearson's correlation of each column with each target, (columns, targets), where both are finite.

    0 where there are few or one value. Each column is scaled by its greatest deviation, so that no square overflows.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        is_known, is_told = np.isfinite(columns), np.isfinite(targets)
        one, other = (_scaled(values, known) for values, known in ((columns, is_known), (targets, is_told)))
        # Where one is unknown the other counts for nothing either: sums over the rows that both have.
        counts, sums = is_known.T.astype(np.float64) @ is_told, one.T @ is_told
        others = is_known.T.astype(np.float64) @ other
        squares, other_squares = (one * one).T @ is_told, is_known.T @ (other * other)
        covariance = one.T @ other - sums * others / counts
        spread, other_spread = squares - sums * sums / counts, other_squares - others * others / counts
        found = covariance / np.sqrt(spread * other_spread)
        is_moving = (spread > LEAST_SPREAD * squares) & (other_spread > LEAST_SPREAD * other_squares)
    return np.where((counts >= LEAST_ROWS // 2) & np.isfinite(found) & is_moving, found, 0.0)


def _scaled(values: Float64s, is_known: npt.NDArray[np.bool_]) -> Float64s:
    """Less its mean and by its greatest deviation, 0 where it is unknown, each column separately."""
    known = np.where(is_known, values, 0.0)
    centred = np.where(is_known, known - known.sum(axis=0) / is_known.sum(axis=0), 0.0)
    scale = np.abs(centred).max(axis=0)
    scaled: Float64s = centred / np.where(scale > 0.0, scale, np.nan)
    return np.where(is_known, scaled, 0.0)
