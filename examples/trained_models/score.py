"""The score of predictions on a split, and the score that is too good to be true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

MOST_IC: Final = 0.3
MOST_RIGHT: Final = 0.65
LEAST_ROWS: Final = 500
"""Of fewer rows a score may be anything."""

Float64s = npt.NDArray[np.float64]


class ImplausibleScoreError(ValueError):
    """A score that means a leak."""


@dataclass(frozen=True, slots=True)
class Score:
    """rows: that were predicted. ic: Spearman's correlation with the target. right: share of sides, 0 is none."""

    rows: int
    ic: float
    right: float


def score(predicted: Float64s, actual: Float64s) -> Score:
    """float64 (n,) both; a constant has an IC of 0."""
    moved = (predicted != 0.0) & (actual != 0.0)
    right = float(np.mean(np.sign(predicted[moved]) == np.sign(actual[moved]))) if moved.any() else 0.5
    return Score(len(actual), _rank_correlation(predicted, actual), right)


def check_plausible(name: str, found: Score) -> None:
    """Raises ImplausibleScoreError, of LEAST_ROWS or more."""
    is_too_good = abs(found.ic) > MOST_IC or max(found.right, 1.0 - found.right) > MOST_RIGHT
    if found.rows >= LEAST_ROWS and is_too_good:
        raise ImplausibleScoreError(
            f"{name}: must have an IC within {MOST_IC} and at most {MOST_RIGHT:.0%} of sides right, was {found.ic:.3f} "
            f"and {found.right:.0%}"
        )


def _rank_correlation(one: Float64s, other: Float64s) -> float:
    if len(one) < 2 or one.min() == one.max() or other.min() == other.max():
        return 0.0
    return float(np.corrcoef(pd.Series(one).rank(), pd.Series(other).rank())[0, 1])
