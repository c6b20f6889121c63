"""Build requests over the wire: the forms of the HTTP API, and what they ask of the builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from api.row_config import DerivedConfig, FittedStepConfig, SamplingConfig, Strict, TargetConfig, WeightConfig
from api.wire_times import Duration, Moment
from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, parse_duration_ns
from market.errors import InvalidRequest
from training_sets.request.derived import MOST_DERIVED
from training_sets.request.features import MOST_REFERENCES, FeatureChoice
from training_sets.request.fitting import MOST_STEPS
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
    HOURS,
    KLINE_OFFSET_NS,
    LONGEST_LAG_NS,
    MOST_SAMPLE_TIMES,
    DatasetRequest,
    MissingPolicy,
    OutputFormat,
    PriceChoice,
    SampleKind,
)
from training_sets.request.sessions import over_sessions
from training_sets.request.targets import RegressionTarget

MOST_STREAMS: Final = 100
"""Symbols of a set of streams."""
MOST_SYMBOLS: Final = 1_000
"""Symbols of a set over sessions: an index of 500 shares, with all that ever were in it for years."""
DEFAULT_HORIZON_NS: Final = MINUTE_NS
SymbolName = Annotated[str, Field(min_length=1, max_length=64)]
SampleInterval = Literal["1s", "3s", "15s", "1m", "1d"]
Days = Annotated[int, Field(ge=1, le=3660)]
StrategyName = Literal["time_based", "walk_forward", "random", "cpcv"]


class WalkForwardConfig(Strict):
    """Windows in whole days; a test window is optional. ``window`` expanding trains from the start in every fold."""

    train_window_days: Days
    validation_window_days: Days
    test_window_days: Annotated[int, Field(ge=0, le=3660)] = 0
    step_days: Days
    start_date: Moment
    end_date: Moment
    min_train_samples: Annotated[int, Field(ge=0)] = 0
    window: Literal["rolling", "expanding"] = "rolling"


class CpcvConfig(Strict):
    """Combinatorial purged cross-validation: ``test_groups`` of ``groups`` equal stretches of time in each fold."""

    start_date: Moment
    end_date: Moment
    groups: Annotated[int, Field(ge=2, le=100)] = 6
    test_groups: Annotated[int, Field(ge=1, le=99)] = 2


class RandomConfig(Strict):
    """Blocks dealt out by a seed; for tests."""

    start_date: Moment
    end_date: Moment
    block: Duration = MINUTE_NS
    seed: int = 0


class SplitConfig(Strict):
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
    ``sample_times``. ``read_delay_ms``: how long after that it acts. ``fill_limit`` is the maximum age of a value
    that ``missing`` forward_fill uses. ``sample_offset``: how long after the interval's multiples t lies; with
    ``label_price`` kline_close, whose kline arrives after its end, two seconds unless it is given. ``history_lag_ms``:
    how long after its time a row that was not served live could be read, for each hour of the UTC day.
    ``features``: "view:name" of other views in addition to those of ``feature_registry_version``; without a version
    they are all that the set has, of views of the active version and of others. ``feature_keys``: the value of each
    key of other views except the symbol. ``calendar``: an exchange's, such as XNYS, with ``sample_interval`` 1d: one
    sample per session, ``sample_offset`` after its close, by default four hours; days of horizon, windows and embargo
    are sessions. ``symbols``: at most 100, with a ``calendar`` 1000.
    """

    symbol: SymbolName | None = None
    symbols: Annotated[list[SymbolName], Field(min_length=1, max_length=MOST_SYMBOLS)] | None = None
    target_config: TargetConfig | Annotated[list[TargetConfig], Field(min_length=1, max_length=32)]
    feature_registry_version: str | None = None
    features: Annotated[list[str], Field(min_length=1, max_length=MOST_REFERENCES)] | None = None
    feature_keys: dict[str, str | int] | None = None
    sample_interval: SampleInterval = "1s"
    sample_offset: Duration | None = None
    calendar: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    sample_kind: SampleKind = "on_row"
    sample_times: Annotated[list[Moment], Field(min_length=1, max_length=MOST_SAMPLE_TIMES)] | None = None
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
    fitted_steps: Annotated[list[FittedStepConfig], Field(min_length=1, max_length=MOST_STEPS)] | None = None
    history_lag_ms: Annotated[list[int], Field(min_length=HOURS, max_length=HOURS)] | None = None
    derived: Annotated[list[DerivedConfig], Field(min_length=1, max_length=MOST_DERIVED)] | None = None

    @model_validator(mode="after")
    def _one_way_to_name_symbols(self) -> BuildRequest:
        if (self.symbol is None) == (self.symbols is None):
            raise ValueError("symbol, symbols: must be one of the two")
        count = len(self.symbols or ())
        if self.calendar is None and count > MOST_STREAMS:
            raise ValueError(f"symbols: must be at most {MOST_STREAMS} without a calendar, was {count}")
        return self

    def _offset_ns(self) -> int:
        if self.sample_offset is not None:
            return self.sample_offset
        is_at_interval = self.sample_times is None and self.sampling is None
        is_of_klines = self.label_price == "kline_close" and is_at_interval
        return KLINE_OFFSET_NS if is_of_klines and parse_duration_ns(self.sample_interval) >= MINUTE_NS else 0

    def _features(self) -> FeatureChoice | None:
        if self.features is None:
            if self.feature_keys is not None:
                raise InvalidRequest("feature_keys: must be given with features, was alone")
            return None
        return FeatureChoice(
            tuple(self.features),
            is_beside=self.feature_registry_version is not None,
            keys=self.feature_keys or {},
        )

    def to_request(self, default_version: str) -> DatasetRequest:
        """The request to build. Raises InvalidRequest, saying what is possible, for what cannot be."""
        if self.missing == "interpolate":
            raise InvalidRequest(
                "missing: must be keep, drop or forward_fill, was interpolate: interpolating uses the later "
                "value before it is known; forward_fill takes the earlier one, up to fill_limit"
            )
        if self.calendar is not None and self.sample_interval != "1d":
            raise InvalidRequest(f"calendar: must be with a sample_interval of 1d, was with {self.sample_interval}")
        configs = self.target_config if isinstance(self.target_config, list) else [self.target_config]
        request = DatasetRequest(
            symbols=tuple(self.symbols) if self.symbols is not None else (str(self.symbol),),
            strategy=self.to_strategy(),
            targets=tuple(
                config.to_target("target" if len(configs) == 1 else _target_name(config)) for config in configs
            ),
            registry_version=self.feature_registry_version or default_version,
            sample_interval_ns=parse_duration_ns(self.sample_interval),
            sample_offset_ns=self._offset_ns(),
            sample_kind=self.sample_kind,
            sample_times_ns=tuple(self.sample_times or ()),
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
            features=self._features(),
            fitted_steps=None if self.fitted_steps is None else tuple(step.to_step() for step in self.fitted_steps),
            history_lag_ms=None if self.history_lag_ms is None else tuple(self.history_lag_ms),
            derived=None if self.derived is None else tuple(each.to_derived() for each in self.derived),
        )
        return request if self.calendar is None else over_sessions(request, self.calendar, self.sample_offset)


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
