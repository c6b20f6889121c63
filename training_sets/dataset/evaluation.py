"""Evaluation: how well predictions fit a split's targets, by the field's usual measures.

Every measure is a plain formula over all rows, in float64; a measure that its rows cannot give (a correlation with a
constant, a class that never occurs) is None. The returns of a strategy are those of holding the prediction's side from
row to row, one unit each, without costs: ``sign(prediction) * target``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest
from quality.relations import mean_ranks
from training_sets.dataset.trading import max_drawdown, profit_factor, sharpe_ratio
from training_sets.request.targets import Target, classes, is_class

Float64s = npt.NDArray[np.float64]
Measured = float | None | list[list[int]] | dict[str, float | None]

_LEAST_PROBABILITY: Final = 1e-15
_SUM_TOLERANCE: Final = 1e-6
_GREATEST: Final = 1e100
"""Sums of squares of greater predictions are infinite, which no JSON holds."""


def evaluate(
    target: Target,
    actual: Float64s,
    predicted: Float64s,
    names: Sequence[str] | None = None,
    *,
    apart: Callable[[Float64s], Float64s] = lambda returns: returns,
) -> dict[str, Measured]:
    """The measures of one target.

    actual: float64 (n,). predicted: float64 (n,): values, or the labels of classes; for a target of classes also the
    probabilities of each, (n, 3) of down, flat and up, (n, 2) of wrong and right. names: None is every measure
    that these predictions have. apart: from the strategy's return of each row to those that may be summed, in order of
    time, of labels that do not overlap.

    Raises InvalidRequest naming what is wrong with the predictions, or the measures there are.
    """
    _check(target, actual, predicted)
    found: dict[str, Callable[[], Measured]] = {}
    if not is_class(target):
        found |= {name: partial(measure, actual, predicted) for name, measure in _OF_VALUES.items()}
        found |= {name: partial(_of_sums, measure, apart, actual, predicted) for name, measure in _OF_SUMS.items()}
    else:
        of = classes(target)
        labels = np.array(list(of.values()))
        chosen = predicted if predicted.ndim == 1 else labels[np.argmax(predicted, axis=1)]
        counts = _confusion(labels, actual, chosen)
        found |= {name: partial(measure, counts) for name, measure in _OF_CLASSES.items()}
        found |= {name: partial(_named, tuple(of), measure, counts) for name, measure in _BY_CLASS.items()}
        if predicted.ndim == 2:
            found["log_loss"] = partial(_log_loss, labels, actual, predicted)
            found["brier_score"] = partial(_brier_score, labels, actual, predicted)
    wanted = list(found) if names is None else list(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in found]:
        raise InvalidRequest(
            f"metrics_to_compute: must be of {', '.join(found)} for {target.name} and these predictions, "
            f"was {', '.join(unknown)}"
        )
    return {name: found[name]() for name in wanted}


def _check(target: Target, actual: Float64s, predicted: Float64s) -> None:
    of = classes(target)
    shapes = [(len(actual),), (len(actual), len(of))] if of else [(len(actual),)]
    if predicted.shape not in shapes:
        raise InvalidRequest(
            f"predictions of {target.name}: must be of shape {' or '.join(map(str, shapes))}, a row each in the order "
            f"of the split, was {predicted.shape}"
        )
    if len(actual) == 0:
        raise InvalidRequest(f"predictions of {target.name}: must be of a split with rows, was an empty one")
    if not np.isfinite(predicted).all():
        raise InvalidRequest(f"predictions of {target.name}: must be finite numbers, was NaN or infinite")
    if (greatest := float(np.abs(predicted).max())) > _GREATEST:
        raise InvalidRequest(f"predictions of {target.name}: must be {_GREATEST:g} or less in size, was {greatest:g}")
    if predicted.ndim == 2:
        if (predicted < 0).any() or (np.abs(predicted.sum(axis=1) - 1.0) > _SUM_TOLERANCE).any():
            raise InvalidRequest(f"predictions of {target.name}: probabilities must sum to 1, was a row that does not")
    elif of and not np.isin(predicted, list(of.values())).all():
        told = ", ".join(f"{label:g} ({name})" for name, label in of.items())
        raise InvalidRequest(f"predictions of {target.name}: must be of {told}, was another number")


def _quotient(above: float, below: float) -> float | None:
    return None if below == 0 or not math.isfinite(below) else above / below


def _mse(actual: Float64s, predicted: Float64s) -> float:
    return float(np.mean((predicted - actual) ** 2))


def _rmse(actual: Float64s, predicted: Float64s) -> float:
    return math.sqrt(_mse(actual, predicted))


def _mae(actual: Float64s, predicted: Float64s) -> float:
    return float(np.mean(np.abs(predicted - actual)))


def _r2(actual: Float64s, predicted: Float64s) -> float | None:
    """1 - residual / total sum of squares; None when the target is constant."""
    if actual.min() == actual.max():
        return None
    share = _quotient(float(np.sum((actual - predicted) ** 2)), float(np.sum((actual - actual.mean()) ** 2)))
    return None if share is None else 1.0 - share


def _correlation(actual: Float64s, predicted: Float64s) -> float | None:
    """Pearson's."""
    if actual.min() == actual.max() or predicted.min() == predicted.max():
        return None
    one, other = actual - actual.mean(), predicted - predicted.mean()
    return _quotient(float(np.sum(one * other)), math.sqrt(float(np.sum(one**2)) * float(np.sum(other**2))))


