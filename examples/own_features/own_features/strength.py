"""How strong a share is among all shares of its day: features of a cross-section."""

from __future__ import annotations

from typing import Any

import numpy as np

from transforms.cross_section import rank, section_feature, z_score
from transforms.table_feature import table_feature

FRESHNESS = "1h"
TIME_TO_LIVE = "7d"


@table_feature("return_5d", reads="daily_bars", rows=6, unit="1", low=-1.0)
def return_5d(close: Any, split_ratio: Any) -> float:
    """Return over five trading days without dividends, splits undone.

    Formula: product(close * split_ratio / close(day before)) - 1
    NaN: fewer than six bars known, or one without close or split ratio.
    """
    return float(np.prod(close[1:] * split_ratio[1:] / close[:-1]) - 1.0)


@section_feature("strength_rank", unit="1", low=0.0, high=1.0)
def strength_rank(return_5d: Any) -> Any:
    """Share of the other shares of the day whose return was lower.

    Formula: rank of return_5d among all shares of the day, 0 to 1
    NaN: return_5d is not known, or of no other share.
    """
    return rank(return_5d)


@section_feature("strength_score", unit="1")
def strength_score(return_5d: Any) -> Any:
    """How many deviations the return is from the mean of the day's shares.

    Formula: (return_5d - mean) / std, ddof = 1
    NaN: return_5d is not known, or of no other share.
    """
    return z_score(return_5d)
