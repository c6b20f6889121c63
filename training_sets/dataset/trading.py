"""What predictions would have earned: with labels that overlap and with those that do not, before costs and after.

A model holds the side of its prediction, one unit of each symbol. Labels that overlap tell one market move often: of
them there is a mean and its spread, but no sum. Sums, falls and turnover are of rows a horizon apart, from the first
one on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Held:
    """What was held, a row each. times_ns: int64 (n,). symbol: int64 (n,), a number. sides: float64 (n,), -1, 0 or +1.

    returns: float64 (n,), of one unit bought and held over the horizon.
    """

    times_ns: Int64s
    symbol: Int64s
    sides: Float64s
    returns: Float64s


def trading_document(held: Held, *, apart_ns: int, cost: float) -> dict[str, Any]:
    """As JSON; what the rows cannot give is null.

    apart_ns: the horizon. cost: the share of a unit that is paid to buy or sell it; to turn a side costs twice.
    ``turnover`` is how many units are traded a row and symbol.

    Raises InvalidRequest for a cost that is not 0 to 1, and without rows.
    """
    if not 0.0 <= cost <= 1.0:
        raise InvalidRequest(f"cost: must be a share of 0 to 1, was {cost}")
    if len(held.times_ns) == 0:
        raise InvalidRequest("returns: must be of a row or more, was none")
    chosen = np.isin(held.times_ns, times_apart(held.times_ns, apart_ns))
    traded = _traded(held, chosen)
    gross = held.sides * held.returns
    net = gross[chosen] - cost * traded
    times_ns = held.times_ns[chosen]
    return {
        "overlapping": {"rows": len(gross), "mean": float(gross.mean()), "sharpe_ratio": sharpe_ratio(gross)},
        "apart": _summed(times_ns, gross[chosen]),
        "turnover": float(traded.mean()),
        "cost": cost,
        "apart_after_costs": _summed(times_ns, net),
    }


def times_apart(times_ns: Int64s, apart_ns: int) -> Int64s:
    """The earliest time, and then each next one ``apart_ns`` or more later: int64, ascending."""
    times_ns = np.unique(times_ns)
    chosen: list[int] = []
    at = 0
    while at < len(times_ns):
        chosen.append(at)
        at = int(np.searchsorted(times_ns, times_ns[at] + apart_ns))
    found: Int64s = times_ns[chosen]
    return found


def _traded(held: Held, chosen: npt.NDArray[np.bool_]) -> Float64s:
    """Units traded before each chosen row, float64 (chosen,): the first row of a symbol buys all that it holds."""
    symbol, sides, times_ns = held.symbol[chosen], held.sides[chosen], held.times_ns[chosen]
    traded = np.zeros(len(sides))
    for one in np.unique(symbol):
        own = np.flatnonzero(symbol == one)
        own = own[np.argsort(times_ns[own], kind="stable")]
        traded[own] = np.abs(np.diff(sides[own], prepend=0.0))
    return traded


def returns_by_time(times_ns: Int64s, returns: Float64s) -> tuple[Int64s, Float64s]:
    """Each time once, ascending, and the mean of its returns, one of each symbol: int64 and float64 (m,)."""
    each_ns, inverse, counts = np.unique(times_ns, return_inverse=True, return_counts=True)
    means: Float64s = np.bincount(inverse, weights=returns) / counts
    return each_ns, means


def sharpe_ratio(returns: Float64s) -> float | None:
    """Mean by population standard deviation of returns, one at least: not annualised. None where nothing deviates."""
    if returns.min() == returns.max():
        return None
    deviation = float(returns.std())
    # Squares of next to nothing round to 0, those of the greatest numbers to infinity.
    return float(returns.mean()) / deviation if 0.0 < deviation < math.inf else None


def max_drawdown(returns: Float64s) -> float | None:
    """The deepest fall of summed returns below their highest, 0 before the first; not negative. None without any."""
    earned = np.concatenate([[0.0], np.cumsum(returns)])
    return float(np.max(np.maximum.accumulate(earned) - earned)) if len(returns) else None


def profit_factor(returns: Float64s) -> float | None:
    """Gains by losses; None without a loss."""
    lost = float(-returns[returns < 0].sum())
    return float(returns[returns > 0].sum()) / lost if 0.0 < lost < math.inf else None


def _summed(times_ns: Int64s, returns: Float64s) -> dict[str, Any]:
    """Of returns that may be summed."""
    each_ns, means = returns_by_time(times_ns, returns)
    return {
        "rows": len(each_ns),
        "mean": float(means.mean()),
        "sharpe_ratio": sharpe_ratio(means),
        "total": float(means.sum()),
        "max_drawdown": max_drawdown(means),
        "profit_factor": profit_factor(means),
    }
