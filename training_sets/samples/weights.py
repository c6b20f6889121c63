"""Weights of samples whose labels overlap: how many labels a moment is in, and how much of each is its own.

Time is cut into bars of one length; a label that begins at ``start`` and ends at ``end`` lies over the bars in
(start, end]. Samples of one symbol are weighed together, those of another apart.

Source: López de Prado (2018), Advances in Financial Machine Learning, chapter 4.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def concurrency(starts_ns: Int64s, ends_ns: Int64s, *, step_ns: int) -> tuple[int, Int64s]:
    """How many labels lie over each bar: the end of the first bar, ns, and int64 (bars,), from there on.

    starts_ns, ends_ns: int64 (n,), where each label begins and ends, whole bars apart from each other.

    Raises InvalidRequest when there is no label, one ends before it begins, or is no whole number of bars.
    """
    first, last = _bars(starts_ns, ends_ns, step_ns)
    changes = np.zeros(int(last.max()) + 2, np.int64)
    np.add.at(changes, first, 1)
    np.add.at(changes, last + 1, -1)
    return int(starts_ns.min()) + step_ns, np.cumsum(changes)[:-1]


def average_uniqueness(starts_ns: Int64s, ends_ns: Int64s, *, step_ns: int) -> Float64s:
    """The mean over a label's bars of 1 / concurrency: float64 (n,), in (0, 1]; 1 shares no bar with another.

    Raises as ``concurrency``.
    """
    _, counts = concurrency(starts_ns, ends_ns, step_ns=step_ns)
    first, last = _bars(starts_ns, ends_ns, step_ns)
    return _sums(1.0 / np.maximum(counts, 1), first, last) / (last - first + 1)


def average_concurrency(starts_ns: Int64s, ends_ns: Int64s, *, step_ns: int) -> Float64s:
    """The mean over a label's bars of how many labels lie over them: float64 (n,), 1 or more.

    Raises as ``concurrency``.
    """
    _, counts = concurrency(starts_ns, ends_ns, step_ns=step_ns)
    first, last = _bars(starts_ns, ends_ns, step_ns)
    return _sums(counts.astype(np.float64), first, last) / (last - first + 1)


def return_attribution(starts_ns: Int64s, ends_ns: Int64s, prices: Float64s, *, step_ns: int) -> Float64s:
    """|sum over a label's bars of log return / concurrency|: float64 (n,), the return that is a label's own.

    prices: float64 (bars + 1,), from the earliest start on, one a bar. NaN: a price of the label is unknown.

    Raises as ``concurrency``, and when there are fewer prices than bars.
    """
    _, counts = concurrency(starts_ns, ends_ns, step_ns=step_ns)
    first, last = _bars(starts_ns, ends_ns, step_ns)
    if len(prices) < len(counts) + 1:
        raise InvalidRequest(f"prices: must be one a bar and one before, {len(counts) + 1}, was {len(prices)}")
    returns = np.diff(np.log(prices[: len(counts) + 1]))
    is_unknown = np.isnan(returns)
    own = np.abs(_sums(np.where(is_unknown, 0.0, returns) / np.maximum(counts, 1), first, last))
    return np.where(_sums(is_unknown.astype(np.float64), first, last) > 0.0, np.nan, own)


def time_decay(uniqueness: Float64s, *, oldest: float) -> Float64s:
    """Factors that fall in a line with the uniqueness seen since: float64 (n,), 1 for the newest sample.

    uniqueness: float64 (n,), in order of time. oldest: what the line would be at no sample at all, 0 to 1; 1 is no
    decay. From -1 to 0 it is the share of the whole, negative, that gets 0.

    Raises InvalidRequest for another number.
    """
    if not -1.0 < oldest <= 1.0:
        raise InvalidRequest(f"oldest: must be above -1 and at most 1, was {oldest}")
    seen = np.cumsum(uniqueness)
    if len(seen) == 0:
        return seen
    slope = (1.0 - oldest) / seen[-1] if oldest >= 0.0 else 1.0 / ((oldest + 1.0) * seen[-1])
    factors: Float64s = np.maximum(1.0 + slope * (seen - seen[-1]), 0.0)
    return factors


def scaled_weights(weights: Float64s) -> Float64s:
    """Weights that sum to their number; NaN, an unknown weight, is 0. Raises InvalidRequest when all are 0."""
    known = np.nan_to_num(weights)
    if known.sum() <= 0.0:
        raise InvalidRequest(f"weights: must be one above 0 at least, was none of {len(weights)}")
    scaled: Float64s = known * (len(known) / known.sum())
    return scaled


def _bars(starts_ns: Int64s, ends_ns: Int64s, step_ns: int) -> tuple[Int64s, Int64s]:
    """The number of the first and the last bar of each label."""
    if len(starts_ns) == 0 or len(starts_ns) != len(ends_ns):
        raise InvalidRequest(f"labels: must be one at least, with an end each, was {len(starts_ns)} and {len(ends_ns)}")
    if (ends_ns <= starts_ns).any():
        raise InvalidRequest("labels: must end after they begin, was one that does not")
    begin_ns = starts_ns.min()
    if ((starts_ns - begin_ns) % step_ns).any() or ((ends_ns - begin_ns) % step_ns).any():
        raise InvalidRequest(f"labels: must begin and end whole bars of {step_ns} ns apart, was one that does not")
    return (starts_ns - begin_ns) // step_ns, (ends_ns - begin_ns) // step_ns - 1


def _sums(values: Float64s, first: Int64s, last: Int64s) -> Float64s:
    """The sum of values[first] ... values[last] of each pair."""
    totals = np.concatenate([[0.0], np.cumsum(values)])
    sums: Float64s = totals[last + 1] - totals[first]
    return sums
