"""Label spans: the bars that each label lies over, collected row by row, and the weights that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import Target, TripleBarrierTarget
from training_sets.request.weighting import Weighting
from training_sets.samples.piece import Samples
from training_sets.samples.prices import LabelPrices
from training_sets.samples.weights import (
    average_concurrency,
    average_uniqueness,
    return_attribution,
    scaled_weights,
    time_decay,
)

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weigher:
    """The weighting of a request. at: the number of the target that weighs. step_ns: of its prices.

    prices: by symbol, on whose clock the spans are.
    """

    weighting: Weighting
    symbols: Sequence[str]
    target: Target
    at: int
    step_ns: int
    prices: Mapping[str, LabelPrices]

    @classmethod
    def of(cls, request: DatasetRequest, prices: Mapping[str, LabelPrices]) -> Weigher | None:
        """None of a request without weights."""
        if request.weighting is None:
            return None
        at = weighing_target(request)
        steps = {of_symbol.step_ns for of_symbol in prices.values()}
        return cls(request.weighting, request.symbols, request.targets[at], at, max(steps), prices)

    def spans(self, piece: Samples, rows: Int64s) -> Int64s:
        """Symbol, begin and end of the label of each row, int64 (3, n); a bar ends at each whole step."""
        decisions_ns = self._own_ns(piece.decisions_ns[rows])
        starts_ns = (decisions_ns + self.target.delay_ns) // self.step_ns * self.step_ns
        if isinstance(self.target, TripleBarrierTarget):
            ends_ns = self._own_ns(piece.barriers[self.at].touched_ns[rows])
        else:
            ends_ns = (decisions_ns + self.target.reach_ns) // self.step_ns * self.step_ns
        return np.stack([piece.symbol[rows], starts_ns, ends_ns])

    def _own_ns(self, times_ns: Int64s) -> Int64s:
        """On the clock of the prices, which is one for all symbols."""
        return next(iter(self.prices.values())).own_ns(times_ns)

    def weights(self, spans: Int64s) -> tuple[Float64s, int]:
        """Weight and concurrency of each row, float64 (n, 2), each symbol separately; how many weights are unknown.

        spans: int64 (3, n), of one split. Raises InvalidRequest when a symbol has no weight above 0.
        """
        found = np.full((spans.shape[1], 2), np.nan)
        unknown = 0
        for at, symbol in enumerate(self.symbols):
            own = np.flatnonzero(spans[0] == at)
            if len(own) == 0:
                continue
            starts_ns, ends_ns = spans[1, own], spans[2, own]
            uniqueness = average_uniqueness(starts_ns, ends_ns, step_ns=self.step_ns)
            weights = uniqueness
            if self.weighting.by == "return_attribution":
                grid_ns = np.arange(starts_ns.min(), ends_ns.max() + 1, self.step_ns)
                series = self.prices[symbol].between(int(grid_ns[0]), int(grid_ns[-1]))
                weights = return_attribution(starts_ns, ends_ns, series.at(grid_ns), step_ns=self.step_ns)
            unknown += int(np.count_nonzero(np.isnan(weights)))
            decayed = weights * time_decay(uniqueness, oldest=self.weighting.oldest)
            try:
                found[own, 0] = scaled_weights(decayed)
            except InvalidRequest as error:
                raise InvalidRequest(f"{symbol}: {error}") from error
            found[own, 1] = average_concurrency(starts_ns, ends_ns, step_ns=self.step_ns)
        return found, unknown


class WeightTally:
    """What the weights of a split are, as the manifest states them."""

    def __init__(self, weights: Float64s, unknown: int) -> None:
        self._weights = weights[:, 0]
        self._concurrency = weights[:, 1]
        self._unknown = unknown

    def document(self) -> dict[str, Any]:
        """effective_rows: how many equal samples hold as much, (sum of weights)^2 / sum of squares."""
        weights = self._weights
        if len(weights) == 0:
            return {"rows": 0, "unknown": 0}
        return {
            "rows": len(weights),
            "unknown": self._unknown,
            "least": float(weights.min()),
            "greatest": float(weights.max()),
            "effective_rows": float(weights.sum() ** 2 / np.square(weights).sum()),
            "mean_concurrency": float(self._concurrency.mean()),
        }


def weighing_target(request: DatasetRequest) -> int:
    """The number of the target by whose labels samples are weighed."""
    names = [target.name for target in request.targets]
    if request.weighting is not None and request.weighting.target is not None:
        return names.index(request.weighting.target)
    reaches = [target.reach_ns for target in request.targets]
    return reaches.index(max(reaches))
