"""What a training set is asked to be."""

from __future__ import annotations

from dataclasses import dataclass

from market.clock import SECOND_NS
from market.errors import InvalidRequest
from training_sets.labels import RegressionTarget
from training_sets.splits import Period, check_periods


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """Symbols, periods, target and registry version of one dataset.

    periods: train, validation and test in this order; touching is fine, overlapping is not.
    sample_interval_ns: rows are sampled at whole multiples of it.
    """

    symbols: tuple[str, ...]
    periods: tuple[Period, ...]
    target: RegressionTarget
    registry_version: str
    sample_interval_ns: int = SECOND_NS
    purge: bool = True
    embargo_ns: int = 0

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise InvalidRequest(f"symbols: must be at least one, each once, was {list(self.symbols)}")
        if self.sample_interval_ns <= 0 or self.sample_interval_ns % SECOND_NS:
            raise InvalidRequest(f"sample_interval: must be whole seconds, was {self.sample_interval_ns} ns")
        if self.target.horizon_ns <= 0 or self.target.horizon_ns % SECOND_NS or self.target.delay_ns % SECOND_NS:
            raise InvalidRequest(f"target: horizon and delay must be whole seconds, was {self.target}")
        if self.embargo_ns < 0:
            raise InvalidRequest(f"embargo: must not be negative, was {self.embargo_ns} ns")
        check_periods(self.periods)
        for period in self.periods:
            if self.target.reach_ns >= period.end_ns - period.start_ns:
                raise InvalidRequest(
                    f"target: must look less far ahead than a period is long, was "
                    f"{self.target.reach_ns // SECOND_NS} s with {period}"
                )


def default_periods(start_ns: int, end_ns: int) -> tuple[Period, ...]:
    """The 70 / 15 / 15 split of [start, end) by time, at whole seconds."""
    seconds = (end_ns - start_ns) // SECOND_NS
    train_end_ns = start_ns + seconds * 70 // 100 * SECOND_NS
    validation_end_ns = start_ns + seconds * 85 // 100 * SECOND_NS
    return (
        Period("train", start_ns, train_end_ns),
        Period("validation", train_end_ns, validation_end_ns),
        Period("test", validation_end_ns, end_ns),
    )