def _rank_correlation(actual: Float64s, predicted: Float64s) -> float | None:
    """Spearman's: Pearson's of the ranks, equal values sharing their mean rank."""
    return _correlation(mean_ranks(actual), mean_ranks(predicted))


def _directional_accuracy(actual: Float64s, predicted: Float64s) -> float:
    """Share of rows whose prediction has the target's sign; 0 has the sign of 0 alone."""
    return float(np.mean(np.sign(actual) == np.sign(predicted)))


def strategy_returns(actual: Float64s, predicted: Float64s) -> Float64s:
    """What holding the prediction's side earns, by row: float64 (n,)."""
    held: Float64s = np.sign(predicted) * actual
    return held


def _sharpe_ratio(actual: Float64s, predicted: Float64s) -> float | None:
    """Of the strategy's returns, by row."""
    return sharpe_ratio(strategy_returns(actual, predicted))


def _sortino_ratio(actual: Float64s, predicted: Float64s) -> float | None:
    """Mean by root mean square of the losses, over all rows."""
    returns = strategy_returns(actual, predicted)
    return _quotient(float(returns.mean()), math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2))))


def _of_sums(
    measure: Callable[[Float64s], float | None],
    apart: Callable[[Float64s], Float64s],
    actual: Float64s,
    predicted: Float64s,
) -> float | None:
    return measure(apart(strategy_returns(actual, predicted)))


_OF_VALUES: Final[Mapping[str, Callable[[Float64s, Float64s], float | None]]] = {
    "mse": _mse,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
    "correlation": _correlation,
    "rank_correlation": _rank_correlation,
    "directional_accuracy": _directional_accuracy,
    "sharpe_ratio": _sharpe_ratio,
    "sortino_ratio": _sortino_ratio,
}
_OF_SUMS: Final[Mapping[str, Callable[[Float64s], float | None]]] = {
    "max_drawdown": max_drawdown,
    "profit_factor": profit_factor,
}
"""Of returns that may be summed: those of labels that overlap count one market move often."""


def _confusion(labels: Float64s, actual: Float64s, chosen: Float64s) -> npt.NDArray[np.int64]:
    """Rows by actual class (first index) and chosen class."""
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (np.searchsorted(labels, actual), np.searchsorted(labels, chosen)), 1)
    return counts


def _confusion_matrix(counts: npt.NDArray[np.int64]) -> list[list[int]]:
    """Rows are the actual classes, columns the predicted ones, ascending by label."""
    found: list[list[int]] = counts.tolist()
    return found


def _accuracy(counts: npt.NDArray[np.int64]) -> float:
    return float(np.trace(counts) / counts.sum())


def _named(
    names: Sequence[str], measure: Callable[[npt.NDArray[np.int64]], list[float | None]], counts: npt.NDArray[np.int64]
) -> dict[str, float | None]:
    return dict(zip(names, measure(counts), strict=True))


def _by_class(above: npt.NDArray[np.int64], below: npt.NDArray[np.int64]) -> list[float | None]:
    return [_quotient(float(one), float(other)) for one, other in zip(above, below, strict=True)]


def _precision(counts: npt.NDArray[np.int64]) -> list[float | None]:
    """By class; None for a class that was never predicted."""
    return _by_class(np.diagonal(counts), counts.sum(axis=0))


def _recall(counts: npt.NDArray[np.int64]) -> list[float | None]:
    """By class; None for a class that never occurs."""
    return _by_class(np.diagonal(counts), counts.sum(axis=1))


def _f1(counts: npt.NDArray[np.int64]) -> list[float | None]:
    """By class, 2 tp / (2 tp + fp + fn); None for a class that neither occurs nor was predicted."""
    return _by_class(2 * np.diagonal(counts), counts.sum(axis=0) + counts.sum(axis=1))


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _macro_f1(counts: npt.NDArray[np.int64]) -> float | None:
    """Mean over the classes that have one."""
    return _mean_of_known(_f1(counts))


def _balanced_accuracy(counts: npt.NDArray[np.int64]) -> float | None:
    """Mean recall of the classes that occur."""
    return _mean_of_known(_recall(counts))


_OF_CLASSES: Final[Mapping[str, Callable[[npt.NDArray[np.int64]], Measured]]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "confusion_matrix": _confusion_matrix,
}
_BY_CLASS: Final[Mapping[str, Callable[[npt.NDArray[np.int64]], list[float | None]]]] = {
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
}


def _log_loss(labels: Float64s, actual: Float64s, probabilities: Float64s) -> float:
    """Mean of -ln of the probability of what happened, no probability below 1e-15."""
    of_actual = probabilities[np.arange(len(actual)), np.searchsorted(labels, actual)]
    return float(np.mean(-np.log(np.maximum(of_actual, _LEAST_PROBABILITY))))


def _brier_score(labels: Float64s, actual: Float64s, probabilities: Float64s) -> float:
    """Mean over rows of the squared distances to 1 for what happened and 0 for the others, summed over classes."""
    happened = (actual[:, None] == labels).astype(np.float64)
    return float(np.mean(np.sum((probabilities - happened) ** 2, axis=1)))
