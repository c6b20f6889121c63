"""Calibration: whether what is predicted happens as often, or as strongly, as is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]

BINS: Final = 10


def calibration_of_values(actual: Float64s, predicted: Float64s) -> dict[str, Any]:
    """The line of least squares of what happened over what was predicted, and both by tenths of the predictions.

    actual, predicted: float64 (n,), n >= 1. A perfect one has intercept 0 and slope 1; of a constant there is no line.
    """
    centred = predicted - predicted.mean()
    spread = float((centred * centred).sum())
    # A constant's mean may round to something else; what differs by next to nothing has squares that round to 0.
    has_line = predicted.min() < predicted.max() and spread > 0.0
    slope = float((centred * (actual - actual.mean())).sum()) / spread if has_line else None
    order = np.argsort(predicted, kind="stable")
    tenths = [each for each in np.array_split(order, BINS) if len(each)]
    return {
        "slope": slope,
        "intercept": None if slope is None else float(actual.mean() - slope * predicted.mean()),
        "bins": [_bin(predicted[each], actual[each]) for each in tenths],
    }


def calibration_of_classes(labels: Mapping[str, float], actual: Float64s, probabilities: Float64s) -> dict[str, Any]:
    """By class: how often it happened where it was given a tenth of probability, and the mean distance of the two.

    labels: by class, in the order of the probabilities. actual: float64 (n,). probabilities: float64 (n, classes).
    Source of ``expected_error``: Naeini, Cooper and Hauskrecht (2015), Obtaining Well Calibrated Probabilities Using
    Bayesian Binning, AAAI 29.
    """
    found: dict[str, Any] = {}
    for at, (name, label) in enumerate(labels.items()):
        given, happened = probabilities[:, at], (actual == label).astype(np.float64)
        number = np.minimum((given * BINS).astype(np.int64), BINS - 1)
        bins = [_bin(given[number == each], happened[number == each]) for each in np.unique(number).tolist()]
        error = sum(each["rows"] * abs(each["predicted"] - each["happened"]) for each in bins) / len(actual)
        found[name] = {"expected_error": error, "bins": bins}
    return found


def _bin(predicted: Float64s, happened: Float64s) -> dict[str, Any]:
    return {"rows": len(predicted), "predicted": float(predicted.mean()), "happened": float(happened.mean())}
