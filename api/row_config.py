"""What each row of a build request is: its targets, what it weighs, when it is sampled, how it is scaled."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.wire_times import Duration, Moment
from market.errors import InvalidRequest
from training_sets.request.derived import (
    DEFAULT_CUT_OFF,
    MOST_MEMBERS,
    CrossSectionalRank,
    Derived,
    FractionalDifference,
    Member,
)
from training_sets.request.fitting import DEFAULT_HIGH, DEFAULT_LOW, Encoder, FittedStep, ScaledBy, Scaler, Winsoriser
from training_sets.request.sampling import MOST_SIGNALS, BarSampling, CusumSampling, Sampling, SignalSampling
from training_sets.request.targets import (
    DEFAULT_THRESHOLD,
    DEFAULT_VOLATILITY_WINDOW_NS,
    ClassificationTarget,
    MetaLabelTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    Target,
    TripleBarrierTarget,
)
from training_sets.request.weighting import WeighedBy, Weighting

TargetType = Literal["regression", "classification", "risk_adjusted", "triple_barrier", "meta_label"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TargetConfig(Strict):
    """What to predict.

    ``threshold`` is of a classification, the barriers ``upper`` and ``lower`` of a triple barrier: returns, or
    multiples of the past volatility with ``by_volatility``. ``meta_label``: whether the trade of a signal of
    ``sampling`` met its profit ``upper`` before its stop ``lower``, or ended with a gain.
    """

    type: TargetType = "regression"
    horizon: Duration
    decision_delay: Duration = 0
    name: str | None = None
    threshold: float | None = None
    volatility_window: Duration | None = None
    upper: float | None = None
    lower: float | None = None
    by_volatility: bool | None = None

    def to_target(self, default_name: str) -> Target:
        """The target to build. Raises InvalidRequest for a field that its type has not, or a value out of range."""
        name = default_name if self.name is None else self.name
        ahead: tuple[int, int, str] = (self.horizon, self.decision_delay, name)
        window_ns = DEFAULT_VOLATILITY_WINDOW_NS if self.volatility_window is None else self.volatility_window
        match self.type:
            case "regression":
                self._leave_out("threshold", "volatility_window", "upper", "lower", "by_volatility")
                return RegressionTarget(*ahead)
            case "classification":
                self._leave_out("volatility_window", "upper", "lower", "by_volatility")
                return ClassificationTarget(*ahead, threshold=_default(self.threshold, DEFAULT_THRESHOLD))
            case "risk_adjusted":
                self._leave_out("threshold", "upper", "lower", "by_volatility")
                return RiskAdjustedTarget(*ahead, volatility_window_ns=window_ns)
            case "triple_barrier" | "meta_label":
                self._leave_out("threshold")
                kind = TripleBarrierTarget if self.type == "triple_barrier" else MetaLabelTarget
                return kind(
                    *ahead,
                    upper=_default(self.upper, DEFAULT_THRESHOLD),
                    lower=_default(self.lower, DEFAULT_THRESHOLD),
                    by_volatility=bool(self.by_volatility),
                    volatility_window_ns=window_ns,
                )

    def _leave_out(self, *names: str) -> None:
        for name in names:
            if (value := getattr(self, name)) is not None:
                raise InvalidRequest(f"target_config.{name}: must be left out for {self.type}, was {value!r}")


class WeightConfig(Strict):
    """How much each row counts, in the column ``sample_weight``, by the labels that overlap with its own.

    ``target``: whose labels; the one that looks furthest unless it is given. ``time_decay``: what is left of the oldest
    row, 1 is all of it.
    """

    by: WeighedBy = "uniqueness"
    target: str | None = None
    time_decay: float = 1.0

    def to_weighting(self) -> Weighting:
        """What the builder is asked. Raises InvalidRequest."""
        return Weighting(self.by, self.target, self.time_decay)


class SignalConfig(Strict):
    """A signal of a primary model: its time and its side, 1 to buy, -1 to sell."""

    timestamp: Moment
    side: Literal[-1, 1]


class SamplingConfig(Strict):
    """Rows where something has happened, instead of at an interval.

    ``by`` cusum: log returns have summed to more than ``threshold``, or that many times the past volatility over
    ``volatility_window``. tick, volume, dollar: so much, ``size``, was traded. signals: signals of a primary model,
    ascending; the column ``side`` is an input then, and a ``meta_label`` target judges its trades.
    """

    by: Literal["cusum", "tick", "volume", "dollar", "signals"]
    threshold: float | None = None
    volatility_window: Duration | None = None
    size: float | None = None
    signals: Annotated[list[SignalConfig], Field(max_length=MOST_SIGNALS)] | None = None

    def to_sampling(self) -> Sampling:
        """What the builder is asked. Raises InvalidRequest for a field that is missing, or another's."""
        wanted = {"cusum": "threshold", "signals": "signals"}.get(self.by, "size")
        own = {wanted, "volatility_window"} if self.by == "cusum" else {wanted}
        for name in {"threshold", "volatility_window", "size", "signals"} - own:
            if (value := getattr(self, name)) is not None:
                raise InvalidRequest(f"sampling.{name}: must be left out for {self.by}, was {value!r}")
        if getattr(self, wanted) is None:
            raise InvalidRequest(f"sampling.{wanted}: must be given for {self.by}, was left out")
        if self.by == "cusum":
            return CusumSampling(_default(self.threshold, 0.0), self.volatility_window or 0)
        if self.by == "signals":
            signals = self.signals or []
            return SignalSampling(tuple(each.timestamp for each in signals), tuple(int(each.side) for each in signals))
        return BarSampling(self.by, _default(self.size, 0.0))


