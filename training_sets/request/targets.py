"""Targets: what a label says of the time after its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from market.clock import MINUTE_NS, SECOND_NS
from market.errors import InvalidRequest

DEFAULT_THRESHOLD: Final = 0.001
DEFAULT_VOLATILITY_WINDOW_NS: Final = 5 * MINUTE_NS
_DIRECTIONS: Final = {"down": -1.0, "flat": 0.0, "up": 1.0}
_VERDICTS: Final = {"wrong": 0.0, "right": 1.0}


class _Ahead(msgspec.Struct, frozen=True, tag_field="type"):
    """What every target has: it looks from ``delay_ns`` after its row over the horizon, and names its column."""

    horizon_ns: int
    delay_ns: int = 0
    name: str = "target"

    @property
    def reach_ns(self) -> int:
        """How far after its row a label looks."""
        return self.delay_ns + self.horizon_ns


class RegressionTarget(_Ahead, frozen=True, tag="regression"):
    """The simple return over the horizon."""


class ClassificationTarget(_Ahead, frozen=True, tag="classification"):
    """Down (-1), flat (0) or up (+1): whether the return leaves [-threshold, threshold]."""

    threshold: float = DEFAULT_THRESHOLD

    def __post_init__(self) -> None:
        _require_positive(self.name, threshold=self.threshold)


class RiskAdjustedTarget(_Ahead, frozen=True, tag="risk_adjusted"):
    """The return over the horizon by the volatility of the returns of one price step in the window before the row."""

    volatility_window_ns: int = DEFAULT_VOLATILITY_WINDOW_NS


class TripleBarrierTarget(_Ahead, frozen=True, tag="triple_barrier"):
    """Which barrier the price meets first: the upper (+1), the lower (-1) or the end of the horizon (0).

    Two additional columns say when, ``<name>_t1``, and which, ``<name>_barrier``: upper, lower or end.

    upper, lower: distances as returns; with ``by_volatility`` as multiples of the past volatility of one price step,
    scaled to the horizon by the square root of time.
    """

    upper: float = DEFAULT_THRESHOLD
    lower: float = DEFAULT_THRESHOLD
    by_volatility: bool = False
    volatility_window_ns: int = DEFAULT_VOLATILITY_WINDOW_NS

    def __post_init__(self) -> None:
        _require_positive(self.name, upper=self.upper, lower=self.lower)


class MetaLabelTarget(TripleBarrierTarget, frozen=True, tag="meta_label"):
    """Whether the trade of a primary model was right (1) or not (0): it met its profit first, or ended with a gain.

    upper: the profit, lower: the stop, each in the direction of the signal's side. ``<name>_barrier`` is profit, stop
    or end. Source: López de Prado (2018), Advances in Financial Machine Learning, 3.6.
    """


Target = RegressionTarget | ClassificationTarget | RiskAdjustedTarget | TripleBarrierTarget | MetaLabelTarget


def is_class(target: Target) -> bool:
    """Whether the labels are classes."""
    return isinstance(target, ClassificationTarget | TripleBarrierTarget)


def classes(target: Target) -> Mapping[str, float]:
    """The label of each class by its name, ascending; none where the labels are no classes."""
    if isinstance(target, MetaLabelTarget):
        return _VERDICTS
    return _DIRECTIONS if is_class(target) else {}


def volatility_window_ns(target: Target) -> int:
    """How far before its row a label looks for volatility; 0 when it does not."""
    match target:
        case RiskAdjustedTarget():
            return target.volatility_window_ns
        case TripleBarrierTarget(by_volatility=True):
            return target.volatility_window_ns
        case _:
            return 0


def check_target(target: Target, step_ns: int) -> None:
    """Every duration must be whole steps of the price. Raises InvalidRequest."""
    ahead = f"{target.horizon_ns / SECOND_NS:g} s and {target.delay_ns / SECOND_NS:g} s"
    if target.horizon_ns <= 0 or target.delay_ns < 0:
        raise InvalidRequest(f"{target.name}: horizon must be positive and decision_delay not negative, was {ahead}")
    step = f"{step_ns // SECOND_NS} s"
    if target.horizon_ns % step_ns or target.delay_ns % step_ns:
        raise InvalidRequest(f"{target.name}: horizon and decision_delay must be whole steps of {step}, was {ahead}")
    window_ns = getattr(target, "volatility_window_ns", 2 * step_ns)
    if window_ns < 2 * step_ns or window_ns % step_ns:
        raise InvalidRequest(
            f"{target.name}: volatility_window must be two or more steps of {step}, was {window_ns / SECOND_NS:g} s"
        )


def _require_positive(name: str, **distances: float) -> None:
    for thing, value in distances.items():
        if not 0 < value < float("inf"):
            raise InvalidRequest(f"{name}.{thing}: must be positive and finite, was {value}")
