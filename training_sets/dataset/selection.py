"""Selection: the significance of the best of many trials, given how many there were.

Returns are those of a strategy by row, of non-overlapping periods: overlapping ones count one market move repeatedly.

Sources: Bailey and López de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5); Bailey,
Borwein, López de Prado and Zhu (2017), The Probability of Backtest Overfitting, Journal of Computational Finance 20(4).
"""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest
from training_sets.dataset.trading import returns_by_time, sharpe_ratio, times_apart

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

EULER: Final = 0.5772156649015329
MOST_PARTS: Final = 16
"""12,870 ways to halve them; the next even number has four times as many."""
_NORMAL: Final = NormalDist()


def expected_greatest_sharpe(trials: int, deviation: float) -> float:
    """The expected Sharpe ratio of the best of this many trials without any skill.

    deviation: of the trials' Sharpe ratios, per row, like the result. Raises InvalidRequest for no trial.
    """
    if trials < 1 or deviation < 0.0:
        raise InvalidRequest(f"trials: must be one at least with a deviation of 0 or more, was {trials}, {deviation}")
    if trials == 1:
        return 0.0
    quantile = _NORMAL.inv_cdf
    return deviation * ((1.0 - EULER) * quantile(1.0 - 1.0 / trials) + EULER * quantile(1.0 - 1.0 / (trials * math.e)))


def deflated_sharpe_ratio(
    sharpe: float, *, rows: int, skewness: float, kurtosis: float, trials: int, deviation: float
) -> float:
    """The probability that the best trial's true Sharpe ratio is above what luck alone would give.

    sharpe, deviation: of the best, and among the trials, per row: not annualised. rows: the number of returns.
    kurtosis: 3 for normal returns. Below 0.95 a result is commonly called insignificant.

    Raises InvalidRequest for fewer than two rows, or impossible moments.
    """
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if rows < 2 or spread <= 0.0:
        raise InvalidRequest(
            f"returns: must be two or more with possible moments, was {rows} with skewness {skewness} and kurtosis "
            f"{kurtosis}"
        )
    by_luck = expected_greatest_sharpe(trials, deviation)
    return _NORMAL.cdf((sharpe - by_luck) * math.sqrt(rows - 1) / math.sqrt(spread))


def deflated_best(returns: Float64s, *, trials: int = 0) -> tuple[int, float]:
    """The column with the highest Sharpe ratio, and its deflated ratio among all columns.

    returns: float64 (rows, columns). trials: how many were tried, if more; the others are assumed to deviate as
    these do. A constant column has a Sharpe ratio of 0. Raises InvalidRequest.
    """
    _check(returns)
    ratios = _sharpe_ratios(returns.mean(axis=0), (returns**2).mean(axis=0))
    best = int(np.argmax(ratios))
    deviation = float(ratios.std(ddof=1)) if len(ratios) > 1 else 0.0
    return best, _deflated(returns[:, best], float(ratios[best]), max(trials, len(ratios)), deviation)


def apart_returns(times_ns: Int64s, returns: Float64s, apart_ns: int) -> Float64s:
    """Returns whose times are at least ``apart_ns`` apart: the earliest, then each next one, in order of time.

    times_ns: int64 (n,), returns: float64 (n,), any order. Returns of several symbols at one time are averaged.
    """
    chosen_ns = times_apart(times_ns, apart_ns)
    each_ns, means = returns_by_time(times_ns, returns)
    return means[np.isin(each_ns, chosen_ns)]


def deflated_among(returns: Float64s, trials: int) -> float | None:
    """The deflated Sharpe ratio of one strategy, the best of ``trials``, of which only the number is known.

    returns: float64 (n,), of non-overlapping periods. The trials' ratios are assumed to deviate like those of
    independent trials without skill, by 1 / sqrt(n - 1): trials that resemble each other make it too strict, trials
    that differ by more make it too lenient. None: fewer than two returns, or constant ones.

    Raises InvalidRequest for no trial, unknown returns, or impossible moments.
    """
    _check(returns[:, None])
    ratio = sharpe_ratio(returns) if len(returns) >= 2 else None
    return None if ratio is None else _deflated(returns, ratio, trials, 1.0 / math.sqrt(len(returns) - 1))


def _deflated(returns: Float64s, ratio: float, trials: int, deviation: float) -> float:
    """Of the strategy with these returns, by their own moments; those of a normal one where they are constant."""
    own = returns - returns.mean()
    skewness, kurtosis = 0.0, 3.0
    if (furthest := float(np.abs(own).max())) > 0.0:
        # The unit changes neither; with the furthest one near 1 no power rounds to 0 or to infinity.
        own = np.ldexp(own, -math.frexp(furthest)[1])
        variance = float(np.mean(own**2))
        skewness, kurtosis = float(np.mean(own**3)) / variance**1.5, float(np.mean(own**4)) / variance**2
    return deflated_sharpe_ratio(
        ratio, rows=len(returns), skewness=skewness, kurtosis=kurtosis, trials=trials, deviation=deviation
    )


def overfitting_probability(returns: Float64s, *, parts: int = MOST_PARTS) -> float:
    """How often the trial that was best on half of the time is at or below the median on the other half.

    returns: float64 (rows, trials), in order of time. parts: even; of equal length, the first rows that do not fit are
    left out; every choice of half of them is evaluated. Near 0: the chosen trial stays good. Near 0.5 and above: the
    choice says nothing. Trials that are equal on the other half share the mean of their ranks.

    Raises InvalidRequest for one trial, an odd number of parts or more than MOST_PARTS, or fewer than two rows a part.
    """
    _check(returns)
    rows, trials = returns.shape
    if trials < 2 or parts % 2 or not 2 <= parts <= MOST_PARTS or rows < 2 * parts:
        raise InvalidRequest(
            f"parts: must be even, up to {MOST_PARTS}, of two rows each, for two trials or more, was {parts} of {rows} "
            f"rows and {trials} trials"
        )
    length = rows // parts
    cut = returns[rows - length * parts :].reshape(parts, length, trials)
    means, squares = cut.mean(axis=1), (cut**2).mean(axis=1)
    halves = list(itertools.combinations(range(parts), parts // 2))
    below = 0
    for inside in halves:
        outside = [part for part in range(parts) if part not in inside]
        chosen = int(np.argmax(_sharpe_ratios(means[list(inside)].mean(axis=0), squares[list(inside)].mean(axis=0))))
        later = _sharpe_ratios(means[outside].mean(axis=0), squares[outside].mean(axis=0))
        worse, equal = int(np.sum(later < later[chosen])), int(np.sum(later == later[chosen]))
        # The rank of the chosen one, 1 to trials, over trials + 1; its logit is not above 0 up to a half.
        below += (worse + (equal + 1) / 2.0) / (trials + 1) <= 0.5
    return below / len(halves)


def _sharpe_ratios(means: Float64s, squares: Float64s) -> Float64s:
    """Mean by population deviation, 0 where nothing deviates."""
    variances = squares - means**2
    is_moving = variances > 1e-15 * squares
    ratios: Float64s = np.where(is_moving, means / np.sqrt(np.where(is_moving, variances, 1.0)), 0.0)
    return ratios


def _check(returns: Float64s) -> None:
    if returns.ndim != 2 or not np.isfinite(returns).all():
        raise InvalidRequest(f"returns: must be finite, of shape (rows, trials), was of shape {returns.shape}")
