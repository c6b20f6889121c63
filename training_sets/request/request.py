"""What a training set is asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec

from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, format_iso
from market.errors import InvalidRequest
from training_sets.request.derived import Derived, FractionalDifference, check_derived
from training_sets.request.features import FeatureChoice
from training_sets.request.fitting import FittedStep, check_steps
from training_sets.request.folds import Fold, Strategy, covered, make_folds
from training_sets.request.sampling import SIDE, CusumSampling, Sampling, SignalSampling
from training_sets.request.sessions import TradingSessions
from training_sets.request.targets import MetaLabelTarget, Target, check_target, volatility_window_ns
from training_sets.request.weighting import Weighting

MissingPolicy = Literal["keep", "drop", "forward_fill"]
OutputFormat = Literal["parquet", "csv"]
PriceChoice = Literal["auto", "mid_price", "kline_close"]
"""auto: the mid where any is known in the period, else the close."""
SampleKind = Literal["on_row", "at_time"]
"""on_row: the model acts when row ``t`` arrives. at_time: it asks at ``t`` and gets the newest tick there is."""
KLINE_OFFSET_NS: Final = 2 * SECOND_NS
"""After its end a one-minute kline is confirmed within a second: the row after that holds it."""
HOURS: Final = 24
MOST_SAMPLE_TIMES: Final = 100_000
LATER: Final = frozenset({"weighting", "sampling", "fitted_steps", "features", "derived", "history_lag_ms", "sessions"})
"""Fields that requests did not have from the beginning, None where they are not asked for."""
LONGEST_LAG_NS: Final = MINUTE_NS
"""How old a row may be when it is given to a reader: the time to live of the views."""


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """Symbols, strategy, targets and registry version of one dataset.

    sample_interval_ns, sample_offset_ns: rows are sampled so long after whole multiples of the interval.
    sample_kind, read_delay_ns: what a sample at ``t`` holds, and when the model acts: so long after the row arrived, or
    after it asked at ``t``. Labels begin there. sample_times_ns: when it asks, instead of at an interval; ascending.
    missing: what becomes of an unknown value: it stays NaN, its row is dropped, or it becomes the symbol's last known
    value that is at most ``fill_limit_ns`` older, of any row that was served, at times of the samples before.
    weighting: None weighs no row. sampling: what must have happened before a row is sampled; None samples at times.
    fitted_steps: what is fitted on the train rows of each fold and stored next to them; the files hold unfitted values.
    features: None is every feature of the registry version and no other.
    derived: columns that are made of many served rows. history_lag_ms: how long after its time a row that was not
    served could be read, by hour of the UTC day; None is the delay that the log states.
    sessions: of the exchange whose clock horizons, delays, windows and embargo are lengths of, a day for a session; see
    ``training_sets.request.sessions.over_sessions``. None is that they are on ours.
    """

    symbols: tuple[str, ...]
    strategy: Strategy
    targets: tuple[Target, ...]
    registry_version: str
    sample_interval_ns: int = SECOND_NS
    sample_offset_ns: int = 0
    sample_kind: SampleKind = "on_row"
    read_delay_ns: int = 0
    sample_times_ns: tuple[int, ...] = ()
    purge: bool = True
    embargo_ns: int = 0
    missing: MissingPolicy = "keep"
    fill_limit_ns: int = 0
    label_price: PriceChoice = "auto"
    output_format: OutputFormat = "parquet"
    check_leakage: bool = True
    weighting: Weighting | None = None
    sampling: Sampling | None = None
    fitted_steps: tuple[FittedStep, ...] | None = None
    features: FeatureChoice | None = None
    derived: tuple[Derived, ...] | None = None
    history_lag_ms: tuple[int, ...] | None = None
    sessions: TradingSessions | None = None

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise InvalidRequest(f"symbols: must be at least one, each once, was {list(self.symbols)}")
        if self.sample_interval_ns <= 0 or self.sample_interval_ns % SECOND_NS:
            raise InvalidRequest(
                f"sample_interval: must be whole seconds, was {self.sample_interval_ns / SECOND_NS:g} s"
            )
        if not 0 <= self.sample_offset_ns < self.sample_interval_ns or self.sample_offset_ns % SECOND_NS:
            raise InvalidRequest(
                "sample_offset: must be whole seconds below the interval, "
                f"{self.sample_interval_ns // SECOND_NS} s, was {self.sample_offset_ns / SECOND_NS:g} s"
            )
        if not 0 <= self.read_delay_ns <= LONGEST_LAG_NS:
            raise InvalidRequest(
                f"read_delay_ms: must be 0 to {LONGEST_LAG_NS // MILLISECOND_NS}, was "
                f"{self.read_delay_ns / MILLISECOND_NS:g}"
            )
        if self.sample_times_ns:
            self._check_times()
        if self.sampling is not None:
            self._check_sampling()
        if any(isinstance(each, MetaLabelTarget) for each in self.targets) and not self.has_sides:
            raise InvalidRequest("meta_label: must be of a request whose sampling is by signals, was without")
        if self.embargo_ns < 0:
            raise InvalidRequest(f"embargo: must not be negative, was {self.embargo_ns / SECOND_NS:g} s")
        if (self.missing == "forward_fill") != (self.fill_limit_ns > 0):
            raise InvalidRequest(
                "fill_limit: must be above 0 with missing forward_fill and left out otherwise, was "
                f"{self.fill_limit_ns / SECOND_NS:g} s with {self.missing}"
            )
        is_at_interval = self.sample_kind == "at_time" and not self.sample_times_ns
        if self.missing == "forward_fill" and is_at_interval and self.fill_limit_ns < self.sample_interval_ns:
            raise InvalidRequest(
                "fill_limit: must reach back to the sample before for at_time samples, "
                f"{self.sample_interval_ns / SECOND_NS:g} s, was {self.fill_limit_ns / SECOND_NS:g} s"
            )
        names = [target.name for target in self.targets]
        if not names or len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
            raise InvalidRequest(f"targets: must be at least one, each with a name of its own, was {names}")
        if self.weighting is not None and self.weighting.target not in {None, *names}:
            raise InvalidRequest(f"sample_weight.target: must be of {', '.join(names)}, was {self.weighting.target!r}")
        check_steps(self.fitted_steps)
        check_derived(self.derived, self.symbols)
        for name in ("derived", "history_lag_ms"):
            if getattr(self, name) is not None and self.sample_kind != "on_row":
                raise InvalidRequest(f"{name}: must be of on_row samples, was of {self.sample_kind}")
        most_ms = LONGEST_LAG_NS // MILLISECOND_NS
        lags = self.history_lag_ms
        if lags is not None and (len(lags) != HOURS or not 0 <= min(lags) <= max(lags) <= most_ms):
            raise InvalidRequest(
                f"history_lag_ms: must be {HOURS} of 0 to {most_ms}, one for each hour of the UTC day, was {list(lags)}"
            )
        for target in self.targets:
            check_target(target, SECOND_NS if self.sessions is None else DAY_NS)
        if self.sessions is not None:
            self._check_sessions()
        for fold in self.folds():
            for period in fold.periods:
                if self.label_reach_ns >= period.end_ns - period.start_ns:
                    raise InvalidRequest(
                        f"target: must look less far ahead than a period is long, was "
                        f"{self.label_reach_ns // SECOND_NS} s with {period}"
                    )

    def _check_sampling(self) -> None:
        is_plain = self.sample_interval_ns == SECOND_NS and not self.sample_offset_ns and not self.sample_times_ns
        if not is_plain or self.sample_kind != "on_row" or len(self.symbols) > 1:
            raise InvalidRequest(
                "sampling: must be of one symbol, on_row, without an interval, offset or times of its own, was of "
                f"{len(self.symbols)}, {self.sample_kind}"
            )
        if isinstance(self.sampling, SignalSampling):
            self._check_within("sampling.signals", self.sampling.rows_ns)

    def _check_sessions(self) -> None:
        if self.features is None or self.features.is_beside:
            raise InvalidRequest(
                "calendar: must be with features by name and no registry version, whose columns are of a stream at all "
                "hours, was without"
            )
        if not self.sample_times_ns or self.missing == "forward_fill" or self.label_price != "auto":
            raise InvalidRequest(
                "calendar: must be without sampling of another kind, label_price or forward_fill: how long a value "
                f"holds its view says, was {self.sample_kind}, {self.label_price}, {self.missing}"
            )
        if self.embargo_ns % DAY_NS:
            raise InvalidRequest(
                f"embargo: must be whole sessions, days of a calendar, was {self.embargo_ns / SECOND_NS:g} s"
            )

    def _check_times(self) -> None:
        times_ns = self.sample_times_ns
        if self.sample_offset_ns:
            raise InvalidRequest(
                f"sample_offset: must be 0 with sample_times, was {self.sample_offset_ns / SECOND_NS:g} s"
            )
        if self.sample_kind != "at_time" or len(times_ns) > MOST_SAMPLE_TIMES:
            raise InvalidRequest(
                f"sample_times: must be at most {MOST_SAMPLE_TIMES}, for at_time samples, "
                f"was {len(times_ns)} for {self.sample_kind}"
            )
        if any(later_ns <= time_ns for time_ns, later_ns in pairwise(times_ns)):
            raise InvalidRequest("sample_times: must be ascending, each once, was not")
        self._check_within("sample_times", times_ns)

    def _check_within(self, thing: str, times_ns: tuple[int, ...]) -> None:
        spans = covered(self.folds())
        for time_ns in times_ns:
            if not any(start_ns <= time_ns < end_ns for start_ns, end_ns in spans):
                raise InvalidRequest(f"{thing}: must lie in the periods, was {format_iso(time_ns)}")

    @property
    def has_sides(self) -> bool:
        """Whether a primary model says when rows are sampled, and with which side."""
        return isinstance(self.sampling, SignalSampling)

    @property
    def input_names(self) -> tuple[str, ...]:
        """A model's inputs other than features, in the order of the files."""
        sides = (SIDE,) if self.has_sides else ()
        return (*sides, *(each.name for each in self.derived or ()))

    @property
    def label_reach_ns(self) -> int:
        """How far after the moment at which the model acts the longest label looks."""
        return max(target.reach_ns for target in self.targets)

    @property
    def price_back_ns(self) -> int:
        """How far before a sample prices are needed, for volatility."""
        own = self.sampling.volatility_window_ns + MINUTE_NS if isinstance(self.sampling, CusumSampling) else 0
        return max(own, *(volatility_window_ns(target) for target in self.targets))

    @property
    def back_ns(self) -> int:
        """How far before a sample rows and prices are read, in addition to what the features read."""
        derived_ns = [
            (len(each.weights()) - 1) * self.sample_interval_ns
            for each in self.derived or ()
            if isinstance(each, FractionalDifference)
        ]
        return max([LONGEST_LAG_NS, self.price_back_ns, *derived_ns])

    @property
    def latest_price_ns(self) -> int:
        """How far after its time the label of a sample may look: the longest after the last moment to act."""
        return LONGEST_LAG_NS + self.read_delay_ns + self.label_reach_ns

    def folds(self) -> tuple[Fold, ...]:
        """The folds of the strategy, laid out once."""
        return make_folds(self.strategy)


def request_document(request: DatasetRequest) -> dict[str, Any]:
    """A request as JSON. What came later is left out where it is not asked for: the request is the same as before."""
    document: dict[str, Any] = msgspec.to_builtins(request)
    return {name: value for name, value in document.items() if name not in LATER or value is not None}


# Made at import: msgspec learns a class at its first use, which ends the process where two threads do it at once.
_LEARNED: Final = msgspec.json.Decoder(DatasetRequest)


def stated_request(document: Any) -> DatasetRequest:  # noqa: ANN401  # any JSON
    """The request that ``request_document`` wrote down. Raises msgspec.ValidationError for anything else."""
    return msgspec.convert(document, DatasetRequest)
