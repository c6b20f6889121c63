"""Fitting: the steps between features and a model whose numbers are learned, from the train rows of each fold alone."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from market.errors import InvalidRequest

ScaledBy = Literal["standard", "robust"]
DEFAULT_LOW: Final = 0.01
DEFAULT_HIGH: Final = 0.99
MOST_STEPS: Final = 16
MOST_CATEGORIES: Final = 64
"""Values of a column that is encoded: one with more is a quantity."""


class _Step(msgspec.Struct, frozen=True, tag_field="step"):
    """columns: the features it takes, in any order; none named are all that no encoder takes."""

    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.columns)) != len(self.columns):
            raise InvalidRequest(f"fitted_steps.columns: must be each once, was {list(self.columns)}")


class Scaler(_Step, frozen=True, tag="scaler"):
    """(x - centre) / spread: mean and population deviation, or with robust median and distance of the quartiles."""

    by: ScaledBy = "standard"


class Winsoriser(_Step, frozen=True, tag="winsoriser"):
    """Values below the quantile ``low`` of train become it, those above ``high`` become that one."""

    low: float = DEFAULT_LOW
    high: float = DEFAULT_HIGH

    def __post_init__(self) -> None:
        _Step.__post_init__(self)
        if not 0.0 <= self.low < self.high <= 1.0:
            raise InvalidRequest(f"fitted_steps: must have 0 <= low < high <= 1, was {self.low} and {self.high}")


class Encoder(_Step, frozen=True, tag="encoder"):
    """A column for each value that train has, 1 where a row has it and else 0; the last step of its columns."""

    def __post_init__(self) -> None:
        _Step.__post_init__(self)
        if not self.columns:
            raise InvalidRequest("fitted_steps.columns: must be named for an encoder, was left out")


FittedStep = Scaler | Winsoriser | Encoder


def check_steps(steps: tuple[FittedStep, ...] | None) -> None:
    """Raises InvalidRequest for none, too many, or a step after the encoder of its column."""
    if steps is None:
        return
    if not 0 < len(steps) <= MOST_STEPS:
        raise InvalidRequest(f"fitted_steps: must be 1 to {MOST_STEPS}, was {len(steps)}")
    encoded: set[str] = set()
    for step in steps:
        if after := encoded & set(step.columns):
            raise InvalidRequest(f"fitted_steps: must end with the encoder of a column, was more of {sorted(after)}")
        if isinstance(step, Encoder):
            encoded |= set(step.columns)


def steps_by_column(steps: tuple[FittedStep, ...], columns: tuple[str, ...]) -> dict[str, list[FittedStep]]:
    """The steps of each feature, in their order. Raises InvalidRequest for a feature that does not exist."""
    if unknown := sorted({name for step in steps for name in step.columns} - set(columns)):
        raise InvalidRequest(f"fitted_steps.columns: must be features of the dataset, was {', '.join(unknown)}")
    encoded = {name for step in steps if isinstance(step, Encoder) for name in step.columns}
    return {
        name: [step for step in steps if name in step.columns or not (step.columns or name in encoded)]
        for name in columns
    }
