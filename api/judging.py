"""Judging: predictions against the rows of a split, read from the files of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from api.predictions import Predictions
from market.errors import InvalidRequest
from storage.places import Place
from training_sets.dataset.calibration import calibration_of_classes, calibration_of_values
from training_sets.dataset.evaluation import Measured, evaluate, strategy_returns
from training_sets.dataset.files import PATH, read_columns, read_pieces
from training_sets.dataset.selection import (
    MOST_PARTS,
    apart_returns,
    deflated_among,
    deflated_best,
    overfitting_probability,
)
from training_sets.dataset.trading import Held, trading_document
from training_sets.request.folds import PurgedCombinations
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget, Target, classes, is_class

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """The rows that are judged. actual: float64 (n, targets). paths: of their files. chosen: bool (n,), None is all."""

    asked: DatasetRequest
    paths: Sequence[Place]
    actual: Float64s
    chosen: npt.NDArray[np.bool_] | None

    @property
    def are_of_one_series(self) -> bool:
        """Whether no row occurs twice: they are of one fold or path."""
        return len(self.paths) == 1 or self.chosen is not None

    def check_candidates(self, candidates: dict[str, Float64s]) -> None:
        """Raises InvalidRequest unless there are two or more, of a dataset with one target, each a row each."""
        targets = self.asked.targets
        if len(targets) > 1 or len(candidates) < 2:
            raise InvalidRequest(
                f"candidates: must be two or more, for a dataset with one target, was {len(candidates)} for "
                f"{len(targets)} targets"
            )
        self.check_series()
        if is_class(targets[0]):
            raise InvalidRequest(f"candidates: must be for a numeric target, was for {targets[0].name}")
        for predicted in candidates.values():
            evaluate(targets[0], self.actual[:, 0], predicted, ["sharpe_ratio"])

    def check_trials(self, predictions: Predictions) -> None:
        """Raises InvalidRequest unless the trials' returns can be told: of values, of one fold or path."""
        self.check_series()
        for target, _ in by_target(predictions, self.asked.targets):
            if is_class(target):
                raise InvalidRequest(f"trials: must be for numeric targets, was for {target.name}, which has classes")

    def check_series(self) -> None:
        """Raises InvalidRequest for several folds without a path: their rows may be the same, told twice."""
        if not self.are_of_one_series:
            raise InvalidRequest(
                f"trials: must be for one fold or path, was for {len(self.paths)} folds; fold or path names one"
            )

    def times_ns(self) -> Int64s:
        """When each row is, int64 (n,)."""
        pieces = [piece for path in self.paths for piece in read_pieces(path, [], self.asked.output_format)]
        times_ns = np.concatenate([piece.times_ns for piece in pieces])
        return times_ns if self.chosen is None else times_ns[self.chosen]

    def symbols(self) -> Int64s:
        """The number of each row's symbol among those of the request, int64 (n,)."""
        pieces = [piece for path in self.paths for piece in read_pieces(path, [], self.asked.output_format)]
        numbers = [np.array([self.asked.symbols.index(name) for name in piece.symbols], np.int64) for piece in pieces]
        found = np.concatenate([own[piece.symbol] for own, piece in zip(numbers, pieces, strict=True)])
        return found if self.chosen is None else found[self.chosen]


def judged_rows(
    asked: DatasetRequest, paths: Sequence[Place], *, split: str, fold: int | None, path: int | None
) -> JudgedRows:
    """Raises InvalidRequest for a path of another strategy, split or number."""
    names = [target.name for target in asked.targets]
    actual = np.concatenate([read_columns(each, names, asked.output_format) for each in paths])
    if path is None:
        return JudgedRows(asked, paths, actual, None)
    if not isinstance(asked.strategy, PurgedCombinations) or split != "test" or fold is not None:
        raise InvalidRequest(f"path: must come with the test split of a cpcv dataset and without fold, was {path}")
    of = np.concatenate([read_columns(each, [PATH], asked.output_format)[:, 0] for each in paths])
    chosen = of == path
    if not chosen.any():
        raise InvalidRequest(f"path: must be one with rows, 0 to {int(of.max())}, was {path}")
    return JudgedRows(asked, paths, actual[chosen], chosen)


