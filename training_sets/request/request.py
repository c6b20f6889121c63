"""What a training set is asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from market.clock import SECOND_NS
from market.errors import InvalidRequest
from training_sets.request.folds import Fold, Strategy, make_folds
from training_sets.request.targets import Target, check_target

MissingPolicy = Literal["keep", "drop", "forward_fill"]
OutputFormat = Literal["parquet", "csv"]
PriceChoice = Literal["auto", "mid_price", "kline_close"]
"""auto: the mid where any is known in the period, else the close."""


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """Symbols, strategy, targets and registry version of one dataset.

    sample_interval_ns: rows are sampled at whole multiples of it.
    missing: what becomes of an unknown value: it stays NaN, its row is dropped, or it becomes the symbol's last known
    value that is at most ``fill_limit_ns`` older.
    """

    symbols: tuple[str, ...]
    strategy: Strategy
    targets: tuple[Target, ...]
    registry_version: str
    sample_interval_ns: int = SECOND_NS
    purge: bool = True
    embargo_ns: int = 0
    missing: MissingPolicy = "keep"
    fill_limit_ns: int = 0
    label_price: PriceChoice = "auto"
    output_format: OutputFormat = "parquet"
    check_leakage: bool = True

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise InvalidRequest(f"symbols: must be at least one, each once, was {list(self.symbols)}")
        if self.sample_interval_ns <= 0 or self.sample_interval_ns % SECOND_NS:
            raise InvalidRequest(f"sample_interval: must be whole seconds, was {self.sample_interval_ns} ns")
        if self.embargo_ns < 0:
            raise InvalidRequest(f"embargo: must not be negative, was {self.embargo_ns} ns")
        if (self.missing == "forward_fill") != (self.fill_limit_ns > 0):
            raise InvalidRequest(
                f"missing: must have a limit exactly when it is forward_fill, was {self.missing} with "
                f"{self.fill_limit_ns} ns"
            )
        names = [target.name for target in self.targets]
        if not names or len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
            raise InvalidRequest(f"targets: must be at least one, each with a name of its own, was {names}")
        for target in self.targets:
            check_target(target, SECOND_NS)
        for fold in self.folds():
            for period in fold.periods:
                if self.label_reach_ns >= period.end_ns - period.start_ns:
                    raise InvalidRequest(
                        f"target: must look less far ahead than a period is long, was "
                        f"{self.label_reach_ns // SECOND_NS} s with {period}"
                    )

    @property
    def label_reach_ns(self) -> int:
        """How far after its row the longest label looks."""
        return max(target.reach_ns for target in self.targets)

    def folds(self) -> list[Fold]:
        """The folds of the strategy."""
        return make_folds(self.strategy)
