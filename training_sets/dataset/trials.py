"""Trials: what two evaluations on a test split have in common, so that each model that was tried is counted once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from training_sets.request.request import DatasetRequest

Float64s = npt.NDArray[np.float64]


def shared_test_key(request: DatasetRequest) -> str:
    """What datasets share that test on the same time of the same symbols, whatever their features and targets.

    A choice that was made by one is known to the next.
    """
    periods = sorted(
        {
            (period.start_ns, period.end_ns)
            for fold in request.folds()
            for period in fold.periods
            if period.name == "test"
        }
    )
    return hashlib.sha256(msgspec.json.encode((sorted(request.symbols), periods))).hexdigest()


def predictions_digest(predictions: Float64s | Mapping[str, Float64s]) -> str:
    """The same for the same numbers alone: who asks twice has tried one model."""
    named = predictions if isinstance(predictions, Mapping) else {"": predictions}
    digest = hashlib.sha256()
    for name in sorted(named):
        digest.update(msgspec.json.encode((name, named[name].shape)))
        digest.update(np.ascontiguousarray(named[name]).tobytes())
    return digest.hexdigest()
