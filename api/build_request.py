"""Build requests over the wire: the forms of the HTTP API, and what they ask of the builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, format_iso, parse_duration_ns, parse_iso_ns
from market.errors import InvalidRequest
from training_sets.request.folds import (
    SPLIT_NAMES,
    Period,
    PurgedCombinations,
    RandomBlocks,
    Strategy,
    TimeBased,
    WalkForward,
    default_periods,
)
from training_sets.request.request import (
    KLINE_OFFSET_NS,
    LONGEST_LAG_NS,
    MOST_SAMPLE_TIMES,
    DatasetRequest,
    MissingPolicy,
    OutputFormat,
    PriceChoice,
    SampleKind,
)
from training_sets.request.sampling import BarSampling, CusumSampling, Sampling
from training_sets.request.targets import (
    DEFAULT_THRESHOLD,
    DEFAULT_VOLATILITY_WINDOW_NS,
    ClassificationTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    Target,
    TripleBarrierTarget,
)
from training_sets.request.weighting import WeighedBy, Weighting

DEFAULT_HORIZON_NS: Final = 60 * SECOND_NS
_EARLIEST_NS: Final = 0
_LATEST_NS: Final = 4_102_444_800 * SECOND_NS
"""The year 2100: sums of later times with a horizon would come near the end of int64."""
_LONGEST_S: Final = 366 * 86_400


def _duration_ns(value: object) -> int:
    """Whole seconds as a number, or text such as "1m"; zero is allowed."""
    if isinstance(value, str):
        seconds = 0 if value in {"0s", "0m", "0h", "0d"} else parse_duration_ns(value) // SECOND_NS
    elif isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    else:
        raise ValueError("must be whole seconds or <int><s|m|h|d>")  # noqa: TRY004  # pydantic reports ValueError alone
    if not 0 <= seconds <= _LONGEST_S:
        raise ValueError(f"must be 0 to {_LONGEST_S} seconds")
    return seconds * SECOND_NS


def _moment_ns(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 time")  # noqa: TRY004  # pydantic reports ValueError alone
    time_ns = parse_iso_ns(value)
    if not _EARLIEST_NS <= time_ns <= _LATEST_NS:
        raise ValueError(f"must be from {format_iso(_EARLIEST_NS)} to {format_iso(_LATEST_NS)}")
    return time_ns


Duration = Annotated[
    int,
    BeforeValidator(_duration_ns),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+[smhd]$"}]}),
]
"""Nanoseconds."""
Moment = Annotated[int, BeforeValidator(_moment_ns), WithJsonSchema({"type": "string", "format": "date-time"})]
"""Nanoseconds since 1970 UTC; a time without an offset means UTC."""
SymbolName = Annotated[str, Field(min_length=1, max_length=64)]
SampleInterval = Literal["1s", "3s", "15s", "1m"]
Days = Annotated[int, Field(ge=1, le=3660)]
StrategyName = Literal["time_based", "walk_forward", "random", "cpcv"]
TargetType = Literal["regression", "classification", "risk_adjusted", "triple_barrier"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TargetConfig(_Strict):
    """What to predict.

    ``threshold`` is of a classification, the barriers ``upper`` and ``lower`` of a triple barrier: returns, or
    multiples of the past volatility with ``by_volatility``.
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
            case "triple_barrier":
                self._leave_out("threshold")
                return TripleBarrierTarget(
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


class WeightConfig(_Strict):
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


class SamplingConfig(_Strict):
    """Rows where something has happened, instead of at an interval.

    ``by`` cusum: log returns have summed to more than ``threshold``, or that many times the past volatility over
    ``volatility_window``. tick, volume, dollar: so much, ``size``, was traded.
    """

    by: Literal["cusum", "tick", "volume", "dollar"]
    threshold: float | None = None
    volatility_window: Duration | None = None
    size: float | None = None

    def to_sampling(self) -> Sampling:
        """What the builder is asked. Raises InvalidRequest for a field that is missing, or another's."""
        is_cusum = self.by == "cusum"
        wanted, others = ("threshold", ("size",)) if is_cusum else ("size", ("threshold", "volatility_window"))
        for name in others:
            if (value := getattr(self, name)) is not None:
                raise InvalidRequest(f"sampling.{name}: must be left out for {self.by}, was {value!r}")
        if getattr(self, wanted) is None:
            raise InvalidRequest(f"sampling.{wanted}: must be given for {self.by}, was left out")
        if self.by == "cusum":
            return CusumSampling(_default(self.threshold, 0.0), self.volatility_window or 0)
        return BarSampling(self.by, _default(self.size, 0.0))


class WalkForwardConfig(_Strict):
    """Windows in whole days; a test window is optional. ``window`` expanding trains from the start in every fold."""

    train_window_days: Days
    validation_window_days: Days
    test_window_days: Annotated[int, Field(ge=0, le=3660)] = 0
    step_days: Days
    start_date: Moment
    end_date: Moment
    min_train_samples: Annotated[int, Field(ge=0)] = 0
    window: Literal["rolling", "expanding"] = "rolling"


class CpcvConfig(_Strict):
    """Combinatorial purged cross-validation: ``test_groups`` of ``groups`` equal stretches of time in each fold."""

    start_date: Moment
    end_date: Moment
    groups: Annotated[int, Field(ge=2, le=100)] = 6
    test_groups: Annotated[int, Field(ge=1, le=99)] = 2


class RandomConfig(_Strict):
    """Blocks dealt out by a seed; for tests."""

    start_date: Moment
    end_date: Moment
    block: Duration = MINUTE_NS
    seed: int = 0


class SplitConfig(_Strict):
    """How time is split: explicit periods, each [start, end), or the configuration of another strategy."""

    split_strategy: StrategyName = "time_based"
    train_period_start: Moment | None = None
    train_period_end: Moment | None = None
    validation_period_start: Moment | None = None
    validation_period_end: Moment | None = None
    test_period_start: Moment | None = None
    test_period_end: Moment | None = None
    walk_forward_config: WalkForwardConfig | None = None
    cpcv_config: CpcvConfig | None = None
    random_config: RandomConfig | None = None

    def to_strategy(self) -> Strategy:
        """The strategy to build. Raises InvalidRequest when its configuration is missing or another's is given."""
        configs: Mapping[str, object] = {
            "walk_forward": self.walk_forward_config,
            "cpcv": self.cpcv_config,
            "random": self.random_config,
        }
        for name, config in configs.items():
            if (config is None) != (name != self.split_strategy):
                rule = "given" if config is None else "left out"
                raise InvalidRequest(f"{name}_config: must be {rule} for a {self.split_strategy} split")
        if self.walk_forward_config is not None:
            walk = self.walk_forward_config
            return WalkForward(
                start_ns=walk.start_date,
                end_ns=walk.end_date,
                train_ns=walk.train_window_days * DAY_NS,
                validation_ns=walk.validation_window_days * DAY_NS,
                step_ns=walk.step_days * DAY_NS,
                test_ns=walk.test_window_days * DAY_NS,
                is_expanding=walk.window == "expanding",
                min_train_samples=walk.min_train_samples,
            )
        if self.cpcv_config is not None:
            groups = self.cpcv_config
            return PurgedCombinations(groups.start_date, groups.end_date, groups.groups, groups.test_groups)
        if self.random_config is not None:
            dealt = self.random_config
            return RandomBlocks(dealt.start_date, dealt.end_date, dealt.block, dealt.seed)
        return TimeBased(tuple(self._period(name) for name in SPLIT_NAMES))

    def _period(self, name: str) -> Period:
        start_ns, end_ns = (getattr(self, f"{name}_period_{side}") for side in ("start", "end"))
        if start_ns is None or end_ns is None:
            raise InvalidRequest(
                f"{name}_period_start, {name}_period_end: must be given for a time_based split, was without; "
                "the query form ?symbol=&from=&to= splits a period 70/15/15 by time"
            )
        return Period(name, start_ns, end_ns)


class BuildRequest(SplitConfig):
    """A training set.

    ``sample_kind`` on_row: the model acts when row t arrives; at_time: it asks at t, at an interval or at
    ``sample_times``. ``read_delay_ms``: how long after that it acts. ``fill_limit`` is how old a value may be that
    ``missing`` forward_fill fills in. ``sample_offset``: how long after the interval's multiples t lies; with
    ``label_price`` kline_close, whose kline arrives after its end, two seconds unless it is given.
    """

    symbol: SymbolName | None = None
    symbols: Annotated[list[SymbolName], Field(min_length=1, max_length=100)] | None = None
    target_config: TargetConfig | Annotated[list[TargetConfig], Field(min_length=1, max_length=32)]
    feature_registry_version: str | None = None
    sample_interval: SampleInterval = "1s"
    sample_offset: Duration | None = None
    sample_kind: SampleKind = "on_row"
    sample_times: Annotated[list[Moment], Field(max_length=MOST_SAMPLE_TIMES)] = []
    read_delay_ms: Annotated[int, Field(ge=0, le=LONGEST_LAG_NS // MILLISECOND_NS)] = 0
    purge: bool = True
    embargo: Duration = 0
    data_leakage_check: bool = True
    missing: MissingPolicy | Literal["interpolate"] = "keep"
    fill_limit: Duration = 0
    label_price: PriceChoice = "auto"
    output_format: OutputFormat = "parquet"
    sample_weight: WeightConfig | None = None
    sampling: SamplingConfig | None = None

    @model_validator(mode="after")
    def _one_way_to_name_symbols(self) -> BuildRequest:
        if (self.symbol is None) == (self.symbols is None):
            raise ValueError("symbol, symbols: must be one of the two")
        return self

    def _offset_ns(self) -> int:
        if self.sample_offset is not None:
            return self.sample_offset
        is_at_interval = not self.sample_times and self.sampling is None
        is_of_klines = self.label_price == "kline_close" and is_at_interval
        return KLINE_OFFSET_NS if is_of_klines and parse_duration_ns(self.sample_interval) >= MINUTE_NS else 0

    def to_request(self, default_version: str) -> DatasetRequest:
        """The request to build. Raises InvalidRequest, saying what is possible, for what cannot be."""
        if self.missing == "interpolate":
            raise InvalidRequest(
                "missing: must be keep, drop or forward_fill, was interpolate: between two values lies what only the "
                "later one tells, and no model has that one yet; forward_fill takes the one before, up to fill_limit"
            )
        configs = self.target_config if isinstance(self.target_config, list) else [self.target_config]
        return DatasetRequest(
            symbols=tuple(self.symbols) if self.symbols is not None else (str(self.symbol),),
            strategy=self.to_strategy(),
            targets=tuple(
                config.to_target("target" if len(configs) == 1 else _target_name(config)) for config in configs
            ),
            registry_version=self.feature_registry_version or default_version,
            sample_interval_ns=parse_duration_ns(self.sample_interval),
            sample_offset_ns=self._offset_ns(),
            sample_kind=self.sample_kind,
            sample_times_ns=tuple(self.sample_times),
            read_delay_ns=self.read_delay_ms * MILLISECOND_NS,
            purge=self.purge,
            embargo_ns=self.embargo,
            missing=self.missing,
            fill_limit_ns=self.fill_limit,
            label_price=self.label_price,
            output_format=self.output_format,
            check_leakage=self.data_leakage_check,
            sampling=None if self.sampling is None else self.sampling.to_sampling(),
            weighting=None if self.sample_weight is None else self.sample_weight.to_weighting(),
        )


def period_request(symbols: tuple[str, ...], start_ns: int, end_ns: int, default_version: str) -> DatasetRequest:
    """The request of the query form: 70/15/15 by time, the return over the next minute. Raises InvalidRequest."""
    return DatasetRequest(
        symbols,
        TimeBased(default_periods(start_ns, end_ns)),
        (RegressionTarget(DEFAULT_HORIZON_NS),),
        default_version,
    )


def _target_name(config: TargetConfig) -> str:
    return f"target_{config.type}_{config.horizon // SECOND_NS}s"


def _default(value: Any, default: float) -> float:  # noqa: ANN401  # a float or None, as pydantic checked
    return default if value is None else float(value)
