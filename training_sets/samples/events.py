"""Events: when to sample a market that is not equally worth it at all times.

A request with ``sampling`` is sampled there.

Source: López de Prado (2018), Advances in Financial Machine Learning, section 2.5.2.1, the symmetric CUSUM filter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest
from transforms.jit import jit

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def cusum_events(prices: Float64s, thresholds: Float64s) -> Int64s:
    """The positions at which log returns have summed to more than the threshold, up or down, since the last event.

    prices: float64 (n,), in order of time. thresholds: float64 (n,), above 0, one a price: known by then, so that the
    event is; a multiple of a past volatility, or one number repeated. Returns int64 (events,), ascending.
    NaN: at an unknown price or threshold both sums start again, since a move over a hole has no time.

    Raises InvalidRequest for thresholds of another length, or not above 0.
    """
    if prices.shape != thresholds.shape:
        raise InvalidRequest(f"thresholds: must be one a price, {len(prices)}, was {len(thresholds)}")
    if (thresholds <= 0.0).any():
        raise InvalidRequest("thresholds: must be above 0, was one that is not")
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = np.diff(np.log(prices), prepend=np.nan)
    return np.flatnonzero(_is_event(returns, thresholds))


@jit
def _is_event(returns: Float64s, thresholds: Float64s) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(returns), np.bool_)
    up, down = 0.0, 0.0
    for at in range(len(returns)):
        if not np.isfinite(returns[at]) or np.isnan(thresholds[at]):
            up, down = 0.0, 0.0
            continue
        up, down = max(0.0, up + returns[at]), min(0.0, down + returns[at])
        if down < -thresholds[at]:
            down = 0.0
            found[at] = True
        elif up > thresholds[at]:
            up = 0.0
            found[at] = True
    return found
