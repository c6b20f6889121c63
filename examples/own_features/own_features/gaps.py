"""Gaps between a day and the next: features of a share's daily bars."""

from __future__ import annotations

from typing import Any

import numpy as np

from transforms.table_feature import table_feature

FRESHNESS = "1h"
TIME_TO_LIVE = "7d"


@table_feature("opening_gap", reads="daily_bars", rows=2, unit="1", low=-1.0)
def opening_gap(open: Any, close: Any, split_ratio: Any) -> float:  # noqa: A002  # the column's name
    """How far from the close before a day opened, a split undone.

    Formula: open * split_ratio / close(day before) - 1
    NaN: fewer than two bars known, or one without open, close or split ratio.
    """
    return float(open[-1] * split_ratio[-1] / close[-2] - 1.0)


@table_feature("gap_deviation_20d", reads="daily_bars", rows=21, unit="1", low=0.0)
def gap_deviation_20d(open: Any, close: Any, split_ratio: Any) -> float:  # noqa: A002  # the column's name
    """Deviation of the last 20 opening gaps.

    Formula: std(opening_gap, ddof = 1) over 20 days
    NaN: fewer than 21 bars known, or one without open, close or split ratio.
    """
    return float(np.std(open[1:] * split_ratio[1:] / close[:-1] - 1.0, ddof=1))