class FittedStepConfig(Strict):
    """A step that is fitted only on the train rows of each fold, in the order of the request.

    ``scaler`` by standard (mean and deviation) or robust (median and quartiles); ``winsoriser`` between the quantiles
    ``low`` and ``high``; ``encoder`` of a column with few values, one column each. ``columns``: which features; all of
    them unless they are named, which an encoder must do.
    """

    step: Literal["scaler", "winsoriser", "encoder"]
    columns: Annotated[list[str], Field(min_length=1, max_length=1000)] | None = None
    by: ScaledBy | None = None
    low: float | None = None
    high: float | None = None

    def to_step(self) -> FittedStep:
        """What the builder is asked. Raises InvalidRequest for a field of another step, or a value out of range."""
        columns = tuple(self.columns or ())
        own = {"scaler": {"by"}, "winsoriser": {"low", "high"}, "encoder": set()}[self.step]
        for name in ("by", "low", "high"):
            if name not in own and (value := getattr(self, name)) is not None:
                raise InvalidRequest(f"fitted_steps.{name}: must be left out for {self.step}, was {value!r}")
        match self.step:
            case "scaler":
                return Scaler(columns, self.by or "standard")
            case "winsoriser":
                return Winsoriser(columns, _default(self.low, DEFAULT_LOW), _default(self.high, DEFAULT_HIGH))
            case "encoder":
                return Encoder(columns)


class MemberConfig(Strict):
    """That a symbol belongs to a universe from one moment up to another."""

    symbol: str
    start: Moment
    end: Moment


class DerivedConfig(Strict):
    """An input computed from many served rows of the feature ``column``.

    ``fractional_difference``: of ``order``, weights below ``cut_off`` left out, of its logarithm or, with ``of`` value,
    of itself. ``rank``: 0 to 1 among the symbols that belong to the ``universe`` then, all of them unless it is given.
    """

    make: Literal["fractional_difference", "rank"]
    column: str
    order: float | None = None
    cut_off: float | None = None
    of: Literal["log", "value"] | None = None
    universe: Annotated[list[MemberConfig], Field(min_length=1, max_length=MOST_MEMBERS)] | None = None

    def to_derived(self) -> Derived:
        """What the builder is asked. Raises InvalidRequest for a field of the other, or a value out of range."""
        others = ("universe",) if self.make == "fractional_difference" else ("order", "cut_off", "of")
        for name in others:
            if (value := getattr(self, name)) is not None:
                raise InvalidRequest(f"derived.{name}: must be left out for {self.make}, was {value!r}")
        if self.make == "rank":
            members = tuple(Member(each.symbol, each.start, each.end) for each in self.universe or ())
            return CrossSectionalRank(self.column, members)
        if self.order is None:
            raise InvalidRequest("derived.order: must be given for fractional_difference, was left out")
        return FractionalDifference(self.column, self.order, _default(self.cut_off, DEFAULT_CUT_OFF), self.of or "log")


def _default(value: Any, default: float) -> float:  # noqa: ANN401  # a float or None, as pydantic checked
    return default if value is None else float(value)
