"""Weighting: how much each sample counts, by the labels that overlap with its own."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from market.errors import InvalidRequest

WeighedBy = Literal["uniqueness", "return_attribution"]
WEIGHT: Final = "sample_weight"
CONCURRENCY: Final = "concurrency"
COLUMNS: Final = (WEIGHT, CONCURRENCY)
MOST_WEIGHED: Final = 20_000_000
"""Samples of a dataset that is weighed: 24 bytes of each are held until its split is written."""


class Weighting(msgspec.Struct, frozen=True):
    """Weights of the rows of each split, fold and symbol, which sum to their number.

    by: uniqueness, the mean share of its bars that a label has for itself; return_attribution, the return over them
    that is its own. target: whose labels; None is the one that looks furthest. oldest: what time decay leaves of the
    oldest sample, 1 is all of it; see ``samples.weights.time_decay``.
    """

    by: WeighedBy = "uniqueness"
    target: str | None = None
    oldest: float = 1.0

    def __post_init__(self) -> None:
        if not -1.0 < self.oldest <= 1.0:
            raise InvalidRequest(f"sample_weight.time_decay: must be above -1 and at most 1, was {self.oldest}")