def metrics_of(
    rows: JudgedRows, predictions: Predictions, names: Sequence[str] | None
) -> dict[str, dict[str, Measured]]:
    """The measures of each target; sums are of rows a horizon apart, and null where rows are of several folds."""
    targets = [target.name for target in rows.asked.targets]
    found = {}
    for target, predicted in by_target(predictions, rows.asked.targets):
        actual = rows.actual[:, targets.index(target.name)]
        found[target.name] = evaluate(target, actual, predicted, names, apart=partial(_apart, rows, target))
    return found


def _apart(rows: JudgedRows, target: Target, returns: Float64s) -> Float64s:
    """The returns of rows that lie a horizon apart; none of rows of several folds."""
    return apart_returns(rows.times_ns(), returns, target.horizon_ns) if rows.are_of_one_series else np.empty(0)


def details_of(rows: JudgedRows, predictions: Predictions, cost: float) -> dict[str, dict[str, Any]]:
    """Of each target what is more than a number."""
    names = [target.name for target in rows.asked.targets]
    found: dict[str, dict[str, Any]] = {}
    for target, predicted in by_target(predictions, rows.asked.targets):
        actual = rows.actual[:, names.index(target.name)]
        if is_class(target):
            found[target.name] = {
                "calibration": calibration_of_classes(classes(target), actual, predicted)
                if predicted.ndim == 2
                else None,
                "returns": None,
            }
            continue
        returns = None
        if rows.are_of_one_series and isinstance(target, RegressionTarget):
            held = Held(rows.times_ns(), rows.symbols(), np.sign(predicted), actual)
            returns = trading_document(held, apart_ns=target.horizon_ns, cost=cost)
        found[target.name] = {"calibration": calibration_of_values(actual, predicted), "returns": returns}
    return found


def deflated_ratios(
    rows: JudgedRows, predictions: Predictions, trials: int, metrics: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Add the deflated Sharpe ratio to the metrics of each target; what of it the metadata tell.

    A target of classes has none.
    """
    names = [target.name for target in rows.asked.targets]
    times_ns = rows.times_ns()
    counts: dict[str, int] = {}
    for target, predicted in by_target(predictions, rows.asked.targets):
        if is_class(target):
            continue
        returns = _returns(target, times_ns, rows.actual[:, names.index(target.name)], predicted)
        metrics[target.name]["deflated_sharpe_ratio"] = deflated_among(returns, trials)
        counts[target.name] = len(returns)
    return {"trials": trials, "sharpe_rows": counts}


def selection_of(rows: JudgedRows, candidates: dict[str, Float64s], trials: int) -> dict[str, Any]:
    """What the best of several models is worth, by returns of rows that lie a horizon apart.

    trials: how many models were tried in all, these among them.
    """
    targets = rows.asked.targets
    times_ns = rows.times_ns()
    of_each = [_returns(targets[0], times_ns, rows.actual[:, 0], predicted) for predicted in candidates.values()]
    returns = np.stack(of_each, axis=1)
    best, deflated = deflated_best(returns, trials=trials)
    parts = min(MOST_PARTS, len(returns) // 4 * 2)
    return {
        "best": list(candidates)[best],
        "deflated_sharpe_ratio": deflated,
        "overfitting_probability": overfitting_probability(returns, parts=parts) if parts >= 2 else None,
        "parts": parts,
        "candidates": len(candidates),
        "trials": max(trials, len(candidates)),
        "sharpe_rows": len(returns),
    }


def _returns(target: Target, times_ns: Int64s, actual: Float64s, predicted: Float64s) -> Float64s:
    """What the predictions earn over periods that do not overlap."""
    return apart_returns(times_ns, strategy_returns(actual, predicted), target.horizon_ns)


def by_target(predictions: Predictions, targets: tuple[Target, ...]) -> list[tuple[Target, Float64s]]:
    """Each target that has predictions, with them."""
    names = {target.name: target for target in targets}
    if not isinstance(predictions, dict):
        if len(targets) > 1:
            raise InvalidRequest(f"predictions: must be one list for each target, {', '.join(names)}, was one list")
        return [(targets[0], predictions)]
    unknown = sorted(predictions.keys() - names.keys())
    if unknown or not predictions:
        raise InvalidRequest(f"predictions: must be for {', '.join(names)}, was {', '.join(unknown) or 'none'}")
    return [(names[name], predicted) for name, predicted in predictions.items()]
