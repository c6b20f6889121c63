"""Sampling: when rows are sampled by what happens, instead of at an interval."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

import msgspec

from market.clock import SECOND_NS, ceil_to, format_iso
from market.errors import InvalidRequest

BarUnit = Literal["tick", "volume", "dollar"]
MOST_EVENTS: Final = 1_000_000
"""Of one dataset: their times are held in memory."""
MOST_SIGNALS: Final = 100_000
SIDE: Final = "side"
"""The column that holds the side of each signal."""


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


class SignalSampling(msgspec.Struct, frozen=True, tag="signals", tag_field="by"):
    """Where a primary model has spoken: the first row that comes at its time or later, with its side, +1 or -1.

    times_ns: ascending; no two have the same row.
    """

    times_ns: tuple[int, ...]
    sides: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.times_ns) <= MOST_SIGNALS or len(self.sides) != len(self.times_ns):
            raise InvalidRequest(
                f"sampling.signals: must be 1 to {MOST_SIGNALS}, each with a side, was {len(self.times_ns)} with "
                f"{len(self.sides)}"
            )
        if strange := set(self.sides) - {-1, 1}:
            raise InvalidRequest(f"sampling.signals: must have a side of 1 or -1, was {strange.pop()}")
        for before_ns, after_ns in pairwise(self.times_ns):
            if ceil_to(before_ns, SECOND_NS) >= ceil_to(after_ns, SECOND_NS):
                raise InvalidRequest(
                    f"sampling.signals: must be ascending, one a row, was {format_iso(after_ns)} after "
                    f"{format_iso(before_ns)}"
                )

    @property
    def rows_ns(self) -> tuple[int, ...]:
        """The row of each signal."""
        return tuple(ceil_to(time_ns, SECOND_NS) for time_ns in self.times_ns)


Sampling = CusumSampling | BarSampling | SignalSampling
