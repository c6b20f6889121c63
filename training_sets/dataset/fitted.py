"""Fitted steps: numbers learned from the train rows of a fold, and what they make of any row, history or online.

1. Of each feature the rows of train that know it are taken, and each step is fitted on what the steps before it left.
2. Every number is written to ``_steps.json`` in full; it reads back as the same float64.
3. A row is transformed value by value, by one function, so that a row alone has the bits that it has among others.

NaN: an unknown value stays unknown, in each column that an encoder makes of it too, and no number is fitted on it. Of a
feature that train never knows nothing is fitted: what it would be is NaN. A spread of 0 is taken as 1: such a feature
is only centred. A value that an encoder has not seen is 0 in all its columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, assert_never

import msgspec
import numpy as np
import numpy.typing as npt

from market.errors import CorruptStore, InvalidRequest, NotFound
from storage.places import Place
from training_sets.dataset.files import fold_name, read_columns
from training_sets.request.fitting import (
    MOST_CATEGORIES,
    Encoder,
    FittedStep,
    Scaler,
    Winsoriser,
    steps_by_column,
)
from training_sets.request.request import OutputFormat

STEPS_NAME: Final = "_steps.json"
Float64s = npt.NDArray[np.float64]


class Scaled(msgspec.Struct, frozen=True, tag="scaler", tag_field="step"):
    """centre, spread: None of a feature that train never knows."""

    centre: float | None
    spread: float | None

    def apply(self, values: Float64s) -> Float64s:
        if self.centre is None or self.spread is None:
            return np.full((len(values), 1), np.nan)
        scaled: Float64s = (values - self.centre) / (self.spread if self.spread > 0.0 else 1.0)
        return scaled[:, None]


class Winsorised(msgspec.Struct, frozen=True, tag="winsoriser", tag_field="step"):
    """least, most: None of a feature that train never knows."""

    least: float | None
    most: float | None

    def apply(self, values: Float64s) -> Float64s:
        if self.least is None or self.most is None:
            return np.full((len(values), 1), np.nan)
        return np.clip(values, self.least, self.most)[:, None]


class Encoded(msgspec.Struct, frozen=True, tag="encoder", tag_field="step"):
    """categories: ascending."""

    categories: tuple[float, ...]

    def apply(self, values: Float64s) -> Float64s:
        held = (values[:, None] == np.array(self.categories, np.float64)[None, :]).astype(np.float64)
        return np.where(np.isnan(values)[:, None], np.nan, held)


Fitted = Scaled | Winsorised | Encoded


class FittedColumn(msgspec.Struct, frozen=True):
    """A feature and its steps, in order. rows: how many of train know it; None where no step takes it."""

    name: str
    rows: int | None
    steps: tuple[Fitted, ...]

    @property
    def outputs(self) -> list[str]:
        """The columns that it becomes."""
        last = self.steps[-1] if self.steps else None
        return [f"{self.name}={each!r}" for each in last.categories] if isinstance(last, Encoded) else [self.name]

    def apply(self, values: Float64s) -> Float64s:
        """float64 (n,) to float64 (n, outputs)."""
        found = values[:, None]
        for step in self.steps:
            found = step.apply(found[:, 0])
        return found


# Made at import: msgspec learns a class at its first use, which ends the process where two threads do it at once.
_LEARNED: Final = msgspec.json.Decoder(FittedColumn)


@dataclass(frozen=True, slots=True)
class FittedSteps:
    """The steps of one fold, of each feature in the order of the dataset."""

    columns: tuple[FittedColumn, ...]

    @property
    def inputs(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def outputs(self) -> list[str]:
        """Names of the columns that ``apply`` gives."""
        return [name for column in self.columns for name in column.outputs]

    def apply(self, values: Float64s) -> Float64s:
        """float64 (n, features), or (features,) of one row, in the dataset's order, to (n, outputs) or (outputs,).

        Raises InvalidRequest for another number of features.
        """
        if values.ndim not in {1, 2} or values.shape[-1] != len(self.columns):
            raise InvalidRequest(f"features: must be {len(self.columns)} a row, was of shape {values.shape}")
        rows = values.reshape(-1, len(self.columns))
        parts = [column.apply(rows[:, at]) for at, column in enumerate(self.columns)]
        found = np.concatenate(parts, axis=1)
        return found[0] if values.ndim == 1 else found


def fit_column(name: str, values: Float64s, steps: Sequence[FittedStep]) -> FittedColumn:
    """Fit one feature. values: float64 (n,), of the train rows; NaN is ignored.

    Raises InvalidRequest for one to encode that has more than MOST_CATEGORIES values.
    """
    known = np.ascontiguousarray(values[~np.isnan(values)])
    rows = len(known)
    fitted: list[Fitted] = []
    for step in steps:
        one = _fit(name, known, step)
        fitted.append(one)
        if not isinstance(one, Encoded):
            known = np.ascontiguousarray(one.apply(known)[:, 0])
    return FittedColumn(name, rows if steps else None, tuple(fitted))


def _fit(name: str, known: Float64s, step: FittedStep) -> Fitted:
    match step:
        case Scaler(by=by):
            if len(known) == 0:
                return Scaled(None, None)
            if by == "standard":
                # Of equal values the mean may round to another one: their deviation is 0 all the same.
                is_constant = known.min() == known.max()
                return Scaled(float(known[0]), 0.0) if is_constant else Scaled(float(known.mean()), float(known.std()))
            low, centre, high = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
            return Scaled(centre, high - low)
        case Winsoriser(low=low, high=high):
            if len(known) == 0:
                return Winsorised(None, None)
            least, most = np.quantile(known, [low, high]).tolist()
            return Winsorised(least, most)
        case Encoder():
            categories = np.unique(known)
            if len(categories) > MOST_CATEGORIES:
                raise InvalidRequest(
                    f"fitted_steps: an encoded column must have at most {MOST_CATEGORIES} values, was {name} with "
                    f"{len(categories)}"
                )
            return Encoded(tuple(categories.tolist()))
        case _:
            assert_never(step)


def fit_steps(
    steps: tuple[FittedStep, ...], columns: tuple[str, ...], train: Path, output_format: OutputFormat
) -> FittedSteps:
    """Fit the steps of one fold on its train file, a feature in memory at a time.

    Raises InvalidRequest as ``fit_column``, and for a feature that the file has not; CorruptStore.
    """
    chosen = steps_by_column(steps, columns)
    found = []
    for name in columns:
        # What no step takes is passed on, and need not be read.
        values = read_columns(train, [name], output_format)[:, 0] if chosen[name] else np.empty(0)
        found.append(fit_column(name, values, chosen[name]))
    return FittedSteps(tuple(found))


def write_steps(path: Path, fitted: Mapping[int | None, FittedSteps]) -> None:
    """Every number in full, by fold; a dataset without folds has one entry, "train"."""
    document = {
        "folds": {_key(fold): {"columns": msgspec.to_builtins(steps.columns)} for fold, steps in fitted.items()}
    }
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_steps(path: Place, fold: int | None) -> FittedSteps:
    """The steps of a fold. Raises NotFound for one that does not exist, CorruptStore."""
    try:
        folds: dict[str, Any] = json.loads(path.read_text())["folds"]
        if _key(fold) not in folds:
            raise NotFound(f"fold: must be one of {', '.join(folds)}, was {_key(fold)}")
        return FittedSteps(msgspec.convert(folds[_key(fold)]["columns"], tuple[FittedColumn, ...]))
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise CorruptStore(f"{path}: must hold fitted steps, was {error}") from error


def _key(fold: int | None) -> str:
    return "train" if fold is None else fold_name(fold)
