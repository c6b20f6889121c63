"""Sampling: when rows are sampled by what happens, instead of at an interval."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from market.errors import InvalidRequest

BarUnit = Literal["tick", "volume", "dollar"]
MOST_EVENTS: Final = 1_000_000
"""Of one dataset: their times are held in memory."""


class CusumSampling(msgspec.Struct, frozen=True, tag="cusum", tag_field="by"):
    """Where log returns have summed to more than a threshold, up or down, since the event before.

    threshold: of log returns; with ``volatility_window_ns`` above 0 a multiple of the past volatility of one step of
    the label's price over that window.
    """

    threshold: float
    volatility_window_ns: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < float("inf") or self.volatility_window_ns < 0:
            raise InvalidRequest(f"sampling: must have a positive threshold and a window of 0 or more, was {self}")


class BarSampling(msgspec.Struct, frozen=True, tag="bars", tag_field="by"):
    """Where so much was traded since the bar before: trades (tick), quantity (volume), or price x quantity (dollar)."""

    unit: BarUnit
    size: float

    def __post_init__(self) -> None:
        if not 0.0 < self.size < float("inf"):
            raise InvalidRequest(f"sampling.size: must be positive and finite, was {self.size}")


Sampling = CusumSampling | BarSampling
